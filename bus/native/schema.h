/* The shapes of the messages that an event's data may hold, as tables made from the descriptor set. */
#ifndef TOOLOO_BUS_SCHEMA_H
#define TOOLOO_BUS_SCHEMA_H

#include "bytes.h"

enum kind { KIND_VARINT, KIND_FIXED64, KIND_FIXED32, KIND_STRING, KIND_BYTES, KIND_MESSAGE, KIND_TIMESTAMP, KIND_DURATION, KIND_UNSURE };

typedef struct {
    uint32_t number;
    uint8_t kind;
    uint8_t repeated;
    uint16_t message; /* of KIND_MESSAGE: its index in the schema */
} field;

typedef struct {
    uint32_t first; /* of its fields, which stand together, ascending by number */
    uint32_t count;
} message;

typedef struct {
    const message *messages;
    const field *fields;
} schema;

/* Whether the bytes surely are a message of this shape that can be written as proto3 JSON. */
int surely_sound(const schema *known, uint32_t index, reader in, unsigned depth);

/* Whether the bytes surely are a Timestamp of the years 1 to 9999. */
int surely_timestamp(reader in);

#endif
