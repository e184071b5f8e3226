/* The sketch: the Arduino core's main() calls setup() once, then loop() again and again. */
#include <Arduino.h>

#include "app.h"

void setup() {
    app_start();
}

void loop() {
    app_serve();
}
