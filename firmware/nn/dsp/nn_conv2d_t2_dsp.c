/* Ternary convolution for cores with the DSP extension: expands the rows of the input that nn_conv2d_t2_dsp_core.S
 * sums.
 *
 * Input rows are expanded once to 16 bits, into a ring of as many rows as the kernel has; that is why the output may
 * overwrite the input. Every row is followed by the running totals of its granules, modulo 2^16: the difference of two
 * is the sum of a piece, of at most 255 inputs. Or nn_dsp_gather_windows fills a single row with windows.
 *
 * Filter: for every four output channels, every piece of the plan: words of four inputs. Slot s of a word, 2 bits from
 * bit 2 s on: slots 2 t and 2 t + 8 (t = 0..3) hold w + 1 of the first channel of a pair at one input and the next,
 * slots 2 t + 7 and 2 t + 15, modulo 16, w of the second channel; t / 2 is the pair of inputs, t % 2 that of channels.
 * After the inputs of a piece all slots are 0. Inputs are in the order of the expanded rows: of every four channels
 * 0, 2, 1, 3 where nn_dsp_expand writes them; or that of nn_dsp_gather_code. */
#include <arm_acle.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "nn_arith.h"
#include "nn_dsp.h"

static_assert(offsetof(nn_dsp_run, left) == NN_DSP_RUN_LEFT, "as in nn_conv2d_t2_dsp_core.S");
static_assert(sizeof(nn_dsp_interval) == 8 && sizeof(nn_dsp_piece) == 16, "as in nn_conv2d_t2_dsp_core.S");

/* The ring of expanded rows. */
typedef struct {
    int16_t *rows;
    int32_t size;   /* inputs that a row takes, with the totals that follow */
    int32_t first;  /* column of the ring that holds the input's column 0 */
    int32_t inside; /* columns of the input that the ring holds */
    int32_t across; /* as many of these as are of one input row: fewer where rows are joined */
    int32_t after;  /* columns of padding after them */
    int32_t next;   /* input row that is expanded next */
    int32_t slot;   /* its place in the ring */
} ring;

/* columns: of a row in the ring. */
static ring ring_in(const nn_context *ctx, const nn_dsp_conv_params *params, const nn_dims *in, int32_t columns) {
    ring r = {.rows = (int16_t *)((char *)ctx->buf + params->gather_bytes),
              .size = params->row_size,
              .first = params->gather ? 0 : params->conv.padding.w};
    r.inside = nn_min((in->w + params->column_step - 1) / params->column_step, columns - r.first);
    if (params->joined > 1 || params->gather) r.inside = columns;
    r.across = r.inside / params->joined;
    r.after = columns - r.first - r.inside;
    r.next = -params->conv.padding.h;
    return r;
}

/* Writes columns of padding, which hold the zero point; returns where their totals end. */
static uint16_t *expand_padding(const nn_dsp_conv_params *params, int32_t channels, int32_t columns, int16_t *to,
                                uint16_t *totals) {
    const int16_t zero = (int16_t)-params->conv.input_offset;
    const int32_t granule = params->granule;
    int32_t total = *totals;
    for (; columns > 0; columns--) {
        for (int32_t left = channels, g = 0; g < params->granules; g++, left -= granule, to += granule) {
            const int32_t filled = nn_min(left, granule);
            for (int32_t i = 0; i < filled; i++) to[i] = zero;
            for (int32_t i = filled; i < granule; i++) to[i] = 0;
            total += filled * zero;
            *++totals = (uint16_t)total;
        }
    }
    return totals;
}

/* Expands columns of the input, with any number of channels; returns where their totals end. */
static uint16_t *expand_bytes(const nn_dsp_conv_params *params, int32_t channels, int32_t columns, const int8_t *x,
                              int16_t *to, uint16_t *totals) {
    const int32_t granule = params->granule, step = params->column_step * channels;
    int32_t total = *totals;
    for (; columns > 0; columns--, x += step) {
        const int8_t *from = x;
        for (int32_t left = channels, g = 0; g < params->granules; g++, left -= granule) {
            const int16_t *const inputs = to + nn_min(left, granule), *const end = to + granule;
            while (to < inputs) total += *to++ = *from++;
            while (to < end) *to++ = 0;
            *++totals = (uint16_t)total;
        }
    }
    return totals;
}

