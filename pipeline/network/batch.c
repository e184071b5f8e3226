/* Forward and backward passes of networks on the host, for the twin and for attacks: the arithmetic of the device, with
 * sums in float32. A pass is a table of steps, each a function of this file and what it reads and writes.
 *
 * A float holds an activation minus its zero point, or a derivative. Sums of integers below 2^24 are exact in float32,
 * in any order; layers that may exceed that are summed in double. Rounding is that of nn_arith.h. Tables of offsets, in
 * floats, tell where values are, so that no function here knows about strides or padding; margins hold zeros. steps.py
 * has the structs with the same fields, and fills the tables. */
#include "nn_arith.h"

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { LANES = 8, GROUP = 2 * LANES, POSITIONS = 6, BLOCK = POSITIONS * GROUP };
enum { EXACT_TERMS = (1 << 24) / 255 }; /* activations whose sum is certain to be exact in float32 */

#define INLINE inline __attribute__((always_inline))
/* For functions whose loops GCC vectorizes only as long as it does not unroll them into their callers. */
#define APART __attribute__((noinline))

#ifdef __AVX__
enum { VECTOR = 8 };
#else
enum { VECTOR = 4 };
#endif
enum { VECTORS = GROUP / VECTOR };

/* Of the machine's own size: larger ones would live in memory. */
typedef float vec __attribute__((vector_size(4 * VECTOR), aligned(4)));

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

/* How an input of add or concatenate gets a common scale: shifted left by 20 bits, then requantized. */
typedef struct {
    int32_t multiplier, shift;
    float factor;
} rescale;

/* One step of a pass over a chunk of samples. A function reads the fields that its comment names. keep: a byte for
 * every activation of the layer in the chunk, which its forward step writes and its backward steps read. */
typedef struct step step;
struct step {
    void (*run)(const step *s, uint8_t *keep, int samples);
    const void *table; /* a product, depthwise or window */
    const requant *requant;
    const rescale *rescales;
    const float *factor, *in, *in2;
    float *out;
    clamp clamp;
    map from, from2, to;
    int32_t count;  /* positions a sample; of clear, floats */
    int32_t before; /* bytes of the states of other layers before this one's, a sample */
    int32_t add;    /* out += result instead of out = result */
    int32_t pixel;  /* bytes of state a pixel; none are read if 0 */
    int32_t first;  /* of a pixel, the first byte that counts */
    int32_t zero;   /* point of the input */
};

static inline float clamped(float value, const clamp *k, uint8_t *keep) {
    *keep = value >= k->pass_low && value <= k->pass_high;
    const float above = value < k->low ? k->low : value;
    return above > k->high ? k->high : above;
}

/* Turns n <= BLOCK values into activations. */
static APART void settle(const float *restrict values, const clamp *k, int n, float *restrict out,
                         uint8_t *restrict keep) {
    const float low = k->low, high = k->high, pass_low = k->pass_low, pass_high = k->pass_high;
    for (int o = 0; o < n; o++) {
        const float value = values[o], above = value < low ? low : value;
        keep[o] = (value >= pass_low) & (value <= pass_high);
        out[o] = above > high ? high : above;
    }
}

/* Turns n <= BLOCK sums, without the bias, into activations, as on the device; q: of each of them. */
static APART void finish(const int32_t *restrict sums, const requant *q, const clamp *k, int n, float *restrict out,
                         uint8_t *restrict keep) {
    const int32_t *restrict const bias = q->bias, *restrict const multiplier = q->multiplier;
    const int32_t *restrict const shift = q->shift;
    float values[BLOCK];
    for (int o = 0; o < n; o++) values[o] = (float)nn_requantize(sums[o] + bias[o], multiplier[o], shift[o]);
    settle(values, k, n, out, keep);
}

/* The same in real arithmetic. */
static APART void finish_real(const float *restrict sums, const requant *q, const clamp *k, int n, float *restrict out,
                              uint8_t *restrict keep) {
    const float *restrict const gain = q->gain;
    const int32_t *restrict const bias = q->bias;
    float values[BLOCK];
    for (int o = 0; o < n; o++) values[o] = (sums[o] + (float)bias[o]) * gain[o];
    settle(values, k, n, out, keep);
}

