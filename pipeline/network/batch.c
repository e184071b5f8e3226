/* Forward and backward passes of layers on the host, for the twin and for attacks: the arithmetic of the device, with
 * sums in float32.
 *
 * A float holds an activation minus its zero point, or a derivative. Sums of integers below 2^24 are exact in float32,
 * in any order; layers that may exceed that are summed in double. Rounding is that of nn_arith.h. Tables of offsets, in
 * floats, tell where values are, so that no function here knows about strides or padding; margins hold zeros. bound.py
 * calls these functions and fills the structs, which have the same fields there. */
#include "nn_arith.h"

#include <math.h>
#include <stddef.h>
#include <stdint.h>

enum { LANES = 8, GROUP = 2 * LANES, POSITIONS = 6 };

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4)));

/* Shape of a tensor, or of a slice of its channels, and distances between neighbours, in floats. */
typedef struct {
    int32_t h, w, c, pixel, row, image;
} map;

/* A layer's values are clamped to [low, high]; gradients pass where a value is in [pass_low, pass_high]. All are
 * relative to the zero point. rounded: as on the device, otherwise in real arithmetic. */
typedef struct {
    int32_t rounded;
    float low, high, pass_low, pass_high;
} clamp;

/* Per channel, padded to whole groups. */
typedef struct {
    const float *gain;
    const int32_t *bias, *multiplier, *shift;
} requant;

/* Matrix products: at each position, out[to + o] is the sum over rows and j < run of in[from + row + j] times a
 * weight. weights: [groups of channels][rows][run][lanes], 8 lanes where there are at most 8 channels, else 16. */
typedef struct {
    const float *weights;
    const int32_t *from, *to, *row;
    int32_t rows, run, channels, wide;
} product;

/* The same for each channel separately: out[to + o] is the sum over taps and over the `reduce` terms t of o of
 * in[from + tap + t / expand] * weight[tap][t]. */
typedef struct {
    const float *weights;
    const int32_t *from, *to, *tap;
    int32_t taps, channels, expand, reduce;
} depthwise;

/* Windows: that of `position` is the offsets first[position] to first[position + 1] - 1 in `from`. */
typedef struct {
    const int32_t *from, *first, *to;
    int32_t channels, most;
} window;

static inline float clamped(float value, const clamp *k, uint8_t *keep) {
    *keep = value >= k->pass_low && value <= k->pass_high;
    const float above = value < k->low ? k->low : value;
    return above > k->high ? k->high : above;
}

/* Turns `lanes` values into activations, in steps that the compiler vectorizes where lanes is a constant. */
static inline __attribute__((always_inline)) void settle(const float *restrict values, const clamp *k, int lanes,
                                                         float *restrict out, uint8_t *restrict keep) {
    const float low = k->low, high = k->high, pass_low = k->pass_low, pass_high = k->pass_high;
    int32_t passes[GROUP];
    for (int o = 0; o < lanes; o++) {
        const float value = values[o], above = value < low ? low : value;
        passes[o] = (value >= pass_low) & (value <= pass_high);
        out[o] = above > high ? high : above;
    }
    for (int o = 0; o < lanes; o++) keep[o] = (uint8_t)passes[o];
}

static inline __attribute__((always_inline)) void requantize(const int32_t *restrict sums,
                                                             const int32_t *restrict multiplier,
                                                             const int32_t *restrict shift, int lanes,
                                                             int32_t *restrict out) {
    for (int o = 0; o < lanes; o++) out[o] = nn_requantize(sums[o], multiplier[o], shift[o]);
}

/* Turns `lanes` sums, without the bias, of channels from `first` on into activations, as on the device. */
static inline __attribute__((always_inline)) void finish(const int32_t *sums, const requant *q, const clamp *k,
                                                         int first, int lanes, float *out, uint8_t *keep) {
    int32_t whole[GROUP], scaled[GROUP];
    float values[GROUP];
    for (int o = 0; o < lanes; o++) whole[o] = sums[o] + q->bias[first + o];
    requantize(whole, q->multiplier + first, q->shift + first, lanes, scaled);
    for (int o = 0; o < lanes; o++) values[o] = (float)scaled[o];
    settle(values, k, lanes, out, keep);
}

/* The same in real arithmetic. */
static inline __attribute__((always_inline)) void finish_real(const float *sums, const requant *q, const clamp *k,
                                                              int first, int lanes, float *out, uint8_t *keep) {
    float values[GROUP];
    for (int o = 0; o < lanes; o++) values[o] = (sums[o] + (float)q->bias[first + o]) * q->gain[first + o];
    settle(values, k, lanes, out, keep);
}

