/* A switch saves the registers that a call preserves and exchanges the stack pointer; elsewhere than
 * on x86-64 the C library does the same more slowly. */
#include "tests/cuda/fiber.h"

#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)

void fiber_exchange(void **save, void *to);
__asm__(".text\n"
        ".globl fiber_exchange\n"
        ".type fiber_exchange, @function\n"
        "fiber_exchange:\n"
        "    pushq %rbp\n    pushq %rbx\n    pushq %r12\n"
        "    pushq %r13\n    pushq %r14\n    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n    popq %r14\n    popq %r13\n"
        "    popq %r12\n    popq %rbx\n    popq %rbp\n"
        "    ret\n"
        ".size fiber_exchange, .-fiber_exchange\n"
        ".section .note.GNU-stack,\"\",@progbits\n"
        ".text\n");

#else

#include <ucontext.h>

static void fiber_exchange(void **save, void *to)
{
    ucontext_t here; /* lives on the stack that is left, until it is resumed */
    *save = &here;
    swapcontext(&here, to);
}

#endif

static struct fiber *arriving;
static struct fiber *leaving;

static void switch_ended(void)
{
#ifdef EMULATOR_ASAN
    const void *bottom;
    size_t bytes;
    __sanitizer_finish_switch_fiber(arriving->fake, &bottom, &bytes);
    if (!leaving->stack) { /* the adopted stack is known from the first switch away from it */
        memcpy(&leaving->stack, &bottom, sizeof bottom);
        leaving->stack_bytes = bytes;
    }
#endif
}

struct fiber_start {
    void (*body)(void *);
    void *context;
};

static void fiber_enter(void)
{
    struct fiber_start start;
    switch_ended();
    memcpy(&start, arriving->stack, sizeof start);
    start.body(start.context);
    abort();
}

void fiber_adopt(struct fiber *f)
{
    *f = (struct fiber){0};
#ifdef EMULATOR_TSAN
    f->sanitizer = __tsan_get_current_fiber();
#endif
}

/* The lowest bytes of the stack tell the first switch what to run. */
void fiber_make(struct fiber *f, void *stack, size_t bytes, void (*body)(void *), void *context)
{
    struct fiber_start start = {body, context};
    *f = (struct fiber){.stack = stack, .stack_bytes = bytes};
    memcpy(stack, &start, sizeof start);
#if defined(__x86_64__)
    void **top = (void **)(void *)((char *)stack + bytes - 64);
    void (*enter)(void) = fiber_enter;
    memset(top, 0, 64);
    memcpy(&top[6], &enter, sizeof enter); /* behind six registers: where `ret` goes */
    f->stack_pointer = top;
#else
    ucontext_t *c = (ucontext_t *)(void *)((char *)stack + 64);
    getcontext(c);
    c->uc_stack.ss_sp = (char *)stack + 64 + sizeof *c;
    c->uc_stack.ss_size = bytes - 64 - sizeof *c;
    makecontext(c, fiber_enter, 0);
    f->stack_pointer = c;
#endif
#ifdef EMULATOR_TSAN
    f->sanitizer = __tsan_create_fiber(0);
#endif
}

void fiber_switch(struct fiber *from, struct fiber *to)
{
    arriving = to;
    leaving = from;
#ifdef EMULATOR_ASAN
    __sanitizer_start_switch_fiber(&from->fake, to->stack, to->stack_bytes);
#endif
#ifdef EMULATOR_TSAN
    __tsan_switch_to_fiber(to->sanitizer, __tsan_switch_to_fiber_no_sync);
#endif
    fiber_exchange(&from->stack_pointer, to->stack_pointer);
    switch_ended();
}

/* ThreadSanitizer hears of memcpy wherever it is called, and not of this. */
void fiber_copy_unseen(void *to, const void *from, size_t bytes)
{
#ifdef EMULATOR_TSAN
    size_t words = ((uintptr_t)to | (uintptr_t)from) % 4 == 0 ? bytes / 4 : 0;
    volatile uint32_t *word = to;
    const volatile uint32_t *from_word = from;
    volatile unsigned char *byte = to;
    const volatile unsigned char *from_byte = from;
    for (size_t i = 0; i < words; i++) word[i] = from_word[i];
    for (size_t i = 4 * words; i < bytes; i++) byte[i] = from_byte[i];
#else
    memmove(to, from, bytes);
#endif
}

/* ThreadSanitizer takes a free for a write: it is made in the name of a fiber that comes after all
 * that used the block and before nobody, so that blocks of a grid stay unordered. */
void *fiber_shared_renew(void *old, void *ended, size_t bytes)
{
#ifdef EMULATOR_TSAN
    static void *janitor;
    void *self = __tsan_get_current_fiber();
    if (!janitor) janitor = __tsan_create_fiber(0);
    __tsan_switch_to_fiber(janitor, __tsan_switch_to_fiber_no_sync);
    if (old) __tsan_acquire(ended);
    free(old);
    __tsan_switch_to_fiber(self, __tsan_switch_to_fiber_no_sync);
#else
    (void)ended;
    if (old) return old;
#endif
    return aligned_alloc(1024, (bytes + 1023) / 1024 * 1024); /* as far as any swizzle repeats */
}
