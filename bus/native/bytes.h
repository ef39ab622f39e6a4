/* What the parts of the library share: reading protobuf's wire format (https://protobuf.dev/programming-guides/encoding/). */
#ifndef TOOLOO_BUS_BYTES_H
#define TOOLOO_BUS_BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

enum wire { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

typedef struct {
    const uint8_t *at;
    const uint8_t *end;
} reader;

/* The next varint; 0 when the bytes end in it or it is longer than ten bytes. */
static inline int read_varint(reader *in, uint64_t *value) {
    uint64_t result = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        if (in->at == in->end) return 0;
        uint8_t byte = *in->at++;
        if (shift == 63 && byte > 1) return 0;
        result |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *value = result;
            return 1;
        }
    }
    return 0;
}

/* A varint of 32 bits in its shortest form; 0 for any other. Tags and lengths have no other form in what is stored: decoders differ in
 * how long a one they take, and the parts of a record are found by its bytes. */
static inline int read_short(reader *in, uint32_t *value) {
    const uint8_t *start = in->at;
    uint64_t wide;
    if (!read_varint(in, &wide) || wide > UINT32_MAX || (in->at - start > 1 && !in->at[-1])) return 0;
    *value = (uint32_t)wide;
    return 1;
}

/* A length and that many bytes behind it, which become `inner`; 0 when there are fewer. */
static inline int read_bytes(reader *in, reader *inner) {
    uint32_t length;
    if (!read_short(in, &length) || length > (uint64_t)(in->end - in->at)) return 0;
    inner->at = in->at;
    inner->end = in->at += length;
    return 1;
}

/* A field's number and wire type; 0 for what no field can have. */
static inline int read_tag(reader *in, uint32_t *number, uint32_t *wire) {
    uint32_t tag;
    if (!read_short(in, &tag)) return 0;
    *number = tag >> 3;
    *wire = tag & 7;
    return *number != 0;
}

static inline unsigned varint_size(uint64_t value) {
    unsigned size = 1;
    while (value >= 0x80) value >>= 7, size++;
    return size;
}

static inline uint8_t *write_varint(uint8_t *out, uint64_t value) {
    while (value >= 0x80) *out++ = (uint8_t)value | 0x80, value >>= 7;
    *out++ = (uint8_t)value;
    return out;
}

/* Whether the bytes are UTF-8 as Unicode defines it: no surrogates, no overlong forms (RFC 3629). */
int is_utf8(const uint8_t *at, const uint8_t *end);

#endif
