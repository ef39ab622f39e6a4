/* CRC-32C (Castagnoli; RFC 3720, appendix B.4), by the processor's instruction where it has one.
 *
 * The instruction takes three cycles but can begin one each, so three neighbouring lanes are taken at a time and then combined, as in
 * Mark Adler's crc32c.c: the CRC of a lane is moved past the next one by a matrix over GF(2), kept as tables. */
#include "bytes.h"

#define POLYNOMIAL 0x82f63b78u
#define LANE 1024

static uint32_t table[8][256];
static uint32_t past_lane[4][256];

static uint32_t times(const uint32_t *matrix, uint32_t vector) {
    uint32_t sum = 0;
    for (; vector; vector >>= 1, matrix++)
        if (vector & 1) sum ^= *matrix;
    return sum;
}

static void square(uint32_t *result, const uint32_t *matrix) {
    for (int bit = 0; bit < 32; bit++) result[bit] = times(matrix, matrix[bit]);
}

/* The matrix that moves a CRC past LANE bytes of zeros, as four tables. */
static void make_past_lane(void) {
    uint32_t matrix[32] = {POLYNOMIAL}, other[32]; /* past one bit */
    for (int bit = 1; bit < 32; bit++) matrix[bit] = 1u << (bit - 1);
    for (int bits = 1; bits < LANE * 8; bits *= 2) {
        square(other, matrix);
        memcpy(matrix, other, sizeof matrix);
    }
    for (uint32_t byte = 0; byte < 256; byte++)
        for (int row = 0; row < 4; row++) past_lane[row][byte] = times(matrix, byte << 8 * row);
}

static void __attribute__((constructor)) make_tables(void) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? POLYNOMIAL : 0);
        table[0][byte] = crc;
    }
    for (uint32_t byte = 0; byte < 256; byte++)
        for (int row = 1; row < 8; row++) table[row][byte] = table[row - 1][byte] >> 8 ^ table[0][table[row - 1][byte] & 0xff];
    make_past_lane();
}

static uint32_t crc_by_table(uint32_t crc, const uint8_t *at, size_t size) {
    for (; size >= 8; size -= 8, at += 8) {
        uint32_t low = crc ^ ((uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24);
        crc = table[7][low & 0xff] ^ table[6][low >> 8 & 0xff] ^ table[5][low >> 16 & 0xff] ^ table[4][low >> 24] ^ table[3][at[4]] ^
              table[2][at[5]] ^ table[1][at[6]] ^ table[0][at[7]];
    }
    while (size--) crc = crc >> 8 ^ table[0][(crc ^ *at++) & 0xff];
    return crc;
}

#if defined(__x86_64__)
static uint32_t past(uint32_t crc) {
    return past_lane[0][crc & 0xff] ^ past_lane[1][crc >> 8 & 0xff] ^ past_lane[2][crc >> 16 & 0xff] ^ past_lane[3][crc >> 24];
}

static uint64_t word_at(const uint8_t *at) {
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

__attribute__((target("sse4.2"))) static uint32_t crc_by_instruction(uint32_t crc, const uint8_t *at, size_t size) {
    for (; size >= 3 * LANE; size -= 3 * LANE, at += 3 * LANE) {
        uint64_t first = crc, second = 0, third = 0;
        for (size_t word = 0; word < LANE; word += 8) {
            first = __builtin_ia32_crc32di(first, word_at(at + word));
            second = __builtin_ia32_crc32di(second, word_at(at + LANE + word));
            third = __builtin_ia32_crc32di(third, word_at(at + 2 * LANE + word));
        }
        crc = past(past((uint32_t)first) ^ (uint32_t)second) ^ (uint32_t)third;
    }
    uint64_t wide = crc;
    for (; size >= 8; size -= 8, at += 8) wide = __builtin_ia32_crc32di(wide, word_at(at));
    crc = (uint32_t)wide;
    while (size--) crc = __builtin_ia32_crc32qi(crc, *at++);
    return crc;
}
#endif

EXPORT uint32_t crc32c(uint32_t crc, const uint8_t *bytes, size_t size) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2")) return ~crc_by_instruction(~crc, bytes, size);
#endif
    return ~crc_by_table(~crc, bytes, size);
}

/* The checksum of a record: over its position, last position and time as little-endian 64-bit integers, its types and its events. */
EXPORT uint32_t record_checksum(int64_t position, int64_t last, int64_t time_us, const uint8_t *types, size_t types_size, const uint8_t *events, size_t size) {
    int64_t header[] = {position, last, time_us};
    return crc32c(crc32c(crc32c(0, (const uint8_t *)header, sizeof header), types, types_size), events, size);
}

/* The same without the instruction, for the test that both agree. */
EXPORT uint32_t crc32c_by_table(uint32_t crc, const uint8_t *bytes, size_t size) { return ~crc_by_table(~crc, bytes, size); }
