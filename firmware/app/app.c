/* The application: receives samples, runs the model on them, answers. The only file that knows nn (through model.h),
 * link and port. docs/PROTOCOL.md specifies each message. */
#include "app.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

#include "board_config.h"
#include "build_id.h"
#include "link.h"
#include "model.h"
#include "port.h"
#include "wire_protocol.h"

enum { ARENA_ALIGNMENT = 8, CANARY_BYTES = 16, PAINT = 0xA5 };

static_assert((int)PORT_TICK_INSTRUCTIONS == (int)WIRE_TICK_INSTRUCTIONS &&
                  (int)PORT_TICK_CYCLES == (int)WIRE_TICK_CYCLES && (int)PORT_TICK_US == (int)WIRE_TICK_US,
              "the port's tick units are those of the wire");
static_assert(sizeof(port_fault) == sizeof(wire_fault_reply), "a fault is sent as it was found");
static_assert(sizeof(BOARD_NAME) <= sizeof(((wire_hello_reply *)0)->board) + 1, "the board's name fits HELLO");
static_assert(sizeof(wire_hello_reply) <= BOARD_MAX_PAYLOAD, "the largest fixed reply fits a frame");
static_assert(MODEL_INPUT_OFFSET + MODEL_INPUT_BYTES <= MODEL_ARENA_BYTES, "the input lies in the arena");
static_assert(CANARY_BYTES % ARENA_ALIGNMENT == 0, "the arena is aligned as the struct is");
static_assert(MODEL_LAYERS > 0 && MODEL_LAYERS < WIRE_ALL_LAYERS, "layers are counted in 16 bits");

/* Painted at start-up: a byte that no longer holds the paint has been written. */
static struct {
    _Alignas(ARENA_ALIGNMENT) uint8_t before[CANARY_BYTES];
    int8_t arena[MODEL_ARENA_BYTES];
    uint8_t after[CANARY_BYTES];
} memory;

/* The current sample and the last run. Ticket 0 stands for none. */
static struct {
    uint32_t ticket;      /* of the current sample */
    uint32_t received;    /* bytes of it received so far, without a gap */
    uint32_t layers_run;  /* by the last run; 0: none yet */
    uint32_t total_ticks; /* of the last run */
    bool was_run;         /* the sample has been run, so its bytes may have been overwritten */
    bool reset_asked;
} state;

static uint32_t layer_ticks[MODEL_LAYERS];

#if BOARD_KEEPS_BASE
/* The sample that DELTAs refer to. Ticket 0 stands for none. */
static struct {
    uint32_t ticket;
    int8_t elements[MODEL_INPUT_BYTES];
} base;
#endif

static bool is_painted(const uint8_t *bytes, size_t size) {
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != PAINT) return false;
    }
    return true;
}

static uint32_t arena_touched(void) {
    uint32_t touched = MODEL_ARENA_BYTES;
    while (touched > 0 && (uint8_t)memory.arena[touched - 1U] == PAINT) touched--;
    return touched;
}

static bool canaries_ok(void) {
    const uint32_t stack_size = port_stack_size();
    return is_painted(memory.before, CANARY_BYTES) && is_painted(memory.after, CANARY_BYTES) &&
           (stack_size == 0 || port_stack_high_water() < stack_size);
}

static size_t smaller(uint32_t a, size_t b) {
    return a < b ? (size_t)a : b;
}

/* Keeps the current sample as the base, before the layers overwrite it. */
static void keep_base(void) {
#if BOARD_KEEPS_BASE
    memcpy(base.elements, memory.arena + MODEL_INPUT_OFFSET, MODEL_INPUT_BYTES);
    base.ticket = state.ticket;
#endif
}

static void forget_base(void) {
#if BOARD_KEEPS_BASE
    base.ticket = 0;
#endif
}

/* Not inlined: otherwise the bytes would become immediate operands, and the size of the code would depend on them. */
__attribute__((noinline)) static uint8_t digest_byte(size_t i) {
    static const NN_FLASH uint8_t digest[WIRE_DIGEST_BYTES] = BUILD_DIGEST;
    return digest[i];
}

static link_answer on_hello(uint8_t *payload, size_t length) {
    (void)length;
    state.ticket = 0;
    state.received = 0;
    state.was_run = false;
    forget_base();
    wire_hello_reply reply = {
        .protocol = WIRE_PROTOCOL,
        .tick_unit = (uint8_t)port_tick_unit(),
        .max_payload = BOARD_MAX_PAYLOAD,
        .rx_buffer_bytes = BOARD_RX_BUFFER_BYTES,
        .layers = MODEL_LAYERS,
        .tick_hz = port_tick_hz(),
        .arena_bytes = MODEL_ARENA_BYTES,
        .input_bytes = MODEL_INPUT_BYTES,
        .output_bytes = MODEL_OUTPUT_BYTES,
        .base_bytes = BOARD_KEEPS_BASE ? MODEL_INPUT_BYTES : 0,
    };
    for (size_t i = 0; i < WIRE_DIGEST_BYTES; i++) reply.digest[i] = digest_byte(i);
    memcpy(reply.board, BOARD_NAME, sizeof(BOARD_NAME) - 1);
    memcpy(payload, &reply, sizeof reply);
    return link_reply(sizeof reply);
}

