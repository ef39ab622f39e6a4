/* Feeds the bus's C library with mutated requests, records and schemas, each in a buffer of its exact size, under sanitizers.
 *
 * bus_bytes TABLES SEED CASES: TABLES is what test_bus_bytes.py writes. It tells how many cases were accepted; a fault ends it. */
#include <stdio.h>
#include <stdlib.h>

#include "crc32c.c"
#include "scan.c"
#include "schema.c"
#include "slices.c"
#include "window.c"

#define MOST_EVENTS 64
#define MOST_MUTATIONS 6

typedef struct {
    uint8_t *bytes;
    size_t size;
} text;

static uint64_t state;

/* xorshift64* (Vigna) */
static uint64_t chance(uint64_t below) {
    state ^= state >> 12, state ^= state << 25, state ^= state >> 27;
    return (state * 2685821657736338717u >> 16) % below;
}

static void *room(size_t size) {
    void *found = malloc(size);
    if (!found && size) abort();
    return found;
}

static uint64_t number(FILE *in, size_t bytes) {
    uint64_t value = 0;
    if (fread(&value, 1, bytes, in) != bytes) abort();
    return value;
}

static text read_text(FILE *in) {
    text found = {.size = number(in, 4)};
    found.bytes = room(found.size);
    if (fread(found.bytes, 1, found.size, in) != found.size) abort();
    return found;
}

static catalogue read_catalogue(FILE *in, uint32_t *messages_count, uint32_t *fields_count) {
    uint32_t count = number(in, 4);
    entry *entries = calloc(count, sizeof(entry));
    uint16_t *buckets = calloc(256, sizeof(uint16_t));
    for (uint32_t at = 0; at < count; at++) {
        text parts[3];
        entries[at].number = number(in, 2);
        entries[at].message = (int32_t)number(in, 4);
        for (int part = 0; part < 3; part++) parts[part] = read_text(in);
        entries[at].type = (char *)parts[0].bytes, entries[at].type_size = parts[0].size;
        entries[at].source = (char *)parts[1].bytes, entries[at].source_size = parts[1].size;
        entries[at].url = (char *)parts[2].bytes, entries[at].url_size = parts[2].size;
        uint32_t slot = hash_of(parts[0].bytes, parts[0].bytes + parts[0].size);
        while (buckets[slot & 255]) slot++;
        buckets[slot & 255] = at + 1;
    }
    *messages_count = number(in, 4);
    message *messages = calloc(*messages_count, sizeof(message));
    for (uint32_t at = 0; at < *messages_count; at++) messages[at].first = number(in, 4), messages[at].count = number(in, 4);
    *fields_count = number(in, 4);
    field *fields = calloc(*fields_count, sizeof(field));
    for (uint32_t at = 0; at < *fields_count; at++) {
        fields[at].number = number(in, 4), fields[at].kind = number(in, 1);
        fields[at].repeated = number(in, 1), fields[at].message = number(in, 2);
    }
    return (catalogue){entries, buckets, 255, {messages, fields}};
}

/* A copy with a few bytes changed, cut out, put in or doubled. */
static text mutated(text from) {
    text out = {room(from.size + 64 * MOST_MUTATIONS + 1), from.size};
    memcpy(out.bytes, from.bytes, from.size);
    for (uint64_t left = chance(MOST_MUTATIONS); left--;) {
        size_t at = chance(out.size + 1), length = 1 + chance(32);
        if (length > out.size - at) length = out.size - at;
        switch (chance(4)) {
            case 0: if (at < out.size) out.bytes[at] = chance(2) ? chance(256) : out.bytes[at] ^ 1u << chance(8); break;
            case 1: memmove(out.bytes + at, out.bytes + at + length, out.size - at - length), out.size -= length; break;
            default: memmove(out.bytes + at + length, out.bytes + at, out.size - at), out.size += length;
        }
    }
    text exact = {room(out.size), out.size};
    memcpy(exact.bytes, out.bytes, out.size);
    free(out.bytes);
    return exact;
}

static int scanned(const catalogue *known, text request, int trusted) {
    uint32_t capacity = 1 + chance(MOST_EVENTS);
    found_events found = {.ids = room(ID_BYTES * capacity), .types = room(2 * capacity), .starts = room(4 * (capacity + 1)),
                          .subjects = room(4 * capacity), .subject_ends = room(4 * capacity), .capacity = capacity};
    int sure = scan(known, request.bytes, request.size, 1u << 18, trusted, &found);
    if (sure && (found.count > capacity || found.end > request.size)) abort();
    for (uint32_t at = 0; sure && at < found.count; at++)
        if (!trusted && found.subjects[at] > found.subject_ends[at] || found.subject_ends[at] > request.size) abort();
    if (sure && !trusted) {
        uint32_t *starts = room(4 * (found.count + 1));
        /* what is stored can be cut */
        if (event_starts(request.bytes, found.end, starts, found.count) != found.count) abort();
        free(starts);
    }
    free(found.ids), free(found.types), free(found.starts), free(found.subjects), free(found.subject_ends);
    return sure;
}