static inline __attribute__((always_inline)) void accumulate(const product *p, const float *weights,
                                                             const float *const from[POSITIONS], const int vectors,
                                                             vec sums[POSITIONS][2]) {
    for (int r = 0; r < p->rows; r++) {
        const float *x[POSITIONS];
#pragma GCC unroll 6
        for (int k = 0; k < POSITIONS; k++) x[k] = from[k] + p->row[r];
        for (int j = 0; j < p->run; j++, weights += vectors * LANES) {
            const vec first = *(const vec *)weights, second = vectors == 2 ? *(const vec *)(weights + LANES) : first;
#pragma GCC unroll 6
            for (int k = 0; k < POSITIONS; k++) {
                sums[k][0] += x[k][j] * first;
                if (vectors == 2) sums[k][1] += x[k][j] * second;
            }
        }
    }
}

/* The sums of one group of channels at POSITIONS positions. */
static inline __attribute__((always_inline)) void block(const product *p, const float *weights,
                                                        const float *const from[POSITIONS], const int vectors,
                                                        float out[POSITIONS][GROUP]) {
    vec sums[POSITIONS][2] = {0};
    accumulate(p, weights, from, vectors, sums);
#pragma GCC unroll 6
    for (int k = 0; k < POSITIONS; k++) {
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) *(vec *)(out[k] + v * LANES) = sums[k][v];
    }
}

/* The same where sums are integers beyond 2^24: exact in double. */
static void block_wide(const product *p, const float *weights, const float *const from[POSITIONS], int width,
                       int32_t out[POSITIONS][GROUP]) {
    for (int k = 0; k < POSITIONS; k++) {
        double sums[GROUP] = {0};
        const float *w = weights;
        for (int r = 0; r < p->rows; r++) {
            const float *x = from[k] + p->row[r];
            for (int j = 0; j < p->run; j++, w += width) {
                for (int o = 0; o < width; o++) sums[o] += (double)x[j] * (double)w[o];
            }
        }
        for (int o = 0; o < width; o++) out[k][o] = (int32_t)sums[o];
    }
}

/* Lanes of a group, 8 where there are no more channels, and how many of them are channels. */
static int width_of(const product *p) {
    return p->channels > LANES ? GROUP : LANES;
}
static int lanes_of(const product *p, int first) {
    return nn_min(p->channels - first, width_of(p));
}

/* Where POSITIONS positions from `at` on read; past the end, the last one is repeated. */
static void sources(const product *p, const float *in, int at, int positions, const float *from[POSITIONS]) {
    for (int k = 0; k < POSITIONS; k++) from[k] = in + p->from[nn_min(at + k, positions - 1)];
}

static inline __attribute__((always_inline)) void forward_block(const product *p, const float *weights,
                                                                const requant *q, const clamp *k, int first, int at,
                                                                int count, const float *const from[POSITIONS],
                                                                const int vectors, float *out, uint8_t *keep) {
    const int lanes = lanes_of(p, first);
    float sums[POSITIONS][GROUP];
    int32_t whole[POSITIONS][GROUP];
    if (p->wide && k->rounded) {
        block_wide(p, weights, from, vectors * LANES, whole);
    } else {
        block(p, weights, from, vectors, sums);
        for (int i = 0; i < count; i++) {
            for (int o = 0; o < vectors * LANES; o++) whole[i][o] = (int32_t)sums[i][o];
        }
    }
    for (int i = 0; i < count; i++) {
        float *const to = out + p->to[at + i] + first;
        uint8_t *const pass = keep + (size_t)(at + i) * (size_t)p->channels + first;
        if (!k->rounded) {
            finish_real(sums[i], q, k, first, lanes, to, pass);
        } else if (lanes == GROUP) {
            finish(whole[i], q, k, first, GROUP, to, pass);
        } else {
            finish(whole[i], q, k, first, lanes, to, pass);
        }
    }
}

