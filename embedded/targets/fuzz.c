/* Damaged images and deltas, sounds of any kind, arenas of any size: the library may refuse them and nothing else.
 * Built with sanitizers (benchmarks/embedded_fuzz.py). Arguments: seed, number of inputs, images. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../edgekws.h"

static uint32_t state;

static uint32_t draw(uint32_t below) {
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return below ? state % below : 0;
}

static uint32_t checksum(const uint8_t *bytes, uint32_t count) {
    uint32_t crc = 0xFFFFFFFFu, i, bit;
    for (i = 0; i < count; i++) {
        crc ^= bytes[i];
        for (bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (0xEDB88320u & (0u - (crc & 1)));
        }
    }
    return ~crc;
}

/* Some bytes become others; mostly near the front, where sizes and tables are. */
static void damage(uint8_t *bytes, uint32_t count) {
    static const uint32_t odd[8] = {0, 1, 2, 0x7FFFFFFF, 0x80000000u, 0xFFFFFFFFu, 0x7FC00000, 0x7F800000};
    uint32_t times = draw(6);
    while (times-- && count >= 4) {
        const uint32_t place = draw(draw(2) ? count : count < 700 ? count : 700);
        if (draw(2)) {
            bytes[place] = (uint8_t)draw(256);
        } else {
            memcpy(bytes + (place / 4 * 4 + 4 <= count ? place / 4 * 4 : 0), &odd[draw(8)], 4);
        }
    }
}

typedef struct {
    uint8_t *bytes;
    uint32_t count, room;
} file;

static int append(void *to, const void *bytes, uint32_t count) {
    file *into = to;
    if (count > into->room - into->count) {
        return 1;
    }
    memcpy(into->bytes + into->count, bytes, count);
    into->count += count;
    return 0;
}

static int16_t *sound(uint32_t *count) {
    static const uint32_t lengths[6] = {1, 100, 15999, 16000, 16001, 20000};
    int16_t *samples;
    uint32_t i, kind = draw(4);
    *count = lengths[draw(6)];
    samples = malloc(*count * sizeof *samples);
    for (i = 0; i < *count; i++) {
        samples[i] = kind == 0 ? 0 : kind == 1 ? (int16_t)(draw(2) ? 32767 : -32768) : (int16_t)draw(65536);
    }
    return samples;
}

static void spiking(const edgekws_net *net) {
    static edgekws_model model;
    const edgekws_plan plan = {draw(4), draw(3), draw(2), draw(2), draw(8) == 0};
    const edgekws_budget budget = {draw(9) ? 0.001f : 1e30f, 1 + draw(2), 0, draw(1000)};
    const uint32_t needed = edgekws_needs(net, plan);
    const uint32_t room = draw(8) ? needed : draw(needed + 1);
    uint32_t i, count;
    int16_t *samples;
    file delta;
    void *arena;
    if (!needed || needed > 64u << 20) {
        return;
    }
    arena = malloc(room ? room : 1);
    if (edgekws_start(&model, net, plan, arena, room) == EDGEKWS_OK) {
        for (i = 0; i < 3; i++) {
            samples = sound(&count);
            edgekws_hear(&model, samples, count);
            free(samples);
            edgekws_predict(&model, NULL);
            edgekws_keep(&model, draw(net->words + 1), NULL);
        }
        if (edgekws_learn(&model, budget) == EDGEKWS_MORE) {
            for (i = 0; i < 4 && edgekws_learn_step(&model) == EDGEKWS_MORE; i++) {
            }
        }
        for (i = 0; i < 2; i++) {
            delta.count = 0;
            delta.room = edgekws_delta_bytes(&model, i);
            delta.bytes = malloc(delta.room + 1);
            if (edgekws_save(&model, i, append, &delta) == EDGEKWS_OK) {
                uint8_t *exact;
                damage(delta.bytes, delta.count);
                count = draw(4) ? delta.count : draw(delta.count + 1);
                exact = malloc(count ? count : 1); /* so that a byte too far is seen */
                memcpy(exact, delta.bytes, count);
                edgekws_load(&model, exact, count);
                free(exact);
            }
            free(delta.bytes);
        }
    }
    free(arena);
}

static void wake_word(const edgekws_net *net) {
    static edgekws_ear ear;
    const uint32_t needed = edgekws_ear_needs(net);
    edgekws_detection found;
    uint32_t count, taken;
    int16_t *samples;
    void *arena;
    if (!needed || needed > 64u << 20) {
        return;
    }
    arena = malloc(needed);
    if (edgekws_ear_start(&ear, net, arena, needed) == EDGEKWS_OK) {
        samples = sound(&count);
        edgekws_ear_teach(&ear, samples, count);
        if (!draw(4)) {
            edgekws_ear_compare(&ear, samples, count, 1);
            edgekws_ear_compare(&ear, samples, count / 2, 0);
        }
        edgekws_ear_calibrate(&ear, 0.3f, 0.5f);
        edgekws_ear_listen(&ear, samples, count < 4000 ? count : 4000, &taken, &found);
        edgekws_ear_finish(&ear, &found);
        free(samples);
    }
    free(arena);
}

int main(int count, char **arguments) {
    uint32_t inputs = count > 2 ? (uint32_t)strtoul(arguments[2], NULL, 10) : 0, number, opened = 0;
    for (number = 0; number < inputs && count > 3; number++) {
        const char *path = arguments[3 + number % (uint32_t)(count - 3)];
        FILE *from = fopen(path, "rb");
        edgekws_net net;
        uint8_t *image;
        uint32_t bytes, crc;
        state = (uint32_t)strtoul(arguments[1], NULL, 10) * 2654435761u + number * 40503u + 1;
        if (!from || fseek(from, 0, SEEK_END)) {
            return 2;
        }
        bytes = (uint32_t)ftell(from);
        rewind(from);
        image = malloc(bytes);
        if (fread(image, 1, bytes, from) != bytes) {
            return 2;
        }
        fclose(from);
        damage(image, bytes);
        if (draw(16)) { /* else as it came: refused by its checksum */
            crc = checksum(image + 16, bytes - 16);
            memcpy(image + 12, &crc, 4);
        }
        if (edgekws_open(&net, image, draw(16) ? bytes : draw(bytes + 1)) == EDGEKWS_OK) {
            opened++;
            if (net.kind == EDGEKWS_SPIKING) {
                spiking(&net);
            } else {
                wake_word(&net);
            }
        }
        free(image);
    }
    printf("%u inputs, %u of them opened\n", inputs, opened);
    return 0;
}
