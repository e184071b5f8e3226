#include "cortexm.h"

/* An external oscillator starts within a few milliseconds; a PLL locks and a regulator settles faster. This many polls
 * of a peripheral register take at least 10 ms on the fastest internal oscillator, 64 MHz. */
enum { MOST_POLLS = 200000 };

static bool becomes(const cortexm_step *awaited) {
    for (int i = 0; i < MOST_POLLS; i++) {
        if ((*awaited->reg & awaited->mask) == awaited->value) return true;
    }
    return false;
}

bool cortexm_take_steps(const cortexm_step *steps, size_t count) {
    for (const cortexm_step *step = steps; step < steps + count; step++) {
        if (step->action == CORTEXM_SET) {
            *step->reg = (*step->reg & ~step->mask) | step->value;
            (void)*step->reg; /* makes sure the write has taken effect before the next step */
        } else if (!becomes(step)) {
            return false;
        }
    }
    return true;
}
