/* Checks an event's data against its message without building it. It only says yes: what it does not know, or would have to look at
 * twice (unknown fields, Any, Struct, a Duration given twice), it leaves to protobuf itself and mesh/soundness.py. */
#include "schema.h"

#define MAX_DEPTH 16
#define MAX_FIELDS 64
#define FIRST_SECOND (-62135596800LL)
#define LAST_SECOND 253402300799LL
#define LONGEST_DURATION 315576000000LL
#define BILLION 1000000000LL

int is_utf8(const uint8_t *at, const uint8_t *end) {
    while (at < end) {
        uint8_t lead = *at++;
        if (lead < 0x80) continue;
        unsigned more;
        uint8_t low = 0x80, high = 0xbf; /* bounds of the second byte */
        if (lead >= 0xc2 && lead <= 0xdf) more = 1;
        else if (lead >= 0xe0 && lead <= 0xef) {
            more = 2;
            if (lead == 0xe0) low = 0xa0;
            if (lead == 0xed) high = 0x9f;
        } else if (lead >= 0xf0 && lead <= 0xf4) {
            more = 3;
            if (lead == 0xf0) low = 0x90;
            if (lead == 0xf4) high = 0x8f;
        } else return 0;
        if ((size_t)(end - at) < more || *at < low || *at > high) return 0;
        for (at++; --more; at++)
            if (*at < 0x80 || *at > 0xbf) return 0;
    }
    return 1;
}

/* Reads the two fields of a Timestamp or a Duration. */
static int read_time(reader in, int64_t *seconds, int64_t *nanos) {
    uint32_t number, wire;
    uint64_t value;
    *seconds = *nanos = 0;
    while (in.at < in.end) {
        if (!read_tag(&in, &number, &wire) || wire != WIRE_VARINT || number > 2 || !read_varint(&in, &value)) return 0;
        if (number == 1) *seconds = (int64_t)value;
        else *nanos = (int32_t)value;
    }
    return 1;
}

int surely_timestamp(reader in) {
    int64_t seconds, nanos;
    return read_time(in, &seconds, &nanos) && seconds >= FIRST_SECOND && seconds <= LAST_SECOND && nanos >= 0 && nanos < BILLION;
}

static int surely_duration(reader in) {
    int64_t seconds, nanos;
    if (!read_time(in, &seconds, &nanos)) return 0;
    int one_sign = !((seconds < 0 && nanos > 0) || (seconds > 0 && nanos < 0));
    return one_sign && seconds >= -LONGEST_DURATION && seconds <= LONGEST_DURATION && nanos > -BILLION && nanos < BILLION;
}

/* The values of a packed field. */
static int surely_packed(reader in, enum kind kind) {
    uint64_t value;
    if (kind == KIND_FIXED64) return (in.end - in.at) % 8 == 0;
    if (kind == KIND_FIXED32) return (in.end - in.at) % 4 == 0;
    while (in.at < in.end)
        if (!read_varint(&in, &value)) return 0;
    return 1;
}

static int surely_number(reader *in, const field *found, uint32_t wire) {
    static const uint8_t own[] = {WIRE_VARINT, WIRE_FIXED64, WIRE_FIXED32};
    static const uint8_t size[] = {0, 8, 4};
    uint64_t value;
    reader inner;
    if (wire == WIRE_BYTES) return found->repeated && read_bytes(in, &inner) && surely_packed(inner, found->kind);
    if (wire != own[found->kind]) return 0;
    if (found->kind == KIND_VARINT) return read_varint(in, &value);
    if (in->end - in->at < size[found->kind]) return 0;
    in->at += size[found->kind];
    return 1;
}

static int surely_part(const schema *known, const field *found, reader inner, unsigned depth) {
    switch ((enum kind)found->kind) {
        case KIND_STRING: return is_utf8(inner.at, inner.end);
        case KIND_BYTES: return 1;
        case KIND_TIMESTAMP: return surely_timestamp(inner);
        case KIND_DURATION: return surely_duration(inner);
        case KIND_MESSAGE: return surely_sound(known, found->message, inner, depth + 1);
        default: return 0;
    }
}

int surely_sound(const schema *known, uint32_t index, reader in, unsigned depth) {
    const message *shape = &known->messages[index];
    const field *fields = known->fields + shape->first;
    uint64_t seen = 0;
    if (depth > MAX_DEPTH || shape->count > MAX_FIELDS) return 0;
    while (in.at < in.end) {
        uint32_t number, wire, at = 0;
        reader inner;
        if (!read_tag(&in, &number, &wire)) return 0;
        while (at < shape->count && fields[at].number < number) at++;
        if (at == shape->count || fields[at].number != number) return 0;
        const field *found = &fields[at];
        if (found->kind <= KIND_FIXED32) {
            if (!surely_number(&in, found, wire)) return 0;
            continue;
        }
        /* a message given twice is merged: its parts may not fit each other */
        if (!found->repeated && found->kind >= KIND_MESSAGE && seen & 1ULL << at) return 0;
        seen |= 1ULL << at;
        if (wire != WIRE_BYTES || !read_bytes(&in, &inner) || !surely_part(known, found, inner, depth)) return 0;
    }
    return 1;
}
