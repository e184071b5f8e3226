/* Generated: sizes and layers of the model "tiny", by tritmcu. */
#ifndef MODEL_H
#define MODEL_H

#include <stdint.h>

#include "nn_flash.h"

#define MODEL_NAME "tiny"
#define MODEL_ARENA_BYTES 1208U /* activations and scratch */
#define MODEL_INPUT_OFFSET 384U
#define MODEL_INPUT_BYTES 64U
#define MODEL_OUTPUT_BYTES 10U
#define MODEL_LAYERS 9U

#ifndef __cplusplus /* on AVR they are in an address space that C++ does not have */
typedef struct {
    void (*run)(int8_t *arena); /* executes the layer; arena: MODEL_ARENA_BYTES bytes, 8-byte aligned */
    uint32_t output_offset;     /* of the layer's output in the arena */
    uint32_t output_bytes;
} NN_FLASH model_layer;

extern const model_layer model_layers[MODEL_LAYERS];
#endif

#endif
