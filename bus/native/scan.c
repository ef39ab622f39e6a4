/* Looks through a publish request once: finds its events, and says whether they surely keep every rule of the contract.
 *
 * It only says yes. What it is not sure of goes through protobuf and protovalidate, which alone word a refusal. */
#include "schema.h"

#define MAX_ATTRIBUTES 16
#define MAX_ATTRIBUTE_NAME 20
#define MAX_ATTRIBUTE_VALUE 256
#define MAX_SUBJECT 512
#define MAX_CORRELATION 128
#define MAX_TRACEPARENT 64
#define ID_TEXT 36
#define ID_BYTES 16

/* tags of a request: `events`, and the varint that a publish stream counts its requests with */
enum { EVENTS = 1, SEQUENCE = 20 };
/* fields of tooloo.event.v1.Event */
enum { ID = 1, TYPE, SOURCE, SUBJECT, TIME, DATA, CORRELATION, CAUSATION, TRACEPARENT, POSITION, ATTRIBUTES };

/* A type that the log knows: its texts, the message that its data must be, and its number in the log. */
typedef struct {
    const char *type, *source, *url;
    uint16_t type_size, source_size, url_size;
    uint16_t number;
    int32_t message; /* in the schema; -1: unknown, so never sure */
} entry;

typedef struct {
    const entry *entries;
    const uint16_t *buckets; /* index into entries + 1, by hash of the type; 0: none */
    uint32_t mask;
    schema known;
} catalogue;

/* What is found: `starts` holds one more than there are events; subjects as offsets of begin and end. */
typedef struct {
    uint8_t *ids;
    uint16_t *types;
    uint32_t *starts;
    uint32_t *subjects;
    uint32_t *subject_ends;
    uint32_t capacity;
    uint32_t count;
    uint32_t begin, end; /* of the run of events in the request */
    int64_t sequence;    /* 0 when there is none */
} found_events;

typedef struct {
    reader id, type, source, subject, time, url, value;
    uint32_t seen;
    uint32_t attributes;
    int sure;
} parts;

static uint32_t hash_of(const uint8_t *at, const uint8_t *end) {
    uint32_t hash = 2166136261u; /* FNV-1a */
    while (at < end) hash = (hash ^ *at++) * 16777619u;
    return hash;
}

static int same(reader text, const char *other, size_t size) {
    return (size_t)(text.end - text.at) == size && memcmp(text.at, other, size) == 0;
}

static const entry *entry_of(const catalogue *known, reader type, reader source) {
    for (uint32_t slot = hash_of(type.at, type.end);; slot++) {
        uint16_t index = known->buckets[slot & known->mask];
        if (!index) return NULL;
        const entry *candidate = &known->entries[index - 1];
        if (same(type, candidate->type, candidate->type_size) && same(source, candidate->source, candidate->source_size)) return candidate;
    }
}

static int hex_of(uint8_t letter) {
    if (letter >= '0' && letter <= '9') return letter - '0';
    letter |= 0x20;
    return letter >= 'a' && letter <= 'f' ? letter - 'a' + 10 : -1;
}

/* A UUID's text (RFC 9562) as its sixteen bytes. */
static int read_id(reader text, uint8_t *out) {
    if (text.end - text.at != ID_TEXT) return 0;
    for (int at = 0; at < ID_TEXT;) {
        if (at == 8 || at == 13 || at == 18 || at == 23) {
            if (text.at[at++] != '-') return 0;
            continue;
        }
        int high = hex_of(text.at[at]), low = hex_of(text.at[at + 1]);
        if (high < 0 || low < 0) return 0;
        *out++ = (uint8_t)(high << 4 | low);
        at += 2;
    }
    return 1;
}

static int is_printable(reader text) {
    for (const uint8_t *at = text.at; at < text.end; at++)
        if (*at < 0x20 || *at == 0x7f) return 0;
    return is_utf8(text.at, text.end);
}

/* Names that CloudEvents keeps for itself (mesh/cloudevents.py): an attribute of such a name is refused, so it is not sure. */
static int is_reserved(reader name) {
    static const char *const reserved[] = {"causationid", "correlationid", "data", "datacontenttype", "dataschema", "id", "position",
                                           "source", "specversion", "subject", "time", "traceparent", "type"};
    for (size_t at = 0; at < sizeof reserved / sizeof *reserved; at++)
        if (same(name, reserved[at], strlen(reserved[at]))) return 1;
    return 0;
}

/* One entry of the map of attributes. */
static int surely_attribute(reader in) {
    reader name = {0}, value = {0}, inner;
    uint32_t number, wire;
    while (in.at < in.end) {
        if (!read_tag(&in, &number, &wire) || wire != WIRE_BYTES || number > 2 || !read_bytes(&in, &inner)) return 0;
        if (number == 1) name = inner;
        else value = inner;
    }
    if (name.at == name.end || name.end - name.at > MAX_ATTRIBUTE_NAME || *name.at < 'a' || *name.at > 'z') return 0;
    for (const uint8_t *at = name.at; at < name.end; at++)
        if (!((*at >= 'a' && *at <= 'z') || (*at >= '0' && *at <= '9'))) return 0;
    return !is_reserved(name) && value.end - value.at <= MAX_ATTRIBUTE_VALUE && is_utf8(value.at, value.end);
}

