/* Generated: weights and call list of the model "tiny", by tritmcu. */
#include <assert.h>
#include <string.h>

#include "model.h"
#include "nn.h"
#include "nn_arith.h"
#include "nn_flash.h"
#include "nn_pool.h"
#include "nn_swar.h"
#include "nn_swar_signed.h"

/* conv2d, 8x8x1 -> 8x8x6 */
static const NN_FLASH int8_t layer0_stem_filter[54] = {
    -27, 88, -107, -126, -62, 78, 87, 20, -20, 91, -83, -51, -96, 29, 123, 48, 56, -4, -14, 105, 5,
    125, -67, 31, -52, -88, -56, -119, 93, -20, 44, -30, 47, -28, 6, 99, 68, -122, -25, 7, -10, 115,
    96, -32, -109, 59, 11, -120, 38, 127, 38, -93, -48, 111,
};
static_assert(sizeof layer0_stem_filter == 54, "size of layer0_stem_filter");
static const NN_FLASH int32_t layer0_stem_bias[6] = {
    -68590, 75211, 1904909, 151788, 1282922, 15231,
};
static_assert(sizeof layer0_stem_bias == 24, "size of layer0_stem_bias");
static const NN_FLASH int32_t layer0_stem_multiplier[6] = {
    1924438925, 1124866396, 1434335502, 1197090927, 1370297959, 1403326178,
};
static_assert(sizeof layer0_stem_multiplier == 24, "size of layer0_stem_multiplier");
static const NN_FLASH int8_t layer0_stem_shift[6] = {
    -14, -10, -15, -11, -15, -11,
};
static_assert(sizeof layer0_stem_shift == 6, "size of layer0_stem_shift");
static const nn_conv_params layer0_stem_params = {.input_offset = 128, .output_offset = -128, .stride = {.w = 1, .h = 1}, .padding = {.w = 1, .h = 1}, .activation = {.min = -128, .max = 127}};
static const nn_per_channel_quant_params layer0_stem_quant = {layer0_stem_multiplier, layer0_stem_shift};
static const nn_dims layer0_stem_dims2 = {.n = 1, .h = 8, .w = 8, .c = 1};
static const nn_dims layer0_stem_dims3 = {.n = 6, .h = 3, .w = 3, .c = 1};
static const nn_dims layer0_stem_dims4 = {.n = 1, .h = 8, .w = 8, .c = 6};
static_assert(0 + 384 <= MODEL_ARENA_BYTES, "output of layer0_stem");

static void layer0_stem(int8_t *arena) {
    const nn_context ctx = {0, 0};
    nn_conv2d_s8(&ctx, &layer0_stem_params, &layer0_stem_quant, &layer0_stem_dims2, arena + 384, &layer0_stem_dims3, layer0_stem_filter, layer0_stem_bias, &layer0_stem_dims4, arena + 0);
}

/* conv2d, 8x8x6 -> 8x8x6 */
static const NN_FLASH uint8_t layer1_main_filter[84] = {
    116, 23, 247, 71, 31, 93, 221, 4, 31, 17, 68, 52, 255, 13, 255, 247, 53, 221, 69, 80, 247, 60,
    125, 193, 215, 199, 221, 7, 112, 13, 17, 207, 23, 29, 15, 15, 195, 213, 197, 215, 244, 7, 65,
    117, 241, 13, 29, 65, 211, 92, 85, 0, 205, 87, 19, 7, 243, 205, 83, 115, 55, 124, 19, 116, 211,
    53, 16, 125, 71, 7, 208, 21, 81, 196, 67, 20, 60, 205, 117, 253, 4, 76, 51, 0,
};
static_assert(sizeof layer1_main_filter == 84, "size of layer1_main_filter");
static const NN_FLASH int32_t layer1_main_bias[6] = {
    -66, 235, 127, 254, 224, 193,
};
static_assert(sizeof layer1_main_bias == 24, "size of layer1_main_bias");
static const NN_FLASH int32_t layer1_main_multiplier[6] = {
    1175686656, 1630078592, 1299111040, 2034663936, 1077185792, 1371270016,
};
static_assert(sizeof layer1_main_multiplier == 24, "size of layer1_main_multiplier");
static const NN_FLASH int8_t layer1_main_shift[6] = {
    -1, -5, -2, -4, -3, -3,
};
static_assert(sizeof layer1_main_shift == 6, "size of layer1_main_shift");
static const nn_conv_params layer1_main_params = {.input_offset = 128, .output_offset = 0, .stride = {.w = 1, .h = 1}, .padding = {.w = 1, .h = 1}, .activation = {.min = -128, .max = 127}};
static const nn_per_channel_quant_params layer1_main_quant = {layer1_main_multiplier, layer1_main_shift};
static const nn_dims layer1_main_dims2 = {.n = 1, .h = 8, .w = 8, .c = 6};
static const nn_dims layer1_main_dims3 = {.n = 6, .h = 3, .w = 3, .c = 6};
static const nn_dims layer1_main_dims4 = {.n = 1, .h = 8, .w = 8, .c = 6};
static_assert(384 + 384 <= MODEL_ARENA_BYTES, "output of layer1_main");
static_assert(768 + 54 <= MODEL_ARENA_BYTES, "scratch of layer1_main");