/* out: the sums of one group of channels, `width` lanes, at POSITIONS positions. */
static INLINE void accumulate(const product *p, const float *weights, const float *const from[POSITIONS],
                              const int width, float out[BLOCK]) {
    const int vectors = width / VECTOR;
    vec sums[POSITIONS][VECTORS] = {0};
    for (int r = 0; r < p->rows; r++) {
        const float *x[POSITIONS];
#pragma GCC unroll 6
        for (int k = 0; k < POSITIONS; k++) x[k] = from[k] + p->row[r];
#pragma GCC unroll 4
        for (int j = 0; j < p->run; j++, weights += width) {
            vec w[VECTORS];
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) w[v] = *(const vec *)(weights + v * VECTOR);
#pragma GCC unroll 6
            for (int k = 0; k < POSITIONS; k++) {
#pragma GCC unroll 4
                for (int v = 0; v < vectors; v++) sums[k][v] += x[k][j] * w[v];
            }
        }
    }
#pragma GCC unroll 6
    for (int k = 0; k < POSITIONS; k++) {
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) *(vec *)(out + k * width + v * VECTOR) = sums[k][v];
    }
}

/* The same where sums are integers beyond 2^24: exact in double. */
static void accumulate_wide(const product *p, const float *weights, const float *const from[POSITIONS], int width,
                            int32_t *sums) {
    for (int k = 0; k < POSITIONS; k++, sums += width) {
        double exact[GROUP] = {0};
        const float *w = weights;
        for (int r = 0; r < p->rows; r++) {
            const float *x = from[k] + p->row[r];
            for (int j = 0; j < p->run; j++, w += width) {
                for (int o = 0; o < width; o++) exact[o] += (double)x[j] * (double)w[o];
            }
        }
        for (int o = 0; o < width; o++) sums[o] = (int32_t)exact[o];
    }
}

/* Lanes of a group, 8 where there are no more channels. */
static int width_of(const product *p) {
    return p->channels > LANES ? GROUP : LANES;
}

/* to = values, or to += values; quick for a whole group, which is the usual case. */
static INLINE void bring(const float *values, int lanes, int add, float *to) {
    if (lanes == GROUP) {
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) {
            const vec value = *(const vec *)(values + v * VECTOR);
            vec *const out = (vec *)(to + v * VECTOR);
            *out = add ? *out + value : value;
        }
    } else {
        for (int o = 0; o < lanes; o++) to[o] = add ? to[o] + values[o] : values[o];
    }
}
static INLINE void bring_bytes(const uint8_t *values, int lanes, uint8_t *to) {
    if (lanes == GROUP) {
        memcpy(to, values, GROUP);
    } else {
        for (int o = 0; o < lanes; o++) to[o] = values[o];
    }
}

/* Where POSITIONS positions from `at` on read; past the end, the last one is repeated. */
static void sources(const product *p, const float *in, int at, int positions, const float *from[POSITIONS]) {
    for (int k = 0; k < POSITIONS; k++) from[k] = in + p->from[nn_min(at + k, positions - 1)];
}

/* The requantization of a group of channels for every element of a block. */
typedef struct {
    float gain[BLOCK];
    int32_t bias[BLOCK], multiplier[BLOCK], shift[BLOCK];
} block_requant;

static requant repeated(const requant *q, int first, int width, block_requant *to) {
    for (int o = 0; o < POSITIONS * width; o++) {
        const int channel = first + o % width;
        to->gain[o] = q->gain[channel];
        to->bias[o] = q->bias[channel];
        to->multiplier[o] = q->multiplier[channel];
        to->shift[o] = q->shift[channel];
    }
    return (requant){to->gain, to->bias, to->multiplier, to->shift};
}

/* Computes the activations of a group of channels, `width` lanes, at POSITIONS positions. */
static INLINE void forward_block(const product *p, const float *weights, const requant *q, const clamp *k,
                                 const float *const from[POSITIONS], const int width, float *out, uint8_t *keep) {
    float sums[BLOCK];
    int32_t whole[BLOCK];
    const int n = POSITIONS * width;
    if (p->wide && k->rounded) {
        accumulate_wide(p, weights, from, width, whole);
        finish(whole, q, k, n, out, keep);
        return;
    }
    accumulate(p, weights, from, width, sums);
    if (k->rounded) {
        for (int o = 0; o < n; o++) whole[o] = (int32_t)sums[o];
        finish(whole, q, k, n, out, keep);
    } else {
        finish_real(sums, q, k, n, out, keep);
    }
}

