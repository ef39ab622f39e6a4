/* The window of remembered ids: an open-addressing table (linear probing) from a 64-bit fingerprint of (source, id) to the position.
 *
 * A fingerprint that is there is a candidate only; the caller compares the stored id before it calls an event a repeat. The seeds are
 * random, so nobody can choose ids whose fingerprints meet. Folding by a 128-bit product is that of wyhash (Wang Yi, public domain). */
#include <stdlib.h>

#include "bytes.h"

#define ID_BYTES 16
#define SMALLEST 1024
#define AHEAD 32

typedef struct {
    uint64_t fingerprint;
    int64_t position; /* 0: free */
} slot;

typedef struct {
    slot *slots;
    uint64_t mask;
    uint64_t used; /* slots taken, forgotten ones too */
    uint64_t seeds[2];
} window;

static uint64_t fold(uint64_t left, uint64_t right) {
    unsigned __int128 product = (unsigned __int128)left * right;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t fingerprint_of(const window *self, const uint8_t *id, uint16_t source) {
    uint64_t halves[2];
    memcpy(halves, id, ID_BYTES);
    uint64_t first = fold(halves[0] ^ self->seeds[0], halves[1] ^ self->seeds[1]);
    return fold(first ^ source, self->seeds[0] | 1) | 1;
}

EXPORT window *window_new(uint64_t seed, uint64_t other) {
    window *self = calloc(1, sizeof *self);
    if (!self) return NULL;
    self->slots = calloc(SMALLEST, sizeof(slot));
    self->mask = SMALLEST - 1;
    self->seeds[0] = seed;
    self->seeds[1] = other;
    if (self->slots) return self;
    free(self);
    return NULL;
}

EXPORT void window_free(window *self) {
    free(self->slots);
    free(self);
}

static void put(window *self, uint64_t fingerprint, int64_t position) {
    uint64_t at = fingerprint & self->mask;
    while (self->slots[at].position) at = (at + 1) & self->mask;
    self->slots[at] = (slot){fingerprint, position};
    self->used++;
}

/* The fingerprints of the next events, at most AHEAD. Their slots lie anywhere in many megabytes: asked for together, memory brings them
 * together. */
static uint32_t fingerprints_of(const window *self, const uint8_t *ids, const uint16_t *types, const uint16_t *sources, uint32_t count, uint64_t *found) {
    if (count > AHEAD) count = AHEAD;
    for (uint32_t at = 0; at < count; at++) {
        found[at] = fingerprint_of(self, ids + ID_BYTES * at, sources[types[at]]);
        __builtin_prefetch(&self->slots[found[at] & self->mask], 1);
    }
    return count;
}

/* How many positions beyond `floor` are remembered. */
EXPORT uint64_t window_count(const window *self, int64_t floor) {
    uint64_t live = 0;
    for (uint64_t at = 0; at <= self->mask; at++) live += self->slots[at].position > floor;
    return live;
}

/* Makes room for `more`; what is not beyond `floor` is let go. 0 when there is no memory. */
EXPORT int window_reserve(window *self, uint64_t more, int64_t floor) {
    uint64_t size = self->mask + 1;
    if ((self->used + more) * 10 <= size * 7) return 1;
    uint64_t live = window_count(self, floor), wanted = SMALLEST;
    while ((live + more) * 2 > wanted) wanted *= 2;
    slot *old = self->slots, *fresh = calloc(wanted, sizeof(slot));
    if (!fresh) return 0;
    self->slots = fresh;
    self->mask = wanted - 1;
    self->used = 0;
    for (uint64_t at = 0; at < size; at++)
        if (old[at].position > floor) put(self, old[at].fingerprint, old[at].position);
    free(old);
    return 1;
}

/* The newest position beyond `floor` and below `limit` under this id's fingerprint; 0 when there is none. */
static int64_t find(const window *self, uint64_t fingerprint, int64_t floor, int64_t limit) {
    int64_t newest = 0;
    for (uint64_t at = fingerprint & self->mask; self->slots[at].position; at = (at + 1) & self->mask) {
        const slot *here = &self->slots[at];
        if (here->fingerprint == fingerprint && here->position > floor && here->position < limit && here->position > newest) newest = here->position;
    }
    return newest;
}

EXPORT int64_t window_find(const window *self, const uint8_t *id, uint16_t source, int64_t floor, int64_t limit) {
    return find(self, fingerprint_of(self, id, source), floor, limit);
}

/* Remembers events that stand from `first` on, whatever is there already. Call window_reserve() before. */
EXPORT void window_add(window *self, const uint8_t *ids, const uint16_t *types, const uint16_t *sources, uint32_t count, int64_t first) {
    uint64_t found[AHEAD];
    for (uint32_t at = 0, many; at < count; at += many) {
        many = fingerprints_of(self, ids + ID_BYTES * at, types + at, sources, count - at, found);
        for (uint32_t next = 0; next < many; next++) put(self, found[next], first + at + next);
    }
}

/* Remembers events that stand from `first` on unless one of them may be there already; gives how many were remembered before that one. */
EXPORT uint32_t window_place(window *self, const uint8_t *ids, const uint16_t *types, const uint16_t *sources, uint32_t count, int64_t first, int64_t floor) {
    uint64_t found[AHEAD];
    for (uint32_t at = 0, many; at < count; at += many) {
        many = fingerprints_of(self, ids + ID_BYTES * at, types + at, sources, count - at, found);
        for (uint32_t next = 0; next < many; next++) {
            if (find(self, found[next], floor, INT64_MAX)) return at + next;
            put(self, found[next], first + at + next);
        }
    }
    return count;
}

/* Takes back what window_place() or window_add() did: the events whose positions are at or beyond `first`. The slot stays taken (with a
 * position that is never asked for), so that probing goes on behind it. */
EXPORT void window_remove(window *self, const uint8_t *ids, const uint16_t *types, const uint16_t *sources, uint32_t count, int64_t first) {
    for (uint32_t event = 0; event < count; event++) {
        uint64_t fingerprint = fingerprint_of(self, ids + ID_BYTES * event, sources[types[event]]);
        for (uint64_t at = fingerprint & self->mask; self->slots[at].position; at = (at + 1) & self->mask)
            if (self->slots[at].fingerprint == fingerprint && self->slots[at].position >= first) self->slots[at].position = -1;
    }
}