static void layer1_main(int8_t *arena) {
    const nn_context ctx = {arena + 768, 54};
    nn_conv2d_t2(&ctx, &layer1_main_params, &layer1_main_quant, &layer1_main_dims2, arena + 0, &layer1_main_dims3, layer1_main_filter, layer1_main_bias, &layer1_main_dims4, arena + 384);
}

/* depthwise_conv2d, 8x8x6 -> 8x8x6 */
static const NN_FLASH uint8_t layer2_dw_filter[14] = {
    119, 115, 4, 68, 115, 215, 7, 61, 13, 3, 211, 119, 68, 0,
};
static_assert(sizeof layer2_dw_filter == 14, "size of layer2_dw_filter");
static const NN_FLASH int32_t layer2_dw_bias[6] = {
    0, 28, -21, -5, -81, -29,
};
static_assert(sizeof layer2_dw_bias == 24, "size of layer2_dw_bias");
static const NN_FLASH int32_t layer2_dw_multiplier[6] = {
    1199716992, 1493878272, 1612290816, 1878497024, 1915327744, 1589741568,
};
static_assert(sizeof layer2_dw_multiplier == 24, "size of layer2_dw_multiplier");
static const NN_FLASH int8_t layer2_dw_shift[6] = {
    -2, -2, -2, -2, -3, -2,
};
static_assert(sizeof layer2_dw_shift == 6, "size of layer2_dw_shift");
static const nn_dw_conv_params layer2_dw_params = {.input_offset = 128, .output_offset = 0, .ch_mult = 1, .stride = {.w = 1, .h = 1}, .padding = {.w = 1, .h = 1}, .activation = {.min = -128, .max = 127}};
static const nn_per_channel_quant_params layer2_dw_quant = {layer2_dw_multiplier, layer2_dw_shift};
static const nn_dims layer2_dw_dims2 = {.n = 1, .h = 8, .w = 8, .c = 6};
static const nn_dims layer2_dw_dims3 = {.n = 1, .h = 3, .w = 3, .c = 6};
static const nn_dims layer2_dw_dims4 = {.n = 1, .h = 8, .w = 8, .c = 6};
static_assert(768 + 384 <= MODEL_ARENA_BYTES, "output of layer2_dw");
static_assert(1152 + 54 <= MODEL_ARENA_BYTES, "scratch of layer2_dw");

static void layer2_dw(int8_t *arena) {
    const nn_context ctx = {arena + 1152, 54};
    nn_depthwise_conv2d_t2(&ctx, &layer2_dw_params, &layer2_dw_quant, &layer2_dw_dims2, arena + 0, &layer2_dw_dims3, layer2_dw_filter, layer2_dw_bias, &layer2_dw_dims4, arena + 768);
}

/* add, 8x8x6 + 8x8x6 -> 8x8x6 */
static const nn_add_params layer3_both_params = {.input1_offset = 0, .input1_mult = 1073741824, .input1_shift = 0, .input2_offset = 0, .input2_mult = 1073741824, .input2_shift = 0, .output_offset = -128, .output_mult = 1073741824, .output_shift = -17, .activation = {.min = -128, .max = 127}};
static const nn_dims layer3_both_dims1 = {.n = 1, .h = 8, .w = 8, .c = 6};
static_assert(384 + 384 <= MODEL_ARENA_BYTES, "output of layer3_both");