/* The same for 3 channels, padded to 4: a pixel is one load, except the last one, after which the memory may end. */
static uint16_t *expand_colours(const nn_dsp_conv_params *params, int32_t columns, const int8_t *x, int16_t *to,
                                uint16_t *totals) {
    int32_t total = *totals;
    uint32_t *pairs = (uint32_t *)to;
    for (; columns > 1; columns--, x += 3, pairs += 2) {
        uint32_t word;
        memcpy(&word, x, sizeof(word));
        const uint32_t even = (uint32_t)__sxtb16((int8x4_t)word), odd = (uint32_t)(int8_t)(word >> 8);
        pairs[0] = (even & 0xFFFFU) | odd << 16;
        pairs[1] = even >> 16;
        total = __smlad((int16x2_t)even, 0x00010001, total + (int32_t)odd);
        *++totals = (uint16_t)total;
    }
    return expand_bytes(params, 3, columns, x, (int16_t *)pairs, totals);
}

/* The same, in the fastest way that the granules allow. */
static uint16_t *expand_inside(const nn_dsp_conv_params *params, int32_t channels, int32_t columns, const int8_t *x,
                               int16_t *to, uint16_t *totals) {
    const int32_t granules = params->granules, words = params->granule / 4, pixel = granules * params->granule;
    const int32_t step = params->column_step;
    if (channels == 3 && pixel == 4 && step == 1) return expand_colours(params, columns, x, to, totals);
    if (pixel != channels || params->granule % 4 != 0) return expand_bytes(params, channels, columns, x, to, totals);
    if (step == 1) return nn_dsp_expand(x, to, totals, columns * granules, words);
    const int32_t skip = (step - 1) * channels;
    if (granules == 1) return nn_dsp_expand_apart(x, to, totals, columns, words, skip);
    for (; columns > 0; columns--, x += channels + skip, to += pixel) {
        totals = nn_dsp_expand(x, to, totals, granules, words);
    }
    return totals;
}

/* Expands the next row, of the input or of the padding above or below it. Inlined, it makes the code larger, not
 * faster.
 */
__attribute__((noinline)) static void expand_row(const nn_dsp_conv_params *params, const nn_dims *in,
                                                 const int8_t *input, int32_t rows, ring *r) {
    const int32_t pixel = params->granules * params->granule;
    int16_t *row = r->rows + r->slot * r->size;
    uint16_t *totals = (uint16_t *)(row + (r->first + r->inside + r->after) * pixel);
    const bool inside = (uint32_t)r->next < (uint32_t)in->h;
    *totals = 0;
    totals = expand_padding(params, in->c, inside ? r->first : r->first + r->inside + r->after, row, totals);
    if (inside) {
        row += r->first * pixel;
        const int8_t *x = input + r->next * in->w * in->c;
        for (int32_t left = r->inside; left > 0; left -= r->across, row += r->across * pixel) {
            totals = expand_inside(params, in->c, r->across, x, row, totals);
            x += params->conv.stride.h * in->w * in->c;
        }
        expand_padding(params, in->c, r->after, row, totals);
    }
    r->next++;
    r->slot = r->slot + 1 == rows ? 0 : r->slot + 1;
}

/* State of a convolution. */
typedef struct {
    const nn_dsp_conv_params *params;
    const uint8_t *plan;
    ring rows;
    int32_t height;  /* rows of the ring */
    int32_t stride;  /* from window to window, in granules */
    int32_t advance; /* from window to window, in inputs */
    const int32_t *quant;
    int32_t *sums; /* of the inputs, for every interval and window of the row */
    char *records;
    int32_t width, channels, whole, rest; /* of the output; whole blocks of channels; channels after them */
} convolution;

static nn_dsp_code *const FLUSHES2[] = {nn_dsp_flush2_first, nn_dsp_flush2_more};
static nn_dsp_code *const FLUSHES3[] = {nn_dsp_flush3_first, nn_dsp_flush3_more};

/* The ring is full, so the place of the next row is that of the top one. */
static inline const int16_t *row_of(const convolution *c, int32_t kernel_row) {
    const int32_t place = c->rows.slot + kernel_row;
    return c->rows.rows + (place < c->height ? place : place - c->height) * c->rows.size;
}

