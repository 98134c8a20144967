/* The runner in WebAssembly: what it says is kept until it is asked for. */
#include "runner.h"

static char said[1 << 16];
static uint32_t length;

void target_say(const char *text) {
    while (*text && length < sizeof said - 1) {
        said[length++] = *text++;
    }
    said[length] = 0;
}

uint64_t target_instructions(void) {
    return 0;
}

__attribute__((export_name("run"))) int run(const void *image, uint32_t image_bytes, const void *job, uint32_t job_bytes,
                                            void *arena, uint32_t room) {
    length = 0;
    return run_job(image, image_bytes, job, job_bytes, arena, room);
}

__attribute__((export_name("said"))) const char *what_was_said(void) {
    return said;
}

__attribute__((export_name("ekw_room"))) uint32_t ekw_room(uint32_t bytes) {
    const uint32_t before = (uint32_t)__builtin_wasm_memory_grow(0, (bytes + 65535u) / 65536u);
    return before == 0xFFFFFFFFu ? 0 : before * 65536u;
}