/* Computes a weighted layer. table: a product; requant, clamp, in, out, count. */
void product_forward(const step *s, uint8_t *keep, int samples) {
    const product *const p = s->table;
    const int width = width_of(p), positions = samples * s->count;
    const float *weights = p->weights, *from[POSITIONS];
    block_requant tables;
    float active[BLOCK];
    uint8_t passes[BLOCK];
    for (int first = 0; first < p->channels; first += width, weights += p->rows * p->run * width) {
        const requant group = repeated(s->requant, first, width, &tables);
        const int lanes = nn_min(p->channels - first, width);
        for (int at = 0; at < positions; at += POSITIONS) {
            sources(p, s->in, at, positions, from);
            if (width == GROUP) {
                forward_block(p, weights, &group, &s->clamp, from, GROUP, active, passes);
            } else {
                forward_block(p, weights, &group, &s->clamp, from, LANES, active, passes);
            }
            for (int i = 0; i < nn_min(POSITIONS, positions - at); i++) {
                uint8_t *const kept = keep + (size_t)(at + i) * (size_t)p->channels + first;
                bring(active + i * width, lanes, 0, s->out + p->to[at + i] + first);
                bring_bytes(passes + i * width, lanes, kept);
            }
        }
    }
}

/* Brings derivatives to the input of a weighted layer. table: a product; in, out, add, count. */
void product_backward(const step *s, uint8_t *keep, int samples) {
    (void)keep;
    const product *const p = s->table;
    const int width = width_of(p), positions = samples * s->count;
    const float *weights = p->weights, *from[POSITIONS];
    float sums[BLOCK];
    for (int first = 0; first < p->channels; first += width, weights += p->rows * p->run * width) {
        const int lanes = nn_min(p->channels - first, width);
        for (int at = 0; at < positions; at += POSITIONS) {
            sources(p, s->in, at, positions, from);
            if (width == GROUP) {
                accumulate(p, weights, from, GROUP, sums);
            } else {
                accumulate(p, weights, from, LANES, sums);
            }
            for (int i = 0; i < nn_min(POSITIONS, positions - at); i++) {
                bring(sums + i * width, lanes, s->add, s->out + p->to[at + i] + first);
            }
        }
    }
}

