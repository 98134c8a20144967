/* The runner as a program: image, job and bytes of the arena as arguments. */
#include <stdio.h>
#include <stdlib.h>

#include "runner.h"

void target_say(const char *text) {
    fputs(text, stdout);
}

uint64_t target_instructions(void) {
    return 0;
}

static void *whole(const char *path, uint32_t *bytes) {
    FILE *file = fopen(path, "rb");
    void *content = NULL;
    long size;
    if (file && !fseek(file, 0, SEEK_END) && (size = ftell(file)) >= 0 && !fseek(file, 0, SEEK_SET)) {
        content = malloc(size ? (size_t)size : 1);
        *bytes = content ? (uint32_t)fread(content, 1, (size_t)size, file) : 0;
    }
    if (file) {
        fclose(file);
    }
    return content;
}

int main(int count, char **arguments) {
    uint32_t image_bytes, job_bytes, room = count == 4 ? (uint32_t)strtoul(arguments[3], NULL, 10) : 0;
    void *image = count == 4 ? whole(arguments[1], &image_bytes) : NULL, *job = image ? whole(arguments[2], &job_bytes) : NULL;
    void *arena = malloc(room ? room : 1);
    if (!job || !arena) {
        fputs("usage: runner IMAGE JOB ARENA_BYTES\n", stderr);
        return 2;
    }
    return run_job(image, image_bytes, job, job_bytes, arena, room) ? 1 : 0;
}
