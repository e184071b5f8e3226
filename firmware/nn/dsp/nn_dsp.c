/* How filters of 8, 4 and 3 bits differ. */
#include "nn_dsp.h"

const nn_dsp_width nn_dsp_lanes = {
    nn_dsp_blocks_lanes, nn_dsp_interleave, nn_dsp_interleave3, 0, 4, NN_DSP_LANES_BYTES, 6};
const nn_dsp_width nn_dsp_s8 = {nn_dsp_blocks_s8, nn_dsp_interleave, nn_dsp_interleave3, 0, 4, NN_DSP_UNIT_BYTES, 6};
const nn_dsp_width nn_dsp_s4 = {
    nn_dsp_blocks_s4, nn_dsp_interleave_sum, nn_dsp_interleave3_sum, 8, 4, NN_DSP_UNIT_BYTES, 6};
const nn_dsp_width nn_dsp_s3 = {
    nn_dsp_blocks_s3, nn_dsp_interleave_sum, nn_dsp_interleave3_sum, 4, 16, NN_DSP_UNIT3_BYTES, 2};
