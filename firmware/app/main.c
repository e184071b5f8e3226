/* The main program of every port except Arduino's, whose core has its own main(). */
#include "app.h"

int main(void) {
    app_start();
    for (;;) app_serve();
}