static int read_any(reader in, parts *event) {
    reader inner;
    uint32_t number, wire;
    while (in.at < in.end) {
        if (!read_tag(&in, &number, &wire) || wire != WIRE_BYTES || number > 2 || !read_bytes(&in, &inner)) return 0;
        if (number == 1) event->url = inner;
        else event->value = inner;
    }
    return 1;
}

static int short_text(reader text, long most) { return text.end - text.at <= most && is_utf8(text.at, text.end); }

static void take(parts *event, uint32_t number, reader inner) {
    switch (number) {
        case ID: event->id = inner; break;
        case TYPE: event->type = inner; break;
        case SOURCE: event->source = inner; break;
        case SUBJECT: event->subject = inner; break;
        case TIME: event->time = inner; break;
        case DATA: event->sure &= read_any(inner, event); break;
        case CORRELATION:
        case CAUSATION: event->sure &= short_text(inner, MAX_CORRELATION); break;
        case TRACEPARENT: event->sure &= short_text(inner, MAX_TRACEPARENT); break;
        case ATTRIBUTES: event->sure &= surely_attribute(inner) && ++event->attributes <= MAX_ATTRIBUTES; break;
        default: event->sure = 0;
    }
}

/* Takes an event apart. A field given twice, unknown, or of another kind leaves it unsure. */
static int read_event(reader in, parts *event) {
    uint32_t number, wire;
    reader inner;
    memset(event, 0, sizeof *event);
    event->sure = 1;
    while (in.at < in.end) {
        if (!read_tag(&in, &number, &wire) || wire != WIRE_BYTES || number > ATTRIBUTES || !read_bytes(&in, &inner)) return 0;
        if (number != ATTRIBUTES && event->seen & 1u << number) return 0;
        event->seen |= 1u << number;
        take(event, number, inner);
    }
    return 1;
}

static int surely_valid(const catalogue *known, const parts *event, const entry *type) {
    const uint32_t needed = 1u << ID | 1u << TYPE | 1u << SOURCE | 1u << SUBJECT | 1u << TIME | 1u << DATA;
    long subject = event->subject.end - event->subject.at;
    return event->sure && (event->seen & needed) == needed && subject > 0 && subject <= MAX_SUBJECT && is_printable(event->subject) &&
           surely_timestamp(event->time) && same(event->url, type->url, type->url_size) && type->message >= 0 &&
           surely_sound(&known->known, (uint32_t)type->message, event->value, 0);
}

static int scan_event(const catalogue *known, reader in, const uint8_t *base, int trusted, found_events *out) {
    parts event;
    uint32_t at = out->count;
    if (at == out->capacity || !read_event(in, &event)) return 0;
    const entry *type = entry_of(known, event.type, event.source);
    if (!type || !read_id(event.id, out->ids + ID_BYTES * at)) return 0;
    if (!trusted && !surely_valid(known, &event, type)) return 0;
    out->types[at] = type->number;
    out->subjects[at] = (uint32_t)(event.subject.at - base);
    out->subject_ends[at] = (uint32_t)(event.subject.end - base);
    out->count++;
    return 1;
}

/* Looks through a request; 1 when it is sure. `trusted` bytes were checked before: only what is needed to store them is looked for.
 * Events must stand together and a sequence only behind them, so that the events can be stored as the bytes they came in. */
EXPORT int scan(const catalogue *known, const uint8_t *request, size_t size, uint32_t max_event_bytes, int trusted, found_events *out) {
    reader in = {request, request + size}, inner;
    uint32_t number, wire;
    uint64_t value;
    out->count = out->begin = out->end = 0;
    out->sequence = 0;
    if (size > UINT32_MAX) return 0;
    while (in.at < in.end) {
        uint32_t start = (uint32_t)(in.at - request);
        if (!read_tag(&in, &number, &wire)) return 0;
        if (number == SEQUENCE && wire == WIRE_VARINT && !out->sequence) {
            if (!read_varint(&in, &value) || !value || value > INT64_MAX) return 0;
            out->sequence = (int64_t)value;
            continue;
        }
        if (number != EVENTS || wire != WIRE_BYTES || out->sequence || !read_bytes(&in, &inner)) return 0;
        if ((size_t)(inner.end - inner.at) > max_event_bytes || !scan_event(known, inner, request, trusted, out)) return 0;
        out->starts[out->count - 1] = start;
        out->end = out->starts[out->count] = (uint32_t)(in.at - request);
    }
    return out->count > 0;
}