/* Sums the inputs of every interval of every window of a row of outputs, negated. */
static void sum_windows(const convolution *c) {
    const int32_t inputs = (c->rows.first + c->rows.inside + c->rows.after) * c->params->granules * c->params->granule;
    int32_t *sums = c->sums;
    const uint8_t *plan = c->plan;
    bool first = true;
    for (int32_t i = 0; i < c->params->pieces; i++, plan += NN_DSP_PLAN_BYTES) {
        const uint16_t *from = (const uint16_t *)(row_of(c, plan[0]) + inputs) + plan[1];
        const int32_t length = plan[2] - plan[1], stride = c->stride;
        int32_t *s = sums, *const end = sums + c->width;
        if (first) {
            for (; s < end; from += stride) *s++ = (int16_t)(from[0] - from[length]);
        } else {
            for (; s < end; from += stride) *s++ += (int16_t)(from[0] - from[length]);
        }
        first = plan[4] != NN_DSP_GO_ON;
        if (first) sums = end;
    }
}

/* Writes the records of the windows of the block of `pixels` pixels that starts at column x; returns their end. */
static char *lay_records(const convolution *c, int32_t x, int32_t pixels) {
    const int32_t word_bytes = pixels == 3 ? NN_DSP_WORD_BYTES3 : c->params->word2_bytes;
    nn_dsp_code *const *flushes = pixels == 3 ? FLUSHES3 : FLUSHES2;
    nn_dsp_code *const finish = pixels == 3 ? c->params->finish3 : c->params->finish2;
    nn_dsp_code *const go_on = pixels == 3 ? c->params->piece3 : c->params->piece2;
    char *record = c->records;
    const int32_t *sums =
        c->sums + x; /* a block may read past the last one of an interval; those values are not used */
    bool first = true;
    const uint8_t *plan = c->plan;
    for (int32_t i = 0; i < c->params->pieces; i++, plan += NN_DSP_PLAN_BYTES) {
        if (first) {
            *(nn_dsp_interval *)record = (nn_dsp_interval){sums, go_on};
            record += sizeof(nn_dsp_interval);
            sums += c->width;
        }
        first = plan[4] != NN_DSP_GO_ON;
        const int32_t words = plan[3];
        const int16_t *inputs = row_of(c, plan[0]) + x * c->advance + plan[1] * c->params->granule;
        *(nn_dsp_piece *)record = (nn_dsp_piece){
            .skip = (NN_DSP_UNROLL - 1 - (words - 1) % NN_DSP_UNROLL) * word_bytes,
            .end = inputs + words * NN_DSP_WORD_INPUTS,
            .inputs = inputs,
            .then = !first                     ? go_on
                    : plan[4] == NN_DSP_FINISH ? finish
                                               : flushes[plan[4] - NN_DSP_FLUSH_FIRST],
        };
        record += sizeof(nn_dsp_piece);
    }
    return record;
}

/* Computes the channels after the last whole block of channels, of a block that starts at column x. */
static void compute_rest(const convolution *c, nn_dsp_run *run, int32_t x, int32_t pixels, const uint32_t *filter,
                         int8_t *output) {
    alignas(uint32_t) int8_t last[3][NN_DSP_CHANNELS];
    nn_dsp_blocks *const blocks = pixels == 3 ? nn_dsp_blocks3 : nn_dsp_blocks2;
    const int32_t words = NN_DSP_CHANNELS * c->params->quant_words;
    const int32_t *quant = c->quant + c->whole * words;
    lay_records(c, x, pixels);
    run->left = 1;
    run->step = pixels == 1 ? 0 : NN_DSP_CHANNELS;
    blocks(run, filter + c->whole * c->params->words, quant, last[0], quant + words);
    output += c->whole * NN_DSP_CHANNELS;
    for (int32_t i = 0; i < pixels; i++) memcpy(output + i * c->channels, last[i], (size_t)c->rest);
}

