/* Ternary depthwise convolution without multiplications, for cores without SIMD instructions.
 *
 * The output is cut into four stripes of equal height, which overlap where its height is not a multiple of four; a word
 * of 64 bits holds the same place of all four. The inputs of one channel are laid out as a plane of such words, padding
 * included. Its weights become two lists of places in the plane, those to add and those to subtract; zeros cost
 * nothing. The cost of a stride is paid once, by laying out column j at j / stride of segment j % stride.
 *
 * Filter: for each output channel its taps in the order height, width, 2 bits each from the low bits of a byte on,
 * two's complement; each channel starts at a byte boundary. */
#include "nn_arith.h"
#include "nn_swar.h"

enum { STRIPES = NN_SWAR_FIELDS };

/* The parts of the scratch memory, and the shape of a plane. */
typedef struct {
    uint64_t *plane;
    uint64_t *sums;                   /* per output of a stripe */
    int32_t *places;                  /* of the taps to add, from the front; of those to subtract, from the back */
    int8_t *padding;                  /* a row of zero points */
    int32_t segment;                  /* words of a plane row for the columns of one remainder modulo the stride */
    int32_t pitch;                    /* words of a plane row */
    int32_t first_phase, first_place; /* of the first column that is not padding */
    int32_t height;                   /* output rows of a stripe */
    int32_t start[STRIPES];           /* first output row of each stripe */
} workspace;

/* pipeline/codegen/kernels/depthwise_conv2d_t2_swar.py reserves the parts in the same order. */
static workspace workspace_in(const nn_context *ctx, const nn_dw_conv_params *params, const nn_dims *in,
                              const nn_dims *filter, const nn_dims *out) {
    const int32_t columns = (out->w - 1) * params->stride.w + filter->w;
    workspace work = {.plane = ctx->buf, .height = (out->h + STRIPES - 1) / STRIPES};
    for (int32_t i = 0; i < STRIPES; i++) work.start[i] = nn_min(i * work.height, out->h - work.height);
    work.segment = (columns + params->stride.w - 1) / params->stride.w;
    work.pitch = work.segment * params->stride.w;
    work.first_phase = params->padding.w % params->stride.w;
    work.first_place = work.first_phase * work.segment + params->padding.w / params->stride.w;
    const int32_t rows = (work.height - 1) * params->stride.h + filter->h;
    const int32_t words = rows * work.pitch + 1; /* outputs are computed in pairs */
    work.sums = work.plane + words;
    work.places = (int32_t *)(work.sums + work.height * out->w + 1);
    work.padding = (int8_t *)(work.places + filter->h * filter->w);
    const int8_t zero = (int8_t)-params->input_offset;
    for (int32_t i = 0; i < words; i++) work.plane[i] = nn_swar_quad(zero, zero, zero, zero);
    for (int32_t i = 0; i < in->w * in->c; i++) work.padding[i] = zero;
    return work;
}

/* Lays out one row of the plane, which already holds the padding, from the input rows of the stripes. */
static inline void lay_row(const nn_dw_conv_params *params, const nn_dims *in, const int8_t *const rows[STRIPES],
                           const workspace *work, uint64_t *plane_row) {
    const int8_t *a = rows[0], *b = rows[1], *c = rows[2], *d = rows[3];
    const int32_t stride = params->stride.w, step = stride * in->c;
    const int32_t past = nn_min(in->w, work->pitch - params->padding.w) * in->c;
    uint64_t *segment = plane_row + work->first_place;
    int32_t phase = work->first_phase;
    for (int32_t first = 0; first < step; first += in->c, segment += work->segment) {
        uint64_t *to = segment;
        for (int32_t at = first; at < past; at += step) *to++ = nn_swar_quad(a[at], b[at], c[at], d[at]);
        if (++phase == stride) segment -= work->pitch - 1;
    }
}

/* Lays out the plane of one input channel. */
static void lay_plane(const nn_dw_conv_params *params, const nn_dims *in, const int8_t *channel,
                      const workspace *work) {
    const int32_t row_bytes = in->w * in->c;
    int32_t y[STRIPES];
    const int8_t *inside[STRIPES], *rows[STRIPES];
    for (int32_t i = 0; i < STRIPES; i++) {
        y[i] = work->start[i] * params->stride.h - params->padding.h;
        inside[i] = channel + y[i] * row_bytes;
    }
    for (uint64_t *row = work->plane; row < work->sums - 1; row += work->pitch) {
#pragma GCC unroll 4
        for (int32_t i = 0; i < STRIPES; i++) {
            rows[i] = (uint32_t)y[i] < (uint32_t)in->h ? inside[i] : work->padding;
            y[i]++;
            inside[i] += row_bytes;
        }
        lay_row(params, in, rows, work, row);
    }
}

/* Lists the places of one channel's taps; returns the number of those to add, *subtract gets the number of others. */
static int32_t list_places(const nn_dw_conv_params *params, const nn_dims *filter_dims, const NN_FLASH uint8_t *filter,
                           const workspace *work, int32_t *subtract) {
    int32_t *add = work->places, *end = work->places + filter_dims->h * filter_dims->w, *minus = end;
    uint32_t codes = 0;
    int32_t left = 0;
    for (int32_t ky = 0; ky < filter_dims->h; ky++) {
        for (int32_t kx = 0; kx < filter_dims->w; kx++, codes >>= 2, left--) {
            if (left == 0) codes = *filter++, left = 4;
            const int32_t phase = kx % params->stride.w;
            const int32_t place = ky * work->pitch + phase * work->segment + kx / params->stride.w;
            if ((codes & 3U) == 1U) *add++ = place;
            if ((codes & 3U) == 3U) *--minus = place;
        }
    }
    *subtract = (int32_t)(end - minus);
    return (int32_t)(add - work->places);
}