static void layer3_both(int8_t *arena) {
    nn_add(&layer3_both_params, &layer3_both_dims1, arena + 384, arena + 768, arena + 384);
}

/* max_pool2d, 8x8x6 -> 4x4x6 */
static const nn_pool_params layer4_pooled_params = {.stride = {.w = 2, .h = 2}, .padding = {.w = 0, .h = 0}, .activation = {.min = -128, .max = 127}};
static const nn_dims layer4_pooled_dims1 = {.n = 1, .h = 8, .w = 8, .c = 6};
static const nn_dims layer4_pooled_dims2 = {.n = 1, .h = 2, .w = 2, .c = 1};
static const nn_dims layer4_pooled_dims3 = {.n = 1, .h = 4, .w = 4, .c = 6};
static_assert(0 + 96 <= MODEL_ARENA_BYTES, "output of layer4_pooled");

static void layer4_pooled(int8_t *arena) {
    nn_max_pool2d(&layer4_pooled_params, &layer4_pooled_dims1, arena + 384, &layer4_pooled_dims2, &layer4_pooled_dims3, arena + 0);
}

/* conv2d, 4x4x6 -> 2x2x9 */
static const NN_FLASH uint8_t layer5_pw_filter[18] = {
    199, 5, 60, 7, 207, 1, 16, 4, 76, 0, 245, 15, 117, 15, 207, 1, 3, 12,
};
static_assert(sizeof layer5_pw_filter == 18, "size of layer5_pw_filter");
static const NN_FLASH int32_t layer5_pw_bias[9] = {
    15, -1, -3, -11, 1, 8, -4, -14, 51,
};
static_assert(sizeof layer5_pw_bias == 36, "size of layer5_pw_bias");
static const NN_FLASH int32_t layer5_pw_multiplier[9] = {
    1964970496, 1374001024, 1186656256, 1524536448, 1138176128, 1507817856, 1749481472, 1798707584,
    1326513408,
};
static_assert(sizeof layer5_pw_multiplier == 36, "size of layer5_pw_multiplier");
static const NN_FLASH int8_t layer5_pw_shift[9] = {
    -2, 0, 0, 0, 0, 0, 0, -1, -1,
};
static_assert(sizeof layer5_pw_shift == 9, "size of layer5_pw_shift");
static const nn_conv_params layer5_pw_params = {.input_offset = 128, .output_offset = -128, .stride = {.w = 2, .h = 2}, .padding = {.w = 0, .h = 0}, .activation = {.min = -128, .max = 127}};
static const nn_per_channel_quant_params layer5_pw_quant = {layer5_pw_multiplier, layer5_pw_shift};
static const nn_dims layer5_pw_dims2 = {.n = 1, .h = 4, .w = 4, .c = 6};
static const nn_dims layer5_pw_dims3 = {.n = 9, .h = 1, .w = 1, .c = 6};
static const nn_dims layer5_pw_dims4 = {.n = 1, .h = 2, .w = 2, .c = 9};
static_assert(96 + 36 <= MODEL_ARENA_BYTES, "output of layer5_pw");
static_assert(136 + 6 <= MODEL_ARENA_BYTES, "scratch of layer5_pw");

static void layer5_pw(int8_t *arena) {
    const nn_context ctx = {arena + 136, 6};
    nn_conv2d_t2(&ctx, &layer5_pw_params, &layer5_pw_quant, &layer5_pw_dims2, arena + 0, &layer5_pw_dims3, layer5_pw_filter, layer5_pw_bias, &layer5_pw_dims4, arena + 96);
}