static void cut(text record) {
    uint32_t capacity = chance(MOST_EVENTS), starts[MOST_EVENTS + 1], indexes[4] = {0, 1, 3, 7};
    int64_t positions[4] = {1, 1 << 20, INT64_MAX, -1}, written;
    size_t offset;
    event_starts(record.bytes, record.size, starts, capacity);
    event_offset(record.bytes, record.size, chance(9));
    events_within(record.bytes, record.size, chance(4096), chance(9), &offset);
    if (offset > record.size) abort();
    uint32_t wanted = chance(5), *where = room(8 * wanted);
    uint8_t *out;
    written = spans(record.bytes, record.size, indexes, wanted, where);
    if (written > (int64_t)record.size) abort();
    if (written >= 0) {
        out = room((size_t)written);
        gather(record.bytes, where, wanted, out);
        free(out);
    }
    free(where);
    /* each says first how much room it needs */
    if ((written = stamp_each(record.bytes, record.size, positions, wanted = chance(5), NULL)) >= 0) {
        out = room((size_t)written);
        if (stamp_each(record.bytes, record.size, positions, wanted, out) != written) abort();
        free(out);
    }
    if ((written = stamp(record.bytes, record.size, INT64_MAX - (1 << 20), NULL)) >= 0) {
        out = room((size_t)written);
        if (stamp(record.bytes, record.size, INT64_MAX - (1 << 20), out) != written) abort();
        free(out);
    }
    out = room(10 * 4);
    if (pack(chance(2) ? positions : NULL, 1 << 20, chance(5), out) > 40) abort();
    free(out);
    if (crc32c(0, record.bytes, record.size) != crc32c_by_table(0, record.bytes, record.size)) abort();
}

static void choose_some(void) {
    uint32_t count = chance(40);
    uint16_t *types = room(2 * count);
    uint8_t *wanted = room(4);
    uint32_t *indexes = room(4 * count);
    for (uint32_t at = 0; at < count; at++) types[at] = chance(4);
    for (int at = 0; at < 4; at++) wanted[at] = chance(2);
    uint32_t found = choose(types, count, chance(50), chance(2) ? wanted : NULL, indexes);
    if (found > count || (found && !holds_any(types, count, NULL)) || count_gone(types, count) > count) abort();
    free(types), free(wanted), free(indexes);
}

static void remember(window *ids) {
    static int64_t head = 0;
    static const uint16_t sources[] = {0, 1, 2};
    uint32_t count = 1 + chance(200);
    int64_t floor = head - (int64_t)chance(5000);
    uint8_t *keys = room(ID_BYTES * count);
    uint16_t *types = room(2 * count);
    for (uint32_t at = 0; at < ID_BYTES * count; at++) keys[at] = at % ID_BYTES ? 0 : chance(256);
    for (uint32_t at = 0; at < count; at++) types[at] = chance(3);
    if (!window_reserve(ids, count, floor)) abort();
    uint32_t placed = window_place(ids, keys, types, sources, count, head + 1, floor);
    if (chance(2)) window_remove(ids, keys, types, sources, placed, head + 1);
    else head += placed;
    if (window_find(ids, keys, sources[types[0]], floor, head + 1) > head) abort();
    free(keys), free(types);
}

/* A schema of the same size whose fields are any, each table sound in itself. */
static schema random_schema(uint32_t messages_count, uint32_t fields_count) {
    message *messages = room(messages_count * sizeof(message));
    field *fields = room(fields_count * sizeof(field));
    for (uint32_t at = 0; at < fields_count; at++) fields[at] = (field){1 + chance(20), chance(KIND_UNSURE + 1), chance(2), chance(messages_count)};
    for (uint32_t at = 0; at < messages_count; at++) {
        messages[at].first = chance(fields_count);
        messages[at].count = chance(fields_count - messages[at].first + 1);
        if (messages[at].count > 80) messages[at].count = 80;
    }
    return (schema){messages, fields};
}

int main(int count, char **arguments) {
    if (count != 4) return 2;
    FILE *in = fopen(arguments[1], "rb");
    if (!in) return 2;
    state = strtoull(arguments[2], NULL, 10) * 2 + 1;
    uint64_t cases = strtoull(arguments[3], NULL, 10), accepted = 0;
    uint32_t messages_count, fields_count;
    /* kept to the end, so no leak */
    static catalogue known;
    static text *seeds;
    known = read_catalogue(in, &messages_count, &fields_count);
    uint32_t seeds_count = number(in, 4);
    seeds = calloc(seeds_count, sizeof(text));
    for (uint32_t at = 0; at < seeds_count; at++) seeds[at] = read_text(in);
    window *ids = window_new(chance(UINT64_MAX), chance(UINT64_MAX));
    for (uint64_t at = 0; at < cases; at++) {
        text bytes = mutated(seeds[chance(seeds_count)]);
        accepted += scanned(&known, bytes, 0);
        scanned(&known, bytes, 1);
        cut(bytes);
        if (at % 16 == 0) {
            schema any = random_schema(messages_count, fields_count);
            surely_sound(&any, chance(messages_count), (reader){bytes.bytes, bytes.bytes + bytes.size}, 0);
            free((void *)any.messages), free((void *)any.fields);
            choose_some();
            remember(ids);
        }
        free(bytes.bytes);
    }
    window_free(ids);
    printf("%llu of %llu accepted\n", (unsigned long long)accepted, (unsigned long long)cases);
    return 0;
}