/* Sums of `lanes` channels from `first` on at one position; in double, which is exact for any integers here. */
static INLINE void depthwise_sums(const depthwise *p, const float *in, int first, int lanes, double sums[GROUP]) {
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

static INLINE void depthwise_block(const depthwise *p, const requant *q, const clamp *k, const float *in, int first,
                                   int lanes, float *out, uint8_t *keep) {
    const requant own = {q->gain + first, q->bias + first, q->multiplier + first, q->shift + first};
    double sums[GROUP];
    depthwise_sums(p, in, first, lanes, sums);
    if (k->rounded) {
        int32_t whole[GROUP];
        for (int o = 0; o < lanes; o++) whole[o] = (int32_t)sums[o];
        finish(whole, &own, k, lanes, out, keep);
    } else {
        float real[GROUP];
        for (int o = 0; o < lanes; o++) real[o] = (float)sums[o];
        finish_real(real, &own, k, lanes, out, keep);
    }
}

/* table: a depthwise; requant, clamp, in, out, count. */
void depthwise_forward(const step *s, uint8_t *keep, int samples) {
    const depthwise *const p = s->table;
    const requant *const q = s->requant;
    const clamp *const k = &s->clamp;
    for (int at = 0; at < samples * s->count; at++, keep += p->channels) {
        const float *const from = s->in + p->from[at];
        float *const to = s->out + p->to[at];
        int first = 0;
        for (; first + GROUP <= p->channels; first += GROUP) {
            depthwise_block(p, q, k, from, first, GROUP, to + first, keep + first);
        }
        if (first < p->channels) {
            depthwise_block(p, q, k, from, first, p->channels - first, to + first, keep + first);
        }
    }
}

/* table: a depthwise; in, out, add, count. */
void depthwise_backward(const step *s, uint8_t *keep, int samples) {
    (void)keep;
    const depthwise *const p = s->table;
    double sums[GROUP];
    for (int at = 0; at < samples * s->count; at++) {
        for (int first = 0; first < p->channels; first += GROUP) {
            const int lanes = nn_min(GROUP, p->channels - first);
            float *const to = s->out + p->to[at] + first;
            if (lanes == GROUP) {
                depthwise_sums(p, s->in + p->from[at], first, GROUP, sums);
            } else {
                depthwise_sums(p, s->in + p->from[at], first, lanes, sums);
            }
            for (int o = 0; o < lanes; o++) to[o] = (float)(s->add ? (double)to[o] + sums[o] : sums[o]);
        }
    }
}

/* Offset of the pixel (x, y) of an image. */
static size_t at(const map *m, int image, int y, int x) {
    return (size_t)image * (size_t)m->image + (size_t)y * (size_t)m->row + (size_t)x * (size_t)m->pixel;
}

/* The function below for n contiguous elements. */
static APART void pass_run(const float *in, const float *restrict factor, const uint8_t *restrict keep, int n, int add,
                           float *out) {
    float parts[BLOCK];
    for (int first = 0; first < n; first += BLOCK, in += BLOCK, factor += BLOCK, out += BLOCK) {
        const int count = nn_min(BLOCK, n - first);
        for (int o = 0; o < count; o++) parts[o] = in[o] * factor[o];
        if (keep != NULL) {
            for (int o = 0; o < count; o++) parts[o] = keep[first + o] != 0 ? parts[o] : 0.0F;
        }
        if (add) {
            for (int o = 0; o < count; o++) out[o] += parts[o];
        } else {
            memcpy(out, parts, (size_t)count * sizeof(float));
        }
    }
}

/* out = in * factor, or out += that, where `keep` says so. from, to: maps of the same shape; factor: of every element
 * of a row; in, out, which may be the same, add, pixel, first. */
void pass(const step *s, uint8_t *keep, int samples) {
    const map *const from = &s->from, *const to = &s->to;
    const int dense = from->pixel == from->c && to->pixel == to->c && (s->pixel == 0 || s->pixel == from->c);
    const int runs = dense ? 1 : from->w, n = from->w * from->c / runs;
    const uint8_t *kept = s->pixel == 0 ? NULL : keep + s->first;
    for (int image = 0; image < samples; image++) {
        for (int y = 0; y < from->h; y++) {
            for (int x = 0; x < runs; x++) {
                float *const out = s->out + at(to, image, y, x);
                pass_run(s->in + at(from, image, y, x), s->factor + x * n, kept, n, s->add, out);
                if (kept != NULL) kept += dense ? n : s->pixel;
            }
        }
    }
}

/* Sets a whole tensor to 0. out, count. */
void clear(const step *s, uint8_t *keep, int samples) {
    (void)keep;
    memset(s->out, 0, (size_t)samples * (size_t)s->count * sizeof(float));
}

/* Gives the elements of a map another zero point: adds `zero` to them. to, out. */
void renamed(const step *s, uint8_t *keep, int samples) {
    (void)keep;
    for (int image = 0; image < samples; image++) {
        for (int y = 0; y < s->to.h; y++) {
            for (int x = 0; x < s->to.w; x++) {
                float *const o = s->out + at(&s->to, image, y, x);
                for (int c = 0; c < s->to.c; c++) o[c] += (float)s->zero;
            }
        }
    }
}

static inline int32_t rescaled(float x, const rescale *r) {
    return nn_requantize((int32_t)x * ((int32_t)1 << NN_ADD_LEFT_SHIFT), r->multiplier, r->shift);
}

/* Computes n <= BLOCK elements of a sum; rescales: of both inputs, then of their sum. */
static APART void add_block(const float *restrict a, const float *restrict b, const rescale *rescales, const clamp *k,
                            int n, float *restrict out, uint8_t *restrict keep) {
    const rescale r1 = rescales[0], r2 = rescales[1], r = rescales[2];
    float values[BLOCK];
    if (k->rounded) {
        int32_t first[BLOCK], second[BLOCK];
        for (int o = 0; o < n; o++) first[o] = rescaled(a[o], &r1);
        for (int o = 0; o < n; o++) second[o] = rescaled(b[o], &r2);
        for (int o = 0; o < n; o++) {
            values[o] = (float)nn_requantize(first[o] + second[o], r.multiplier, r.shift);
        }
    } else {
        for (int o = 0; o < n; o++) values[o] = a[o] * r1.factor + b[o] * r2.factor;
    }
    settle(values, k, n, out, keep);
}

/* Adds tensors whose pixels are contiguous in a row: from, in, from2, in2, to, out. rescales, of which the first two
 * have the factor of the whole path to the output; clamp. */
void add_forward(const step *s, uint8_t *keep, int samples) {
    const int row = s->to.w * s->to.c;
    for (int image = 0; image < samples; image++) {
        for (int y = 0; y < s->to.h; y++, keep += row) {
            const float *const a = s->in + at(&s->from, image, y, 0), *const b = s->in2 + at(&s->from2, image, y, 0);
            float *const o = s->out + at(&s->to, image, y, 0);
            for (int i = 0; i < row; i += BLOCK) {
                add_block(a + i, b + i, s->rescales, &s->clamp, nn_min(BLOCK, row - i), o + i, keep + i);
            }
        }
    }
}

/* Copies one input of a concatenation: from, in; to, out, first: of its slice of channels; rescales: one; clamp,
 * pixel. */
void concatenate_forward(const step *s, uint8_t *keep, int samples) {
    const rescale *const r = s->rescales;
    keep += s->first;
    for (int image = 0; image < samples; image++) {
        for (int y = 0; y < s->to.h; y++) {
            for (int x = 0; x < s->to.w; x++, keep += s->pixel) {
                const float *const i = s->in + at(&s->from, image, y, x);
                float *const o = s->out + at(&s->to, image, y, x);
                for (int c = 0; c < s->to.c; c++) {
                    const float value = s->clamp.rounded ? (float)rescaled(i[c], r) : i[c] * r->factor;
                    o[c] = clamped(value, &s->clamp, keep + c);
                }
            }
        }
    }
}

/* The sum of `count` elements, one at each of these offsets: integers that float32 could not sum exactly. */
static APART int32_t whole_sum(const float *in, const int32_t *from, int count) {
    int32_t total = 0;
    for (int t = 0; t < count; t++) total += (int32_t)in[from[t]];
    return total;
}

/* Means of windows. table: a window; zero, clamp, in, out, count. */
void mean_forward(const step *s, uint8_t *keep, int samples) {
    const window *const p = s->table;
    const clamp *const k = &s->clamp;
    const float *const in = s->in;
    for (int at = 0; at < samples * s->count; at++) {
        const int first = p->first[at], count = p->first[at + 1] - first;
        float *const o = s->out + p->to[at];
        for (int c = 0; c < p->channels; c++) o[c] = 0;
        for (int t = 0; t < count; t++) {
            for (int c = 0; c < p->channels; c++) o[c] += in[p->from[first + t] + c];
        }
        for (int c = 0; c < p->channels; c++, keep++) {
            const int32_t sum = count > EXACT_TERMS ? whole_sum(in + c, p->from + first, count) : (int32_t)o[c];
            const int32_t total = sum + count * s->zero;
            const int32_t mean = nn_rounded_mean(total, count) - s->zero;
            o[c] = clamped(k->rounded ? (float)mean : o[c] / (float)count, k, keep);
        }
    }
}

/* table: a window; count; in: derivatives by the means, in their layout; out: is added to. */
void mean_backward(const step *s, uint8_t *keep, int samples) {
    const window *const p = s->table;
    for (int at = 0; at < samples * s->count; at++, keep += p->channels) {
        const int first = p->first[at], count = p->first[at + 1] - first;
        const float *const i = s->in + p->to[at], share = 1.0F / (float)count;
        for (int t = 0; t < count; t++) {
            float *const o = s->out + p->from[first + t];
            for (int c = 0; c < p->channels; c++) o[c] += keep[c] ? i[c] * share : 0.0F;
        }
    }
}

/* Maxima of windows. keep: `most` bytes per output, 1 where an element of the window is its maximum and the clamp
 * passes gradients. table: a window; clamp, in, out, count. */
void maximum_forward(const step *s, uint8_t *keep, int samples) {
    const window *const p = s->table;
    const float *const in = s->in;
    for (int at = 0; at < samples * s->count; at++) {
        const int first = p->first[at], count = p->first[at + 1] - first;
        for (int c = 0; c < p->channels; c++, keep += p->most) {
            float best = -INFINITY;
            uint8_t passes;
            for (int t = 0; t < count; t++) best = fmaxf(best, in[p->from[first + t] + c]);
            s->out[p->to[at] + c] = clamped(best, &s->clamp, &passes);
            for (int t = 0; t < count; t++) keep[t] = passes && in[p->from[first + t] + c] == best;
        }
    }
}

/* table: a window; in, count; out: is added to, in equal parts for all maxima of a window. */
void maximum_backward(const step *s, uint8_t *keep, int samples) {
    const window *const p = s->table;
    for (int at = 0; at < samples * s->count; at++) {
        const int first = p->first[at], count = p->first[at + 1] - first;
        for (int c = 0; c < p->channels; c++, keep += p->most) {
            int ties = 0;
            for (int t = 0; t < count; t++) ties += keep[t];
            const float share = s->in[p->to[at] + c] / (float)nn_max(ties, 1);
            for (int t = 0; t < count; t++) s->out[p->from[first + t] + c] += keep[t] ? share : 0.0F;
        }
    }
}

/* Loads samples of the lattice, minus their zero point. */
static void load(const int8_t *samples, int zero_point, const map *to, float *out, int images) {
    const int row = to->w * to->c;
    for (int image = 0; image < images; image++) {
        for (int y = 0; y < to->h; y++, samples += row) {
            float *const o = out + at(to, image, y, 0);
            for (int i = 0; i < row; i++) o[i] = (float)(samples[i] - zero_point);
        }
    }
}

/* Copies images between tensors of the same shape, whose pixels are contiguous in a row. */
static void copy(const map *from, const float *in, const map *to, float *out, int images) {
    const size_t row = (size_t)(to->w * to->c) * sizeof(float);
    for (int image = 0; image < images; image++) {
        for (int y = 0; y < to->h; y++) memcpy(out + at(to, image, y, 0), in + at(from, image, y, 0), row);
    }
}

/* The map of a tensor of this shape without margins. */
static map packed(const map *m) {
    return (map){m->h, m->w, m->c, m->c, m->w * m->c, m->h * m->w * m->c};
}

/* Steps in the buffers of one thread. input, last, real: of the input, of what the last layer answers and of its logits
 * before rounding; their derivatives take the places of the first two. */
typedef struct {
    const step *forward, *backward;
    float *input, *last, *real;
    map input_map, last_map, real_map;
    int32_t forward_steps, backward_steps;
    int32_t chunk; /* most samples that the buffers hold */
    int32_t state; /* bytes a sample */
    int32_t zero;  /* point of the input */
} network;

static void run(const step *steps, int count, uint8_t *states, int samples) {
    for (int i = 0; i < count; i++) {
        steps[i].run(&steps[i], states + (size_t)steps[i].before * (size_t)samples, samples);
    }
}

/* Of samples x, chunk by chunk: answers, minus their zero point, and logits; states, which `backward` needs, of all
 * samples, or of one chunk after the other if they are not `kept`. */
void forward(const network *n, const int8_t *x, uint8_t *states, int kept, float *answers, float *logits, int samples) {
    const map input = packed(&n->input_map), last = packed(&n->last_map), real = packed(&n->real_map);
    for (int first = 0; first < samples; first += n->chunk) {
        const int count = nn_min(n->chunk, samples - first);
        load(x + at(&input, first, 0, 0), n->zero, &n->input_map, n->input, count);
        run(n->forward, n->forward_steps, states + (kept ? (size_t)first * (size_t)n->state : 0), count);
        copy(&n->last_map, n->last, &last, answers + at(&last, first, 0, 0), count);
        copy(&n->real_map, n->real, &real, logits + at(&real, first, 0, 0), count);
    }
}

/* Gradients by the samples from slopes by the answers, for the states of as many samples. */
void backward(const network *n, const float *slopes, uint8_t *states, float *gradients, int samples) {
    const map input = packed(&n->input_map), last = packed(&n->last_map);
    for (int first = 0; first < samples; first += n->chunk) {
        const int count = nn_min(n->chunk, samples - first);
        copy(&last, slopes + at(&last, first, 0, 0), &n->last_map, n->last, count);
        run(n->backward, n->backward_steps, states + (size_t)first * (size_t)n->state, count);
        copy(&n->input_map, n->input, &input, gradients + at(&input, first, 0, 0), count);
    }
}
