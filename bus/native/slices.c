/* Cuts events out of stored bytes: by index, by type, with their positions written into them. */
#include "bytes.h"

#define EVENTS_TAG 0x0a
#define POSITION_TAG 0x50

/* Where each event of a record begins, tag included, and where the last one ends; gives their number, -1 when the bytes are no record. */
EXPORT int64_t event_starts(const uint8_t *events, size_t size, uint32_t *starts, uint32_t capacity) {
    reader in = {events, events + size}, inner;
    int64_t count = 0;
    if (size > UINT32_MAX) return -1;
    while (in.at < in.end) {
        if (count == capacity) return -1;
        starts[count++] = (uint32_t)(in.at - events);
        if (*in.at++ != EVENTS_TAG || !read_bytes(&in, &inner)) return -1;
    }
    starts[count] = (uint32_t)size;
    return count;
}

/* The byte at which the event number `skip` begins; -1 when there are not so many. */
EXPORT int64_t event_offset(const uint8_t *events, size_t size, uint32_t skip) {
    reader in = {events, events + size}, inner;
    while (skip--)
        if (in.at == in.end || *in.at++ != EVENTS_TAG || !read_bytes(&in, &inner)) return -1;
    return in.at - events;
}

/* How many whole events fit into `most` bytes, at least one when there is one; `offset` is where they end. */
EXPORT uint32_t events_within(const uint8_t *events, size_t size, size_t most, uint32_t limit, size_t *offset) {
    reader in = {events, events + size}, inner;
    uint32_t count = 0;
    *offset = 0;
    while (in.at < in.end && count < limit) {
        if (*in.at++ != EVENTS_TAG || !read_bytes(&in, &inner)) return count;
        if (count && (size_t)(in.at - events) > most) return count;
        *offset = (size_t)(in.at - events);
        count++;
    }
    return count;
}

/* The indexes from `skip` on whose type is wanted; type 0, an event that is gone, never is. Without `wanted` every other one is. */
EXPORT uint32_t choose(const uint16_t *types, uint32_t count, uint32_t skip, const uint8_t *wanted, uint32_t *indexes) {
    uint32_t found = 0;
    for (uint32_t at = skip; at < count; at++)
        if (types[at] && (!wanted || wanted[types[at]])) indexes[found++] = at;
    return found;
}

/* Whether any wanted type (any type but 0 without `wanted`) is there. */
EXPORT int holds_any(const uint16_t *types, uint32_t count, const uint8_t *wanted) {
    for (uint32_t at = 0; at < count; at++)
        if (types[at] && (!wanted || wanted[types[at]])) return 1;
    return 0;
}

EXPORT uint32_t count_gone(const uint16_t *types, uint32_t count) {
    uint32_t gone = 0;
    for (uint32_t at = 0; at < count; at++) gone += !types[at];
    return gone;
}

/* Writes numbers as protobuf packs them and gives the number of bytes, at most ten each: `values`, or without those `first` and on. */
EXPORT size_t pack(const int64_t *values, int64_t first, uint32_t count, uint8_t *out) {
    uint8_t *begin = out;
    for (uint32_t at = 0; at < count; at++) out = write_varint(out, (uint64_t)(values ? values[at] : first + at));
    return (size_t)(out - begin);
}

/* Bytes of an event, tag and length included, once its position is written into it. */
static size_t stamped_size(reader event, int64_t position) {
    size_t size = (size_t)(event.end - event.at) + 1 + varint_size((uint64_t)position);
    return 1 + varint_size(size) + size;
}

/* Copies an event and writes its position behind its other fields. */
static uint8_t *copy_event(uint8_t *out, reader event, int64_t position) {
    size_t size = (size_t)(event.end - event.at);
    *out++ = EVENTS_TAG;
    out = write_varint(out, size + 1 + varint_size((uint64_t)position));
    memcpy(out, event.at, size);
    out += size;
    *out++ = POSITION_TAG;
    return write_varint(out, (uint64_t)position);
}

/* Where the events at ascending `indexes` begin and how long they are, a pair each; gives how many bytes they are together, -1 when there
 * are fewer events. */
EXPORT int64_t spans(const uint8_t *events, size_t size, const uint32_t *indexes, uint32_t count, uint32_t *out) {
    reader in = {events, events + size}, inner;
    int64_t needed = 0;
    uint32_t at = 0;
    if (size > UINT32_MAX) return -1;
    for (uint32_t next = 0; next < count; at++) {
        const uint8_t *start = in.at;
        if (in.at == in.end || *in.at++ != EVENTS_TAG || !read_bytes(&in, &inner)) return -1;
        if (at != indexes[next]) continue;
        *out++ = (uint32_t)(start - events);
        *out++ = (uint32_t)(in.at - start);
        needed += in.at - start;
        next++;
    }
    return needed;
}

/* Copies what lies at such pairs. */
EXPORT void gather(const uint8_t *events, const uint32_t *found, uint32_t count, uint8_t *out) {
    for (; count--; found += 2) {
        memcpy(out, events + found[0], found[1]);
        out += found[1];
    }
}

/* The functions below write into `out` and give the number of bytes; without `out` they only say how many it has to hold. -1: the bytes
 * are not the events that they should be. */

/* Copies a whole run of events, each with its position. */
EXPORT int64_t stamp(const uint8_t *events, size_t size, int64_t first, uint8_t *out) {
    reader in = {events, events + size}, inner;
    uint8_t *begin = out;
    int64_t needed = 0;
    for (; in.at < in.end; first++) {
        if (*in.at++ != EVENTS_TAG || !read_bytes(&in, &inner)) return -1;
        if (out) out = copy_event(out, inner, first);
        else needed += (int64_t)stamped_size(inner, first);
    }
    return out ? out - begin : needed;
}

/* Copies events, each with a position of its own. */
EXPORT int64_t stamp_each(const uint8_t *events, size_t size, const int64_t *positions, uint32_t count, uint8_t *out) {
    reader in = {events, events + size}, inner;
    uint8_t *begin = out;
    int64_t needed = 0;
    for (uint32_t at = 0; at < count; at++) {
        if (in.at == in.end || *in.at++ != EVENTS_TAG || !read_bytes(&in, &inner)) return -1;
        if (out) out = copy_event(out, inner, positions[at]);
        else needed += (int64_t)stamped_size(inner, positions[at]);
    }
    return out ? out - begin : needed;
}