/* Computes a weighted layer at the first `positions` positions. */
void product_forward(const product *p, const requant *q, const clamp *k, const float *in, float *out, uint8_t *keep,
                     int positions) {
    const int width = width_of(p);
    const float *weights = p->weights, *from[POSITIONS];
    for (int first = 0; first < p->channels; first += width, weights += p->rows * p->run * width) {
        for (int at = 0; at < positions; at += POSITIONS) {
            const int count = nn_min(POSITIONS, positions - at);
            sources(p, in, at, positions, from);
            if (width == GROUP) {
                forward_block(p, weights, q, k, first, at, count, from, 2, out, keep);
            } else {
                forward_block(p, weights, q, k, first, at, count, from, 1, out, keep);
            }
        }
    }
}

/* out = sums, or out += sums. */
void product_backward(const product *p, const float *in, float *out, int add, int positions) {
    const int width = width_of(p);
    const float *weights = p->weights, *from[POSITIONS];
    float sums[POSITIONS][GROUP];
    for (int first = 0; first < p->channels; first += width, weights += p->rows * p->run * width) {
        const int lanes = lanes_of(p, first);
        for (int at = 0; at < positions; at += POSITIONS) {
            sources(p, in, at, positions, from);
            if (width == GROUP) {
                block(p, weights, from, 2, sums);
            } else {
                block(p, weights, from, 1, sums);
            }
            for (int i = 0; i < nn_min(POSITIONS, positions - at); i++) {
                float *const to = out + p->to[at + i] + first;
                for (int o = 0; o < lanes; o++) to[o] = add ? to[o] + sums[i][o] : sums[i][o];
            }
        }
    }
}

/* Sums of `lanes` channels from `first` on at one position; in double, which is exact for any integers here. */
static inline __attribute__((always_inline)) void depthwise_sums(const depthwise *p, const float *in, int first,
                                                                 int lanes, double sums[GROUP]) {
    const int terms = p->channels * p->reduce;
    for (int o = 0; o < lanes; o++) sums[o] = 0;
    for (int t = 0; t < p->taps; t++) {
        const float *const w = p->weights + t * terms, *const x = in + p->tap[t];
        if (p->expand == 1 && p->reduce == 1) {
            for (int o = 0; o < lanes; o++) sums[o] += (double)x[first + o] * (double)w[first + o];
            continue;
        }
        for (int o = 0; o < lanes; o++) {
            for (int j = (first + o) * p->reduce; j < (first + o + 1) * p->reduce; j++) {
                sums[o] += (double)x[j / p->expand] * (double)w[j];
            }
        }
    }
}

static inline __attribute__((always_inline)) void depthwise_block(const depthwise *p, const requant *q, const clamp *k,
                                                                  const float *in, int first, int lanes, float *out,
                                                                  uint8_t *keep) {
    double sums[GROUP];
    depthwise_sums(p, in, first, lanes, sums);
    if (k->rounded) {
        int32_t whole[GROUP];
        for (int o = 0; o < lanes; o++) whole[o] = (int32_t)sums[o];
        finish(whole, q, k, first, lanes, out, keep);
    } else {
        float real[GROUP];
        for (int o = 0; o < lanes; o++) real[o] = (float)sums[o];
        finish_real(real, q, k, first, lanes, out, keep);
    }
}

void depthwise_forward(const depthwise *p, const requant *q, const clamp *k, const float *in, float *out, uint8_t *keep,
                       int positions) {
    for (int at = 0; at < positions; at++, keep += p->channels) {
        const float *const from = in + p->from[at];
        float *const to = out + p->to[at];
        int first = 0;
        for (; first + GROUP <= p->channels; first += GROUP) {
            depthwise_block(p, q, k, from, first, GROUP, to + first, keep + first);
        }
        if (first < p->channels) {
            depthwise_block(p, q, k, from, first, p->channels - first, to + first, keep + first);
        }
    }
}

/* out = sums, or out += sums. */
void depthwise_backward(const depthwise *p, const float *in, float *out, int add, int positions) {
    double sums[GROUP];
    for (int at = 0; at < positions; at++) {
        for (int first = 0; first < p->channels; first += GROUP) {
            const int lanes = nn_min(GROUP, p->channels - first);
            float *const to = out + p->to[at] + first;
            if (lanes == GROUP) {
                depthwise_sums(p, in + p->from[at], first, GROUP, sums);
            } else {
                depthwise_sums(p, in + p->from[at], first, lanes, sums);
            }
            for (int o = 0; o < lanes; o++) to[o] = (float)(add ? (double)to[o] + sums[o] : sums[o]);
        }
    }
}

/* Offset of the pixel (x, y) of an image. */
static size_t at(const map *m, int image, int y, int x) {
    return (size_t)image * (size_t)m->image + (size_t)y * (size_t)m->row + (size_t)x * (size_t)m->pixel;
}

