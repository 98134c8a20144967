/* What a compiler asks for on a target without a C library. Built with -fno-builtin, or these would call themselves. */
#include <stddef.h>
#include <stdint.h>

void *memcpy(void *to, const void *from, size_t bytes) {
    uint8_t *t = to;
    const uint8_t *f = from;
    if (((uintptr_t)t | (uintptr_t)f) % 4 == 0) {
        for (; bytes >= 4; bytes -= 4, t += 4, f += 4) {
            *(uint32_t *)t = *(const uint32_t *)f;
        }
    }
    while (bytes--) {
        *t++ = *f++;
    }
    return to;
}

void *memset(void *to, int value, size_t bytes) {
    uint8_t *t = to;
    while (bytes && (uintptr_t)t % 4) {
        *t++ = (uint8_t)value;
        bytes--;
    }
    for (; bytes >= 4; bytes -= 4, t += 4) {
        *(uint32_t *)t = (uint8_t)value * 0x01010101u;
    }
    while (bytes--) {
        *t++ = (uint8_t)value;
    }
    return to;
}
