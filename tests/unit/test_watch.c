/* A watch of a device's owner: what counts is the same call seen again and again. */
#include "base/error.h"

/* cmocka needs these before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/watch.h"

enum { PATIENCE = 3 };

static const char *looks(struct device_watch *w, struct device_look *look, int n)
{
    const char *said = NULL;
    for (int i = 0; i < n; i++) said = device_watch_look(w, look, PATIENCE);
    return said;
}

static void one_call_that_does_not_end(void **state)
{
    (void)state;
    struct device_watch w = {0};
    struct device_look look = {0};
    device_watch_warm(&w);
    assert_null(looks(&w, &look, 100)); /* outside */
    device_watch_enter(&w, "a step");
    assert_null(looks(&w, &look, 1 + PATIENCE)); /* the first look only sees the call */
    assert_string_equal(looks(&w, &look, 1), "a step");
    device_watch_leave(&w);
    assert_null(looks(&w, &look, 100));
    device_watch_leave(&w); /* of nothing */
    assert_null(looks(&w, &look, 100));
}

/* A busy device is inside at every look, each time in another call. */
static void many_calls(void **state)
{
    (void)state;
    struct device_watch w = {0};
    struct device_look look = {0};
    device_watch_warm(&w);
    for (int i = 0; i < 100; i++) {
        device_watch_enter(&w, "a step");
        assert_null(looks(&w, &look, 2));
        if (i % 2) device_watch_leave(&w); /* else the next one is entered from within */
    }
}

static void the_first_step_may_take_longer(void **state)
{
    (void)state;
    struct device_watch w = {0};
    struct device_look look = {0};
    device_watch_enter(&w, "opening");
    assert_null(looks(&w, &look, 1 + 10 * PATIENCE));
    assert_string_equal(looks(&w, &look, 1), "opening");
    device_watch_enter(NULL, "nobody looks");
    device_watch_leave(NULL);
    device_watch_warm(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_call_that_does_not_end),
        cmocka_unit_test(many_calls),
        cmocka_unit_test(the_first_step_may_take_longer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
