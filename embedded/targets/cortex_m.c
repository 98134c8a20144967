/* Start of a Cortex-M with a single-precision unit, and what QEMU's semihosting and SysTick give the runner.
 * A board of your own needs the vector table and reset; the rest is for measuring. */
#include <stddef.h>

#include "runner.h"

extern const uint32_t edgekws_image[], edgekws_image_bytes;
extern uint32_t _stack[], _stack_top[], _data[], _data_end[], _data_load[], _bss[], _bss_end[];

#define PAINT 0xA5A5A5A5u
#define SYSTICK ((volatile uint32_t *)0xE000E010)
#define CPACR (*(volatile uint32_t *)0xE000ED88)

static uint32_t arena[ARENA_BYTES / 4] __attribute__((aligned(8)));
static volatile uint32_t wraps;

static void semihosting(uint32_t operation, const void *argument) {
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
}

void target_say(const char *text) {
    semihosting(0x04, text);
}

/* SysTick counts down from 2^24 - 1; with QEMU's -icount its clock is a fixed number of instructions. */
uint64_t target_instructions(void) {
    uint32_t before, count;
    do {
        before = wraps;
        count = SYSTICK[2];
    } while (before != wraps);
    return ((uint64_t)before * 0x1000000u + (0xFFFFFFu - count)) * INSTRUCTIONS_PER_TICK;
}

static void systick(void) {
    wraps++;
}

static void leave(int good) {
    semihosting(0x18, (const void *)(uintptr_t)(good ? 0x20026 : 0x20023));
    for (;;) {
    }
}

static void fault(void) {
    target_say("\nerror the processor faulted\n");
    leave(0);
}

static void say_number(const char *name, uint32_t value) {
    char text[12];
    uint32_t i;
    target_say(name);
    for (i = 0; i < 8; i++) {
        text[i] = "0123456789abcdef"[value >> (28 - 4 * i) & 15];
    }
    text[8] = '\n';
    text[9] = 0;
    target_say(text);
}

static void run(void) {
    const uint32_t *job = (const uint32_t *)JOB_ADDRESS;
    uint32_t *painted = _stack, flags;
    int status = run_job(edgekws_image, edgekws_image_bytes, job + 1, job[0], arena, sizeof arena);
    __asm__ volatile("vmrs %0, fpscr" : "=r"(flags));
    /* Invalid operation, division by zero, overflow: what must not have happened. */
    say_number("float_exceptions ", flags & 7);
    while (painted < _stack_top && *painted == PAINT) {
        painted++;
    }
    say_number("stack_bytes ", 4 * (uint32_t)(_stack_top - painted));
    leave(status == 0);
}

void reset(void) {
    uint32_t *to;
    const uint32_t *from;
    CPACR |= 0xFu << 20; /* the floating-point unit */
    __asm__ volatile("dsb\nisb");
    for (from = _data_load, to = _data; to < _data_end;) {
        *to++ = *from++;
    }
    for (to = _bss; to < _bss_end;) {
        *to++ = 0;
    }
    for (to = _stack; to < (uint32_t *)__builtin_frame_address(0) - 32; to++) {
        *to = PAINT;
    }
    SYSTICK[1] = 0xFFFFFF;
    SYSTICK[2] = 0;
    SYSTICK[0] = 7;
    run();
}

typedef void (*handler)(void);
__attribute__((section(".vectors"), used)) static const struct {
    uint32_t *stack;
    handler handlers[15];
} vectors = {_stack_top, {reset, fault, fault, fault, fault, fault, 0, 0, 0, 0, fault, fault, 0, fault, systick}};