/* average_pool2d, 2x2x9 -> 2x2x9 */
static const nn_pool_params layer6_mean_params = {.stride = {.w = 1, .h = 1}, .padding = {.w = 0, .h = 0}, .activation = {.min = -128, .max = 127}};
static const nn_dims layer6_mean_dims1 = {.n = 1, .h = 2, .w = 2, .c = 9};
static const nn_dims layer6_mean_dims2 = {.n = 1, .h = 2, .w = 2, .c = 1};
static const nn_dims layer6_mean_dims3 = {.n = 1, .h = 2, .w = 2, .c = 9};
static_assert(0 + 36 <= MODEL_ARENA_BYTES, "output of layer6_mean");

static void layer6_mean(int8_t *arena) {
    nn_average_pool2d(&layer6_mean_params, &layer6_mean_dims1, arena + 96, &layer6_mean_dims2, &layer6_mean_dims3, arena + 0);
}

/* flatten, 2x2x9 -> 36 */
static_assert(0 + 36 <= MODEL_ARENA_BYTES, "output of layer7_flat");

static void layer7_flat(int8_t *arena) {
    (void)arena; /* renames its input */
}

/* dense, 36 -> 10 */
static const NN_FLASH uint8_t layer8_logits_filter[90] = {
    52, 87, 244, 7, 93, 16, 15, 245, 15, 79, 244, 85, 117, 196, 3, 80, 213, 7, 192, 209, 192, 205,
    205, 77, 247, 12, 48, 197, 197, 195, 115, 51, 60, 192, 193, 61, 17, 83, 245, 199, 195, 51, 51,
    12, 52, 67, 197, 4, 20, 83, 61, 208, 61, 92, 221, 28, 49, 215, 208, 85, 4, 211, 115, 116, 125,
    5, 80, 17, 71, 48, 116, 221, 124, 65, 220, 112, 61, 20, 240, 199, 253, 60, 213, 117, 48, 245, 7,
    211, 0, 241,
};
static_assert(sizeof layer8_logits_filter == 90, "size of layer8_logits_filter");
static const NN_FLASH int32_t layer8_logits_bias[10] = {
    35, -108, 78, -16, -93, 82, -2, -40, 17, 41,
};
static_assert(sizeof layer8_logits_bias == 40, "size of layer8_logits_bias");
static const NN_FLASH int32_t layer8_logits_multiplier[10] = {
    1294453925, 2074979499, 1890042453, 1792673765, 1384254638, 1316675644, 1468201231, 1340147969,
    1842271264, 1496298661,
};
static_assert(sizeof layer8_logits_multiplier == 40, "size of layer8_logits_multiplier");
static const NN_FLASH int8_t layer8_logits_shift[10] = {
    -3, -4, -3, -3, -4, -3, -3, -4, -4, -3,
};
static_assert(sizeof layer8_logits_shift == 10, "size of layer8_logits_shift");
static const nn_fc_params layer8_logits_params = {.input_offset = 128, .output_offset = 0, .activation = {.min = -128, .max = 127}};
static const nn_per_channel_quant_params layer8_logits_quant = {layer8_logits_multiplier, layer8_logits_shift};
static const nn_dims layer8_logits_dims2 = {.n = 1, .h = 1, .w = 1, .c = 36};
static const nn_dims layer8_logits_dims3 = {.n = 10, .h = 1, .w = 1, .c = 36};
static const nn_dims layer8_logits_dims4 = {.n = 1, .h = 1, .w = 1, .c = 10};
static_assert(80 + 10 <= MODEL_ARENA_BYTES, "output of layer8_logits");
static_assert(40 + 36 <= MODEL_ARENA_BYTES, "scratch of layer8_logits");

static void layer8_logits(int8_t *arena) {
    const nn_context ctx = {arena + 40, 36};
    nn_dense_t2(&ctx, &layer8_logits_params, &layer8_logits_quant, &layer8_logits_dims2, arena + 0, &layer8_logits_dims3, layer8_logits_filter, layer8_logits_bias, &layer8_logits_dims4, arena + 80);
}

const model_layer model_layers[MODEL_LAYERS] = {
    {layer0_stem, 0, 384},
    {layer1_main, 384, 384},
    {layer2_dw, 768, 384},
    {layer3_both, 384, 384},
    {layer4_pooled, 0, 96},
    {layer5_pw, 96, 36},
    {layer6_mean, 0, 36},
    {layer7_flat, 0, 36},
    {layer8_logits, 80, 10},
};