/* Loads samples of the lattice, minus their zero point. */
void load(const int8_t *samples, int zero_point, const map *to, float *out, int images) {
    for (int image = 0; image < images; image++) {
        for (int y = 0; y < to->h; y++) {
            for (int x = 0; x < to->w; x++, samples += to->c) {
                float *const o = out + at(to, image, y, x);
                for (int c = 0; c < to->c; c++) o[c] = (float)(samples[c] - zero_point);
            }
        }
    }
}

/* Stores activations as int8, with the zero point added. */
void store(const map *from, const float *in, int zero_point, int8_t *answers, int images) {
    for (int image = 0; image < images; image++) {
        for (int y = 0; y < from->h; y++) {
            for (int x = 0; x < from->w; x++, answers += from->c) {
                const float *const i = in + at(from, image, y, x);
                for (int c = 0; c < from->c; c++) answers[c] = (int8_t)((int)i[c] + zero_point);
            }
        }
    }
}

static inline __attribute__((always_inline)) void pass_lanes(const float *restrict in, const float *restrict factor,
                                                             const uint8_t *restrict keep, int lanes, int add,
                                                             float *restrict out) {
    float parts[GROUP];
    for (int o = 0; o < lanes; o++) parts[o] = in[o] * factor[o];
    if (keep != NULL) {
        for (int o = 0; o < lanes; o++) parts[o] = keep[o] != 0 ? parts[o] : 0.0F;
    }
    if (add) {
        for (int o = 0; o < lanes; o++) out[o] += parts[o];
    } else {
        for (int o = 0; o < lanes; o++) out[o] = parts[o];
    }
}

/* out = in * factor[channel], or out += that, where `keep` says so; keep: NULL, or a byte per element, `skip` bytes
 * from one pixel to the next. Both maps have the same shape. */
void pass(const map *from, const float *in, const float *factor, const map *to, float *out, int add, int skip,
          const uint8_t *keep, int images) {
    const int channels = from->c;
    for (int image = 0; image < images; image++) {
        for (int y = 0; y < from->h; y++) {
            for (int x = 0; x < from->w; x++) {
                const float *const i = in + at(from, image, y, x);
                float *const o = out + at(to, image, y, x);
                int c = 0;
                for (; c + GROUP <= channels; c += GROUP) {
                    pass_lanes(i + c, factor + c, keep == NULL ? NULL : keep + c, GROUP, add, o + c);
                }
                if (c < channels) {
                    pass_lanes(i + c, factor + c, keep == NULL ? NULL : keep + c, channels - c, add, o + c);
                }
                if (keep != NULL) keep += skip;
            }
        }
    }
}

/* How an input of add or concatenate gets a common scale: shifted left by 20 bits, then requantized. */
typedef struct {
    int32_t multiplier, shift;
    float factor;
} rescale;

static inline int32_t rescaled(float x, const rescale *r) {
    return nn_requantize((int32_t)x * ((int32_t)1 << NN_ADD_LEFT_SHIFT), r->multiplier, r->shift);
}

/* Computes `lanes` elements of a sum; rescales: of both inputs, then of their sum. */
static inline __attribute__((always_inline)) void add_lanes(const float *a, const float *b, const rescale *rescales,
                                                            const clamp *k, int lanes, float *out, uint8_t *keep) {
    float values[GROUP];
    if (k->rounded) {
        int32_t first[GROUP], second[GROUP], sum[GROUP];
        for (int o = 0; o < lanes; o++) first[o] = rescaled(a[o], rescales);
        for (int o = 0; o < lanes; o++) second[o] = rescaled(b[o], rescales + 1);
        const int32_t multiplier = rescales[2].multiplier, shift = rescales[2].shift;
        for (int o = 0; o < lanes; o++) sum[o] = nn_requantize(first[o] + second[o], multiplier, shift);
        for (int o = 0; o < lanes; o++) values[o] = (float)sum[o];
    } else {
        const float factor1 = rescales[0].factor, factor2 = rescales[1].factor;
        for (int o = 0; o < lanes; o++) values[o] = a[o] * factor1 + b[o] * factor2;
    }
    settle(values, k, lanes, out, keep);
}