/* The inner loops: for every listed place, the word at that place of `at` is added to or subtracted from sums[0], the
 * next word likewise for sums[1]. Lists are not empty. 10 instructions for 8 multiply-accumulates; GCC 12 takes 13, as
 * it splits the loads. */
#ifdef __thumb2__

#define SUM_LIST(low, high)                                                                                            \
    __asm("1:\n\t"                                                                                                     \
          "ldr %[word], [%[place]], #4\n\t"                                                                            \
          "add %[word], %[at], %[word], lsl #3\n\t"                                                                    \
          "ldrd %Q[w], %R[w], [%[word]]\n\t" low " %Q[a], %Q[a], %Q[w]\n\t" high " %R[a], %R[a], %R[w]\n\t"            \
          "ldrd %Q[w], %R[w], [%[word], #8]\n\t" low " %Q[b], %Q[b], %Q[w]\n\t" high " %R[b], %R[b], %R[w]\n\t"        \
          "cmp %[place], %[end]\n\t"                                                                                   \
          "bne 1b"                                                                                                     \
          : [a] "+&r"(sums[0]), [b] "+&r"(sums[1]), [place] "+&r"(place), [word] "=&r"(word), [w] "=&r"(w)             \
          : [at] "r"(at), [end] "r"(end)                                                                               \
          : "cc", "memory")

static inline void add_places(uint64_t sums[2], const int32_t *place, const int32_t *end, const uint64_t *at) {
    const uint64_t *word;
    uint64_t w;
    SUM_LIST("adds", "adc");
}
static inline void subtract_places(uint64_t sums[2], const int32_t *place, const int32_t *end, const uint64_t *at) {
    const uint64_t *word;
    uint64_t w;
    SUM_LIST("subs", "sbc");
}

#else

static inline void add_places(uint64_t sums[2], const int32_t *place, const int32_t *end, const uint64_t *at) {
    for (; place < end; place++) {
        sums[0] += at[*place];
        sums[1] += at[*place + 1];
    }
}
static inline void subtract_places(uint64_t sums[2], const int32_t *place, const int32_t *end, const uint64_t *at) {
    for (; place < end; place++) {
        sums[0] -= at[*place];
        sums[1] -= at[*place + 1];
    }
}

#endif

/* Computes one output channel, whose inputs are laid out. */
static void convolve_channel(const nn_dw_conv_params *params, const nn_dims *filter_dims,
                             const NN_FLASH uint8_t *filter, const nn_swar_channel *c, const nn_dims *out,
                             const workspace *work, int8_t *output) {
    int32_t subtract;
    const int32_t *add_end = work->places + list_places(params, filter_dims, filter, work, &subtract);
    const int32_t *end = work->places + filter_dims->h * filter_dims->w;
    nn_swar_sums all = {.sums = work->sums, .words = work->height * out->w, .step = out->c};
    for (int32_t i = 0; i < STRIPES; i++) all.place[i] = work->start[i] * out->w * out->c;
    uint64_t *sums = work->sums;
    for (int32_t y = 0; y < work->height; y++, sums += out->w) {
        const uint64_t *at = work->plane + y * params->stride.h * work->pitch;
        for (int32_t x = 0; x < out->w; x += 2) {
            uint64_t pair[2] = {0, 0};
            if (add_end > work->places) add_places(pair, work->places, add_end, at + x);
            if (subtract > 0) subtract_places(pair, end - subtract, end, at + x);
            sums[x] = pair[0];
            sums[x + 1] = pair[1]; /* with an odd width the last one is the next row's first, which is overwritten */
        }
    }
    nn_swar_finish(c, &all, output);
}

void nn_depthwise_conv2d_t2_swar(const nn_context *ctx, const nn_dw_conv_params *params,
                                 const nn_per_channel_quant_params *quant, const nn_dims *input_dims,
                                 const int8_t *input, const nn_dims *filter_dims, const NN_FLASH void *filter,
                                 const NN_FLASH int32_t *bias, const nn_dims *output_dims, int8_t *output) {
    const workspace work = workspace_in(ctx, params, input_dims, filter_dims, output_dims);
    const int32_t filter_bytes = (filter_dims->h * filter_dims->w + 3) / 4;
    nn_swar_channel c = {.output_offset = params->output_offset, .activation = params->activation};
    const NN_FLASH uint8_t *codes = filter;
    for (int32_t oc = 0; oc < output_dims->c; oc++, codes += filter_bytes) {
        if (oc % params->ch_mult == 0) lay_plane(params, input_dims, input + oc / params->ch_mult, &work);
        c.bias = bias[oc];
        c.multiplier = quant->multiplier[oc];
        c.shift = quant->shift[oc];
        convolve_channel(params, filter_dims, codes, &c, output_dims, &work, output + oc);
    }
}
