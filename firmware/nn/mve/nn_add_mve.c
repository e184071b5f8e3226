/* Element-wise sum with vectors. The packer has compared what factors give with the specification, for all pairs of
 * inputs. Sums of 16 bits are exact where scales differ by powers of two, those of 32 bits do for nearly all others;
 * where there are no factors, inputs are requantized as in the reference kernel.
 *
 * Narrowing rounds to nearest, which starts allow for: GNU's assembler 2.40 takes VQSHRN for VQRSHRN. */
#include "nn_arith.h"
#include "nn_mve.h"

enum { LANES = NN_MVE_LANES, FEW = 4 };

/* Outputs of 16 elements, before the limits. Results are narrowed into inputs that are no longer needed: a vector of
 * anything would be copied. */
typedef int8x16_t sums(const nn_mve_add_params *p, int8x16_t x, int8x16_t y);

static inline int16x8_t eight16(const nn_mve_add_params *p, int16x8_t x, int16x8_t y) {
    const int16x8_t first = vmlasq_n_s16(x, vdupq_n_s16((int16_t)p->factor1), (int16_t)p->start);
    return vmlaq_n_s16(first, y, (int16_t)p->factor2);
}

static inline int8x16_t sums16(const nn_mve_add_params *p, int8x16_t x, int8x16_t y) {
    const int16x8_t even = eight16(p, vmovlbq_s8(x), vmovlbq_s8(y));
    const int16x8_t odd = eight16(p, vmovltq_s8(x), vmovltq_s8(y));
    return vqrshrntq_n_s16(vqrshrnbq_n_s16(x, even, NN_MVE_ADD16_FRACTION), odd, NN_MVE_ADD16_FRACTION);
}

/* x and y: inputs times 2^23. */
static inline int32x4_t four32(const nn_mve_add_params *p, int32x4_t x, int32x4_t y) {
    return vqdmlahq_n_s32(vqdmlashq_n_s32(x, vdupq_n_s32(p->factor1), p->start), y, p->factor2);
}

/* Outputs of eight elements in the upper bytes. x and y: inputs times 2^7. */
static inline int16x8_t eight32(const nn_mve_add_params *p, int16x8_t x, int16x8_t y) {
    const int32x4_t even = four32(p, vshllbq_n_s16(x, 16), vshllbq_n_s16(y, 16));
    const int32x4_t odd = four32(p, vshlltq_n_s16(x, 16), vshlltq_n_s16(y, 16));
    return vqrshrntq_n_s32(vqrshrnbq_n_s32(x, even, NN_MVE_ADD32_FRACTION - 8), odd, NN_MVE_ADD32_FRACTION - 8);
}

static inline int8x16_t sums32(const nn_mve_add_params *p, int8x16_t x, int8x16_t y) {
    const int16x8_t even = eight32(p, vshllbq_n_s8(x, 7), vshllbq_n_s8(y, 7));
    const int16x8_t odd = eight32(p, vshlltq_n_s8(x, 7), vshlltq_n_s8(y, 7));
    return vreinterpretq_s8_s16(vsriq_n_s16(odd, even, 8)); /* the upper bytes of both */
}

static void clamp(int8_t *output, int32_t count, nn_activation limits) {
    const int8x16_t min = vdupq_n_s8((int8_t)limits.min), max = vdupq_n_s8((int8_t)limits.max);
    for (; count > 0; count -= LANES, output += LANES) {
        const mve_pred16_t lanes = vctp8q((uint32_t)count);
        vstrbq_p_s8(output, vminq_s8(vmaxq_s8(vldrbq_z_s8(output, lanes), min), max), lanes);
    }
}

static inline __attribute__((always_inline)) void all(const nn_mve_add_params *params, int32_t count,
                                                      const int8_t *input1, const int8_t *input2, int8_t *output,
                                                      sums *const of) {
    const nn_mve_add_params p = *params; /* which outputs might overwrite, for all that the compiler knows */
    const nn_activation limits = p.add.activation;
    int8_t *to = output;
    for (int32_t left = count / LANES; left > 0; left--, input1 += LANES, input2 += LANES, to += LANES) {
        vstrbq_s8(to, of(&p, vldrbq_s8(input1), vldrbq_s8(input2)));
    }
    if (count % LANES) {
        const mve_pred16_t lanes = vctp8q((uint32_t)(count % LANES));
        vstrbq_p_s8(to, of(&p, vldrbq_z_s8(input1, lanes), vldrbq_z_s8(input2, lanes)), lanes);
    }
    if (limits.min > INT8_MIN || limits.max < INT8_MAX) clamp(output, count, limits);
}

void nn_mve_add16(const nn_mve_add_params *p, int32_t count, const int8_t *input1, const int8_t *input2,
                  int8_t *output) {
    all(p, count, input1, input2, output, sums16);
}

void nn_mve_add32(const nn_mve_add_params *p, int32_t count, const int8_t *input1, const int8_t *input2,
                  int8_t *output) {
    all(p, count, input1, input2, output, sums32);
}

static inline int32x4_t widened(const int8_t *input, mve_pred16_t lanes, int32_t offset) {
    return vshlq_n_s32(vaddq_n_s32(vldrbq_z_s32(input, lanes), offset), NN_ADD_LEFT_SHIFT);
}

static inline int32x4_t rescaled(int32x4_t x, int32_t multiplier, int32_t shift) {
    return nn_mve_requantized(x, vdupq_n_s32(multiplier), vdupq_n_s32(shift), false);
}

void nn_mve_add_any(const nn_mve_add_params *params, int32_t count, const int8_t *input1, const int8_t *input2,
                    int8_t *output) {
    const nn_add_params p = params->add;
    for (; count > 0; count -= FEW, input1 += FEW, input2 += FEW, output += FEW) {
        const mve_pred16_t lanes = vctp32q((uint32_t)count);
        const int32x4_t x = rescaled(widened(input1, lanes, p.input1_offset), p.input1_mult, p.input1_shift);
        const int32x4_t y = rescaled(widened(input2, lanes, p.input2_offset), p.input2_mult, p.input2_shift);
        int32x4_t q = rescaled(vaddq_s32(x, y), p.output_mult, p.output_shift);
        q = vaddq_n_s32(q, p.output_offset);
        q = vminq_s32(vmaxq_s32(q, vdupq_n_s32(p.activation.min)), vdupq_n_s32(p.activation.max));
        vstrbq_p_s32(output, q, lanes);
    }
}

void nn_add_mve(const nn_mve_add_params *params, const nn_dims *dims, const int8_t *input1, const int8_t *input2,
                int8_t *output) {
    params->code(params, dims->h * dims->w * dims->c, input1, input2, output);
}