/* The factors of the inputs are those of the whole path to the output. */
void add_forward(const map *from1, const float *in1, const map *from2, const float *in2, const rescale *rescales,
                 const clamp *k, const map *to, float *out, uint8_t *keep, int images) {
    const rescale local[3] = {rescales[0], rescales[1], rescales[2]};
    for (int image = 0; image < images; image++) {
        for (int y = 0; y < to->h; y++) {
            for (int x = 0; x < to->w; x++, keep += to->c) {
                const float *const a = in1 + at(from1, image, y, x), *const b = in2 + at(from2, image, y, x);
                float *const o = out + at(to, image, y, x);
                int c = 0;
                for (; c + GROUP <= to->c; c += GROUP) add_lanes(a + c, b + c, local, k, GROUP, o + c, keep + c);
                if (c < to->c) add_lanes(a + c, b + c, local, k, to->c - c, o + c, keep + c);
            }
        }
    }
}

/* Copies one input of a concatenation; to, out and keep are those of its slice of channels, whose pixels are `skip`
 * bytes apart in keep. */
void concatenate_forward(const map *from, const float *in, const rescale *r, const clamp *k, const map *to, float *out,
                         int skip, uint8_t *keep, int images) {
    for (int image = 0; image < images; image++) {
        for (int y = 0; y < to->h; y++) {
            for (int x = 0; x < to->w; x++, keep += skip) {
                const float *const i = in + at(from, image, y, x);
                float *const o = out + at(to, image, y, x);
                for (int c = 0; c < to->c; c++) {
                    const float value = k->rounded ? (float)rescaled(i[c], r) : i[c] * r->factor;
                    o[c] = clamped(value, k, keep + c);
                }
            }
        }
    }
}

/* Means of windows. */
void mean_forward(const window *p, int zero_point, const clamp *k, const float *in, float *out, uint8_t *keep,
                  int positions) {
    for (int at = 0; at < positions; at++) {
        const int first = p->first[at], count = p->first[at + 1] - first;
        float *const o = out + p->to[at];
        for (int c = 0; c < p->channels; c++) o[c] = 0;
        for (int t = 0; t < count; t++) {
            for (int c = 0; c < p->channels; c++) o[c] += in[p->from[first + t] + c];
        }
        for (int c = 0; c < p->channels; c++, keep++) {
            const int32_t total = (int32_t)o[c] + count * zero_point;
            const int32_t mean = nn_rounded_mean(total, count) - zero_point;
            o[c] = clamped(k->rounded ? (float)mean : o[c] / (float)count, k, keep);
        }
    }
}

/* in: derivatives with respect to the means, in their layout; out: is added to. */
void mean_backward(const window *p, const float *in, float *out, const uint8_t *keep, int positions) {
    for (int at = 0; at < positions; at++, keep += p->channels) {
        const int first = p->first[at], count = p->first[at + 1] - first;
        const float *const i = in + p->to[at], share = 1.0F / (float)count;
        for (int t = 0; t < count; t++) {
            float *const o = out + p->from[first + t];
            for (int c = 0; c < p->channels; c++) o[c] += keep[c] ? i[c] * share : 0.0F;
        }
    }
}

/* Maxima of windows. keep: `most` bytes per output, 1 where an element of the window is its maximum and the clamp
 * passes gradients. */
void maximum_forward(const window *p, const clamp *k, const float *in, float *out, uint8_t *keep, int positions) {
    for (int at = 0; at < positions; at++) {
        const int first = p->first[at], count = p->first[at + 1] - first;
        for (int c = 0; c < p->channels; c++, keep += p->most) {
            float best = -INFINITY;
            uint8_t passes;
            for (int t = 0; t < count; t++) best = fmaxf(best, in[p->from[first + t] + c]);
            out[p->to[at] + c] = clamped(best, k, &passes);
            for (int t = 0; t < count; t++) keep[t] = passes && in[p->from[first + t] + c] == best;
        }
    }
}

/* out: is added to, in equal parts for all maxima of a window. */
void maximum_backward(const window *p, const float *in, float *out, const uint8_t *keep, int positions) {
    for (int at = 0; at < positions; at++) {
        const int first = p->first[at], count = p->first[at + 1] - first;
        for (int c = 0; c < p->channels; c++, keep += p->most) {
            int ties = 0;
            for (int t = 0; t < count; t++) ties += keep[t];
            const float share = in[p->to[at] + c] / (float)nn_max(ties, 1);
            for (int t = 0; t < count; t++) out[p->from[first + t] + c] += keep[t] ? share : 0.0F;
        }
    }
}