/* Whether a piece with this ticket is stale: it is answered but ignored. */
static bool is_old(uint32_t ticket) {
    return ticket == 0 || ticket < state.ticket || (ticket == state.ticket && state.was_run);
}

/* Bytes received of the sample with this ticket, which is not old. */
static uint32_t bytes_of(uint32_t ticket) {
    return ticket == state.ticket ? state.received : 0;
}

/* Makes the sample of a piece that is not old the current one: the caller then writes `size` elements from `offset` on.
 * When the piece is refused, nothing changes. */
static link_answer open_piece(uint32_t ticket, uint32_t offset, size_t size) {
    const uint32_t received = bytes_of(ticket);
    VERIFY(offset <= received, WIRE_ERROR_BAD_OFFSET, received);
    VERIFY(size <= MODEL_INPUT_BYTES - offset, WIRE_ERROR_BAD_OFFSET, received);
    if (ticket != state.ticket) {
        state.ticket = ticket;
        state.was_run = false;
    }
    const uint32_t end = offset + (uint32_t)size;
    state.received = end > received ? end : received;
    return link_reply(0);
}

static link_answer say_received(uint8_t *payload) {
    const wire_input_reply reply = {.ticket = state.ticket, .received = state.received};
    memcpy(payload, &reply, sizeof reply);
    return link_reply(sizeof reply);
}

static link_answer on_input(uint8_t *payload, size_t length) {
    wire_input_request request;
    memcpy(&request, payload, sizeof request);
    if (!is_old(request.ticket)) {
        const size_t size = length - sizeof request;
        const link_answer opened = open_piece(request.ticket, request.offset, size);
        if (opened.code != 0) return opened;
        memcpy(memory.arena + MODEL_INPUT_OFFSET + request.offset, payload + sizeof request, size);
    }
    return say_received(payload);
}

#if BOARD_KEEPS_BASE
static_assert(sizeof(wire_input_reply) == sizeof(wire_delta_reply), "both say what was received");

/* to[i] = from[i] + the i-th field, modulo 256. */
static void add_fields(int8_t *to, const int8_t *from, const uint8_t *fields, uint32_t count, uint32_t bits) {
    const uint32_t sign = 1U << (bits - 1U);
    uint32_t held = 0; /* bits read but not used yet; the next field is in the low bits */
    uint32_t waiting = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (waiting < bits) {
            held |= (uint32_t)*fields++ << waiting;
            waiting += 8U;
        }
        const uint32_t field = held & (2U * sign - 1U);
        to[i] = (int8_t)(uint8_t)((uint8_t)from[i] + (field ^ sign) - sign);
        held >>= bits;
        waiting -= bits;
    }
}

/* The base has memory of its own, so a piece that arrives twice gives the same elements both times. */
static link_answer on_delta(uint8_t *payload, size_t length) {
    wire_delta_request request;
    memcpy(&request, payload, sizeof request);
    if (!is_old(request.ticket)) {
        const uint32_t bits = request.bits;
        VERIFY(bits >= WIRE_DELTA_BITS_MIN && bits <= WIRE_DELTA_BITS_MAX, WIRE_ERROR_BAD_BITS, bits);
        VERIFY(request.base != 0 && request.base == base.ticket, WIRE_ERROR_NO_BASE, base.ticket);
        VERIFY(request.offset <= MODEL_INPUT_BYTES, WIRE_ERROR_BAD_OFFSET, bytes_of(request.ticket));
        const uint32_t size = (uint32_t)(length - sizeof request);
        const uint32_t count = (uint32_t)smaller(MODEL_INPUT_BYTES - request.offset, 8U * size / bits);
        VERIFY(size == (count * bits + 7U) / 8U, WIRE_ERROR_BAD_LENGTH, (uint32_t)length);
        const link_answer opened = open_piece(request.ticket, request.offset, count);
        if (opened.code != 0) return opened;
        add_fields(memory.arena + MODEL_INPUT_OFFSET + request.offset, base.elements + request.offset,
                   payload + sizeof request, count, bits);
    }
    return say_received(payload);
}
#endif

static void run_layers(uint32_t count) {
    state.was_run = true;
    state.layers_run = count;
    state.total_ticks = 0;
    for (uint32_t i = 0; i < count; i++) {
        port_ticks_start();
        model_layers[i].run(memory.arena);
        layer_ticks[i] = port_ticks_stop();
        state.total_ticks += layer_ticks[i];
    }
}

/* Appends the ticks of the last run from layer `first` on, as many as the frame holds; returns the payload's length. */
static size_t append_ticks(uint8_t *payload, size_t length, uint32_t first) {
    for (uint32_t i = first; i < state.layers_run && length + sizeof layer_ticks[i] <= BOARD_MAX_PAYLOAD; i++) {
        memcpy(payload + length, &layer_ticks[i], sizeof layer_ticks[i]);
        length += sizeof layer_ticks[i];
    }
    return length;
}

