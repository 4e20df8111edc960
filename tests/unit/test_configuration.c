/* Two configuration files: which goes first, what is refused. What commands make of them is in
 * tests/node/configuration.test.js. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "lsp/cli/configuration.h"
#include "lsp/cli/engine_settings.h"

#include <cmocka.h> /* last: it has a macro named fail */

static char directory[64], user[80], machine[80];

static int setup(void **state)
{
    (void)state;
    snprintf(directory, sizeof directory, "/tmp/dbrx-configuration-XXXXXX");
    if (!mkdtemp(directory)) return -1;
    snprintf(user, sizeof user, "%s/user.json", directory);
    snprintf(machine, sizeof machine, "%s/machine.json", directory);
    unsetenv("DBRX_MODEL");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(user);
    unlink(machine);
    return rmdir(directory);
}

static void write_both(const char *of_user, const char *of_machine)
{
    error err;
    assert_int_equal(file_write(user, text_of(of_user), 0600, &err), OK);
    assert_int_equal(file_write(machine, text_of(of_machine), 0644, &err), OK);
}

static void test_nearest(void **state)
{
    (void)state;
    struct configuration c;
    error err;
    write_both("{\"backend\":\"cpu\",\"idle\":\"\"}",
               "{\"backend\":\"cuda\",\"model\":\"/m\",\"idle\":\"never\",\"threads\":7}");
    assert_int_equal(configuration_read_files(&c, user, machine, &err), OK);
    assert_string_equal(configuration_nearest(&c, "backend"), "cpu");
    assert_string_equal(configuration_nearest(&c, "idle"), "never"); /* an empty text is not set */
    assert_null(configuration_text(&c.user, "model"));
    assert_string_equal(model_configured(&c), "/m");
    assert_int_equal(configuration_integer(&c.user, "threads"), 0);
    assert_int_equal(configuration_integer(&c.system, "threads"), 7);
    assert_null(configuration_nearest(&c, "endpoint"));
    setenv("DBRX_MODEL", "/environment", 1);
    assert_string_equal(model_configured(&c), "/environment");
    configuration_free(&c);
}

static void test_absent(void **state)
{
    (void)state;
    struct configuration c;
    error err;
    unlink(user);
    unlink(machine);
    assert_int_equal(configuration_read_files(&c, user, machine, &err), OK);
    assert_null(c.user.settings);
    assert_null(configuration_nearest(&c, "model"));
    assert_int_equal(configuration_integer(&c.system, "threads"), 0);
    configuration_free(&c);
    assert_int_equal(configuration_read_files(&c, NULL, machine, &err), OK);
    configuration_free(&c);
    snprintf(user, sizeof user, "%s/none/user.json", directory);
    assert_int_equal(configuration_read_files(&c, user, machine, &err), OK);
    configuration_free(&c);
    snprintf(user, sizeof user, "%s/user.json", directory);
}

static void test_a_fault_of_either_is_an_error(void **state)
{
    (void)state;
    struct configuration c;
    error err;
    write_both("{}", "{\"endpoint\":5}");
    assert_int_equal(configuration_read_files(&c, user, machine, &err), ERR_FORMAT);
    assert_non_null(strstr(err.message, "machine.json: endpoint: expected a text"));
    assert_null(c.user.settings);
    write_both("{", "{}");
    assert_int_equal(configuration_read_files(&c, user, machine, &err), ERR_FORMAT);
    assert_non_null(strstr(err.message, "user.json: line 1"));
    write_both("{}", "{\"apiKey\":\"k\"}"); /* readable by everybody */
    assert_int_equal(configuration_read_files(&c, user, machine, &err), ERR_IO);
    assert_int_equal(chmod(machine, 0640), 0);
    assert_int_equal(configuration_read_files(&c, user, machine, &err), OK);
    configuration_free(&c);
}

static void test_no_regular_file(void **state)
{
    (void)state;
    struct configuration c;
    error err;
    unlink(user);
    assert_int_equal(mkfifo(user, 0600), 0);
    assert_int_equal(configuration_read_files(&c, user, machine, &err), ERR_FORMAT);
    unlink(user);
    assert_int_equal(mkdir(user, 0700), 0);
    assert_int_equal(configuration_read_files(&c, user, machine, &err), ERR_FORMAT);
    assert_int_equal(rmdir(user), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nearest),
        cmocka_unit_test(test_absent),
        cmocka_unit_test(test_a_fault_of_either_is_an_error),
        cmocka_unit_test(test_no_regular_file),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