/* Computes all channels of `count` blocks of so many pixels, the first of which starts at column x. */
static void compute_run(const convolution *c, int32_t x, int32_t pixels, int32_t count, const uint32_t *filter,
                        int8_t *output) {
    nn_dsp_blocks *const blocks = pixels == 3 ? nn_dsp_blocks3 : nn_dsp_blocks2;
    const int32_t next = pixels * c->channels;
    nn_dsp_run run = {
        .records = c->records,
        .step = pixels == 1 ? 0 : c->channels,
        .distance = pixels == 1 ? 0 : 2 * c->advance,
        .left = count,
        .next_output = next - c->whole * NN_DSP_CHANNELS,
        .move = 2 * pixels * c->advance,
    };
    if (c->whole > 0) {
        run.end = lay_records(c, x, pixels);
        blocks(&run, filter, c->quant, output, c->quant + c->whole * NN_DSP_CHANNELS * c->params->quant_words);
    }
    for (; c->rest > 0 && count > 0; count--, x += pixels, output += next) {
        compute_rest(c, &run, x, pixels, filter, output);
    }
}

/* How many blocks of so many pixels come next when `left` of a row are: three where they can be, but two and two
 * instead of three and one, as a block of one pixel costs as much as one of two. */
static inline int32_t blocks_of(int32_t pixels, int32_t left, bool three) {
    if (pixels < 3) return left / pixels;
    return three ? nn_max(0, left / 3 - (left % 3 == 1)) : 0;
}

/* Computes one row of outputs. */
static void compute_row(const convolution *c, const uint32_t *filter, int8_t *output) {
    const bool three = c->params->piece3 != NULL;
    sum_windows(c);
    for (int32_t x = 0, pixels = 3; pixels > 0; pixels--) {
        const int32_t count = blocks_of(pixels, c->width - x, three);
        if (count > 0) compute_run(c, x, pixels, count, filter, output + x * c->channels);
        x += count * pixels;
    }
}

/* Divides the scratch memory. */
static void begin(convolution *c, const nn_context *ctx, const nn_dims *in, const nn_dims *filter_dims) {
    const nn_dsp_conv_params *params = c->params;
    const bool gathered = params->gather != NULL; /* each window is a column */
    const int32_t column_stride = gathered ? 1 : params->conv.stride.w / params->column_step;
    c->height = gathered ? 1 : filter_dims->h;
    c->whole = c->channels / NN_DSP_CHANNELS;
    c->rest = c->channels % NN_DSP_CHANNELS;
    c->stride = column_stride * params->granules;
    c->advance = c->stride * params->granule;
    c->rows = ring_in(ctx, params, in, (c->width - 1) * column_stride + (gathered ? 1 : filter_dims->w));
    c->sums = (int32_t *)(c->rows.rows + c->height * params->row_size);
    c->records = (char *)(c->sums + params->intervals * c->width);
}

void nn_conv2d_t2_dsp(const nn_context *ctx, const nn_dsp_conv_params *params, const nn_dims *input_dims,
                      const int8_t *input, const nn_dims *filter_dims, const uint32_t *filter, const uint8_t *plan,
                      const int32_t *quant, const nn_dims *output_dims, int8_t *output) {
    const nn_conv_params *conv = &params->conv;
    convolution c = {.params = params, .plan = plan, .quant = quant};
    c.width = output_dims->w;
    c.channels = output_dims->c;
    begin(&c, ctx, input_dims, filter_dims);
    nn_dsp_windows windows = {.rows = {.conv = conv, .in = input_dims, .input = input, .starts = ctx->buf}};
    windows.rows.height = filter_dims->h;
    windows.rows.pitch = params->pitch;
    windows.rows.next = -conv->padding.h;
    const int32_t row_bytes = c.width * c.channels;
    for (int32_t y = 0; y < output_dims->h; y++, output += row_bytes) {
        if (params->last_width > 0 && y + 1 == output_dims->h) {
            c.width = c.rows.inside = params->last_width;
            c.rows.across = nn_min(c.rows.across, c.width);
        }
        const int32_t top = y * params->joined * conv->stride.h - conv->padding.h;
        c.rows.next = nn_max(c.rows.next, top);
        if (params->gather) params->gather(params, &windows, c.width, c.rows.rows);
        while (!params->gather && c.rows.next < top + c.height) {
            expand_row(params, input_dims, input, c.height, &c.rows);
        }
        compute_row(&c, filter, output);
        nn_dsp_clamp(output, c.width * c.channels, conv->activation);
    }
}
