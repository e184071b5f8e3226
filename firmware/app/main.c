/* The program of every port but Arduino's, whose core brings a main() of its own. */
#include "app.h"

int main(void) {
    app_start();
    for (;;) app_serve();
}
