/* Layers that CMSIS-NN computes, linked as a library that was built elsewhere (docs/KERNELS.md). A kernel here only
 * passes on what the generator has laid out in CMSIS-NN's own structs. The generator plans the scratch memory from the
 * sizes that CMSIS-NN publishes; each call checks that this library asks for no more. */
#ifndef NN_CMSIS_H
#define NN_CMSIS_H

#include "arm_nnfunctions.h"
#include "nn.h"

/* arm_convolve_wrapper_s8 or _s4, and the function that returns the bytes of scratch it needs. */
typedef struct {
    arm_cmsis_nn_status (*run)(const cmsis_nn_context *, const cmsis_nn_conv_params *,
                               const cmsis_nn_per_channel_quant_params *, const cmsis_nn_dims *, const int8_t *,
                               const cmsis_nn_dims *, const int8_t *, const cmsis_nn_dims *, const int32_t *,
                               const cmsis_nn_dims *, int8_t *);
    int32_t (*scratch)(const cmsis_nn_conv_params *, const cmsis_nn_dims *, const cmsis_nn_dims *,
                       const cmsis_nn_dims *);
    cmsis_nn_conv_params conv;
    cmsis_nn_dims input, filter, bias, output;
} nn_cmsis_conv_params;

/* arm_depthwise_conv_wrapper_s8 or _s4. */
typedef struct {
    arm_cmsis_nn_status (*run)(const cmsis_nn_context *, const cmsis_nn_dw_conv_params *,
                               const cmsis_nn_per_channel_quant_params *, const cmsis_nn_dims *, const int8_t *,
                               const cmsis_nn_dims *, const int8_t *, const cmsis_nn_dims *, const int32_t *,
                               const cmsis_nn_dims *, int8_t *);
    int32_t (*scratch)(const cmsis_nn_dw_conv_params *, const cmsis_nn_dims *, const cmsis_nn_dims *,
                       const cmsis_nn_dims *);
    cmsis_nn_dw_conv_params conv;
    cmsis_nn_dims input, filter, bias, output;
} nn_cmsis_dw_conv_params;

/* With one scale for all outputs arm_fully_connected_s8 or _s4, otherwise arm_fully_connected_per_channel_s8; the other
 * pointer is NULL. */
typedef struct {
    arm_cmsis_nn_status (*run)(const cmsis_nn_context *, const cmsis_nn_fc_params *,
                               const cmsis_nn_per_tensor_quant_params *, const cmsis_nn_dims *, const int8_t *,
                               const cmsis_nn_dims *, const int8_t *, const cmsis_nn_dims *, const int32_t *,
                               const cmsis_nn_dims *, int8_t *);
    arm_cmsis_nn_status (*run_per_channel)(const cmsis_nn_context *, const cmsis_nn_fc_params *,
                                           const cmsis_nn_per_channel_quant_params *, const cmsis_nn_dims *,
                                           const int8_t *, const cmsis_nn_dims *, const int8_t *, const cmsis_nn_dims *,
                                           const int32_t *, const cmsis_nn_dims *, int8_t *);
    cmsis_nn_fc_params fc;
    cmsis_nn_dims input, filter, bias, output;
} nn_cmsis_fc_params;

/* arm_avgpool_s8 or arm_max_pool_s8; scratch is NULL where it needs none. */
typedef struct {
    arm_cmsis_nn_status (*run)(const cmsis_nn_context *, const cmsis_nn_pool_params *, const cmsis_nn_dims *,
                               const int8_t *, const cmsis_nn_dims *, const cmsis_nn_dims *, int8_t *);
    int32_t (*scratch)(int, int);
    cmsis_nn_pool_params pool;
    cmsis_nn_dims input, filter, output;
} nn_cmsis_pool_params;

/* sums: what CMSIS-NN's vector kernels add to each output: its bias, and the input offset times the sum of its weights.
 */
void nn_conv2d_s_cmsis(const nn_context *ctx, const nn_cmsis_conv_params *params, const int8_t *input,
                       const int8_t *filter, const int32_t *bias, const int32_t *multiplier, const int32_t *shift,
                       int8_t *output);
void nn_depthwise_conv2d_s_cmsis(const nn_context *ctx, const nn_cmsis_dw_conv_params *params, const int8_t *input,
                                 const int8_t *filter, const int32_t *bias, const int32_t *multiplier,
                                 const int32_t *shift, int8_t *output);
void nn_dense_s_cmsis(const nn_cmsis_fc_params *params, const int8_t *input, const int8_t *filter, const int32_t *bias,
                      const int32_t *sums, const int32_t *multiplier, const int32_t *shift, int8_t *output);
void nn_pool2d_cmsis(const nn_context *ctx, const nn_cmsis_pool_params *params, const int8_t *input, int8_t *output);
void nn_add_cmsis(const nn_add_params *params, const nn_dims *dims, const int8_t *input1, const int8_t *input2,
                  int8_t *output);

/* The scratch memory as CMSIS-NN expects it; stops in the fault handler when the library asks for more than planned. */
static inline cmsis_nn_context nn_cmsis_scratch(const nn_context *ctx, int32_t needed) {
    if (needed > ctx->size) __builtin_trap();
    return (cmsis_nn_context){ctx->buf, needed};
}

/* Stops in the fault handler when the library has refused a call. */
static inline void nn_cmsis_done(arm_cmsis_nn_status status) {
    if (status != ARM_CMSIS_NN_SUCCESS) __builtin_trap();
}

#endif
