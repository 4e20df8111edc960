/* bench_tokenizer FILE [REPEATS]: MB/s of encode and count over a file, milliseconds of opening, on
 * one thread. bench_tokenizer.mjs puts npm's tiktoken beside it. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/limits.h"
#include "tokenizer/tokenizer.h"

struct figures {
    double open_ms, encode_mb_s, count_mb_s;
    size_t n_tokens;
};

static double megabytes_per_second(size_t bytes, int64_t us)
{
    return us > 0 ? (double)bytes / (double)us : 0;
}

/* The best of n runs: what the machine does when nobody disturbs it. */
static void measure(struct figures *f, const tokenizer *t, text bytes, int n)
{
    token_list ids = {0};
    for (int i = 0; i < n; i++) {
        ids.n = 0;
        int64_t begin = clock_us();
        tokenizer_encode(t, &ids, bytes);
        int64_t middle = clock_us();
        f->n_tokens = tokenizer_count(t, bytes);
        int64_t end = clock_us();
        double encode = megabytes_per_second(bytes.size, middle - begin);
        double count = megabytes_per_second(bytes.size, end - middle);
        if (encode > f->encode_mb_s) f->encode_mb_s = encode;
        if (count > f->count_mb_s) f->count_mb_s = count;
    }
    token_list_free(&ids);
}

int main(int argc, char **argv)
{
    struct figures f = {0};
    tokenizer *t = NULL;
    buffer bytes = {0};
    error err;
    if (argc < 2) {
        fprintf(stderr, "usage: bench_tokenizer FILE [REPEATS]\n");
        return 2;
    }
    int64_t begin = clock_us();
    status s = tokenizer_open(&t, NULL, &err);
    f.open_ms = (double)(clock_us() - begin) / 1000;
    if (s == OK) s = file_read(&bytes, argv[1], TOKENIZE_INPUT_MAX, &err);
    if (s == OK) {
        measure(&f, t, buffer_text(&bytes), argc > 2 ? atoi(argv[2]) : 5);
        printf("{\"bytes\": %zu, \"tokens\": %zu, \"open_ms\": %.2f, \"encode_mb_s\": %.1f, "
               "\"count_mb_s\": %.1f}\n",
               bytes.size, f.n_tokens, f.open_ms, f.encode_mb_s, f.count_mb_s);
    } else {
        fprintf(stderr, "bench_tokenizer: %s\n", err.message);
    }
    buffer_free(&bytes);
    tokenizer_close(t);
    return s == OK ? 0 : 1;
}
