/* A checkpoint of DBRX's true size, 264 GB of holes: what opening it costs, and whether what lies
 * beyond 4 GiB of a file is found. */
#include <sys/resource.h>
#include <sys/wait.h>

#include "base/limits.h"
#include "base/memory.h"
#include "inference/model.h"
#include "inference/quantize_load.h"
#include "inference/quantize_plan.h"
#include "inference/quantize_shard.h"

#include "tests/unit/model_dir.h"

/* Sanitizers map more than any limit; RssAnon still counts. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define INSTRUMENTED 1
#else
#define INSTRUMENTED 0
#endif

#define LAST_W2 "transformer.blocks.39.ffn.experts.mlp.w2"

/* Returns where the mark lies in its file; 0 without one. */
static long sparse_make(const char *name, const char *flags)
{
    long at = 0;
    shell("/usr/bin/python3 tests/tools/sparse_dbrx.py %s %s > %s.mark", model_path(name), flags,
          model_path(name));
    char path[600];
    snprintf(path, sizeof path, "%s.mark", model_path(name));
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    if (fscanf(f, "%ld", &at) != 1) at = 0;
    fclose(f);
    return at;
}

static long anonymous_kib(void)
{
    char line[256];
    long kib = -1;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f)) sscanf(line, "RssAnon: %ld", &kib);
    if (f) fclose(f);
    return kib;
}

/* In a process whose heap and anonymous mappings cannot exceed 128 MiB at any moment: all shards are
 * mapped and checked, and the plan of all three formats is made. 0, or which step failed. */
static int open_in_little(const char *path)
{
    const enum weight_format formats[] = {WEIGHT_FP8_ROW, WEIGHT_INT8_ROW, WEIGHT_INT4_G128};
    struct rlimit limit = {128 * MIB, 128 * MIB};
    struct quantize_plan plan;
    model *m = NULL;
    error err;
    void *too_much = NULL;
    if (!INSTRUMENTED && setrlimit(RLIMIT_DATA, &limit) != 0) return 2;
    if (!INSTRUMENTED) too_much = malloc(129 * MIB);
    if (too_much) return 3; /* the limit holds */
    if (model_open(&m, path, &err) != OK) return 4;
    if (model_parameters(m) != INT64_C(131596523520)) return 5;
    if (model_stored_bytes(m) != (size_t)2 * 131596523520u) return 6;
    for (int i = 0; i < 3; i++) {
        if (quantize_plan_make(&plan, m, formats[i], QUANTIZE_SHARD_BYTES, &err) != OK) return 7;
        if (plan.source_bytes != model_stored_bytes(m)) return 8;
        quantize_plan_free(&plan);
    }
    if (anonymous_kib() <= 0 || anonymous_kib() > 128 * 1024) return 9;
    model_close(m);
    return 0;
}

static void opens_within_128_mib(void **state)
{
    (void)state;
    sparse_make("sparse", "");
    const char *path = model_path("sparse");
    int how = -1;
    pid_t child = fork();
    if (child == 0) _exit(open_in_little(path));
    assert_true(child > 0 && waitpid(child, &how, 0) == child);
    assert_true(WIFEXITED(how));
    assert_int_equal(WEXITSTATUS(how), 0);
}

/* Eight shards of 33 GB. The first has the embedding and every layer's w2; the last value of the last
 * of these is a 7, alone in its group: scale 1, code 7, in the last row after turning. */
static void last_value_of_a_large_shard(void **state)
{
    (void)state;
    error err;
    model *m = NULL;
    struct quantize_plan plan;
    long at = sparse_make("eight", "--shards 8 --mark " LAST_W2 ":172031:6143:0x40E0");
    assert_true(at > INT64_C(80) * 1000 * 1000 * 1000);
    if (model_open(&m, model_path("eight"), &err) != OK) fail_msg("%s", err.message);
    assert_int_equal(quantize_plan_make(&plan, m, WEIGHT_INT4_G128, 1000 * GIB, &err), OK);
    const struct quantize_item *item = &plan.items[plan.n_items - 1];
    assert_string_equal(item->to.name, LAST_W2);
    /* half a byte a value, and a scale of 2 bytes per 128, behind 39 layers of the same */
    assert_int_equal(plan.n_shards, 1);
    assert_true(item->data_at > 60 * GIB && item->scales_at == item->data_at + 528482304);
    struct quantize_stage stage = {.item = item, .first_chunk = item->n_chunks - 1, .n_chunks = 1};
    stage.codes = memory_take(QUANTIZE_CHUNK_VALUES, 1);
    stage.scales = memory_take(QUANTIZE_CHUNK_VALUES, 1);
    int64_t n_rows = 0;
    if (quantize_stage_make(&stage, &n_rows, 1, &err) != OK) fail_msg("%s", err.message);
    assert_true(n_rows > 0 && n_rows <= item->chunk_rows);
    size_t codes = (size_t)n_rows * 10752 / 2, scales = (size_t)n_rows * 10752 / 128;
    for (size_t i = 0; i + 1 < codes; i++) assert_int_equal(stage.codes[i], 0);
    assert_int_equal(stage.codes[codes - 1], 0x70);
    uint16_t bits;
    memcpy(&bits, stage.scales + 2 * (scales - 1), sizeof bits);
    assert_int_equal(bits, 0x3F80);
    memcpy(&bits, stage.scales + 2 * (scales - 2), sizeof bits);
    assert_int_equal(bits, 0);
    memory_free(stage.codes);
    memory_free(stage.scales);
    quantize_plan_free(&plan);
    /* 126.8 G expert values in half a byte with scales; attention and head in a byte */
    size_t loaded = quantize_load_bytes(m, WEIGHT_INT4_G128);
    assert_true(loaded > 69 * (size_t)1000000000 && loaded < 70 * (size_t)1000000000);
    model_close(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_within_128_mib),
        cmocka_unit_test(last_value_of_a_large_shard),
    };
    return cmocka_run_group_tests(tests, NULL, model_root_remove);
}