/* The answer stays in the arena until the next sample starts, so repeating it costs no memory. Running another number
 * of layers would need the sample again, which the first run may have overwritten: the host sends it with a new ticket.
 */
static link_answer on_run(uint8_t *payload, size_t length) {
    (void)length;
    wire_run_request request;
    memcpy(&request, payload, sizeof request);
    const uint32_t layers = request.layers == WIRE_ALL_LAYERS ? MODEL_LAYERS : request.layers;
    VERIFY(layers >= 1 && layers <= MODEL_LAYERS, WIRE_ERROR_BAD_LAYER, MODEL_LAYERS);
    VERIFY(request.ticket != 0 && request.ticket == state.ticket, WIRE_ERROR_INCOMPLETE, 0);
    if (!state.was_run) {
        VERIFY(state.received == MODEL_INPUT_BYTES, WIRE_ERROR_INCOMPLETE, state.received);
        if (request.keep) keep_base();
        run_layers(layers);
    }
    VERIFY(layers == state.layers_run, WIRE_ERROR_INCOMPLETE, 0);
    const wire_run_reply reply = {.ticket = state.ticket, .ticks = state.total_ticks};
    memcpy(payload, &reply, sizeof reply);
    const model_layer *last = &model_layers[layers - 1U];
    const size_t output = smaller(last->output_bytes, BOARD_MAX_PAYLOAD - sizeof reply);
    memcpy(payload + sizeof reply, memory.arena + last->output_offset, output);
    return link_reply(append_ticks(payload, sizeof reply + output, 0));
}

static link_answer on_ticks(uint8_t *payload, size_t length) {
    (void)length;
    wire_ticks_request request;
    memcpy(&request, payload, sizeof request);
    VERIFY(request.first <= state.layers_run, WIRE_ERROR_BAD_LAYER, MODEL_LAYERS);
    const wire_ticks_reply reply = {.first = request.first};
    memcpy(payload, &reply, sizeof reply);
    return link_reply(append_ticks(payload, sizeof reply, request.first));
}

static link_answer on_tensor(uint8_t *payload, size_t length) {
    (void)length;
    wire_tensor_request request;
    memcpy(&request, payload, sizeof request);
    VERIFY(request.layer < MODEL_LAYERS, WIRE_ERROR_BAD_LAYER, MODEL_LAYERS);
    const model_layer *layer = &model_layers[request.layer];
    VERIFY(request.offset <= layer->output_bytes, WIRE_ERROR_BAD_OFFSET, layer->output_bytes);
    wire_tensor_reply reply = {.layer = request.layer, .offset = request.offset};
    const size_t wanted = smaller(request.length, BOARD_MAX_PAYLOAD - sizeof reply);
    const size_t size = smaller(layer->output_bytes - request.offset, wanted);
    reply.length = (uint16_t)size;
    memcpy(payload, &reply, sizeof reply);
    memcpy(payload + sizeof reply, memory.arena + layer->output_offset + request.offset, size);
    return link_reply(sizeof reply + size);
}

static link_answer on_stats(uint8_t *payload, size_t length) {
    (void)length;
    const wire_stats_reply reply = {
        .stack_high_water = port_stack_high_water(),
        .stack_size = port_stack_size(),
        .arena_touched = arena_touched(),
        .canaries_ok = canaries_ok(),
        .rx_dropped = port_rx_dropped(),
        .crc_errors = link_frame_errors(),
        .frames = link_frames(),
        .reset_cause = port_reset_cause(),
    };
    memcpy(payload, &reply, sizeof reply);
    return link_reply(sizeof reply);
}

static link_answer on_reset(uint8_t *payload, size_t length) {
    (void)payload;
    (void)length;
    state.reset_asked = true;
    return link_reply(0);
}

static link_answer on_echo(uint8_t *payload, size_t length) {
    (void)payload; /* already where the reply belongs */
    return link_reply(length);
}

static const link_handler handlers[] = {
    {WIRE_MESSAGE_HELLO, sizeof(wire_hello_request), 0, on_hello},
    {WIRE_MESSAGE_INPUT, sizeof(wire_input_request), 1, on_input},
    {WIRE_MESSAGE_RUN, sizeof(wire_run_request), 0, on_run},
    {WIRE_MESSAGE_TICKS, sizeof(wire_ticks_request), 0, on_ticks},
    {WIRE_MESSAGE_TENSOR, sizeof(wire_tensor_request), 0, on_tensor},
    {WIRE_MESSAGE_STATS, 0, 0, on_stats},
    {WIRE_MESSAGE_RESET, 0, 0, on_reset},
    {WIRE_MESSAGE_ECHO, 0, 1, on_echo},
#if BOARD_KEEPS_BASE
    {WIRE_MESSAGE_DELTA, sizeof(wire_delta_request), 1, on_delta},
#endif
};

void port_on_fault(const port_fault *fault) {
    link_send_unasked(WIRE_MESSAGE_FAULT, fault, sizeof *fault);
}

void app_start(void) {
    port_init();
    memset(&memory, PAINT, sizeof memory);
}

void app_serve(void) {
    link_serve(handlers, sizeof handlers / sizeof handlers[0]);
    if (state.reset_asked) port_reset();
}
