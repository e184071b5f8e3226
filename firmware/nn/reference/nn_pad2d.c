/* A map surrounded by rows and columns of one value. */
#include <string.h>

#include "nn.h"

void nn_pad2d(const nn_pad_params *params, const nn_dims *input_dims, const int8_t *input, const nn_dims *output_dims,
              int8_t *output) {
    const int row = output_dims->w * output_dims->c, run = input_dims->w * input_dims->c;
    memset(output, params->value, (size_t)output_dims->h * (size_t)row);
    output += params->before.h * row + params->before.w * output_dims->c;
    for (int y = 0; y < input_dims->h; y++, input += run, output += row) memcpy(output, input, (size_t)run);
}
