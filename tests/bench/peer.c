/* peer: dbrx-ls beside llama.cpp on the same weights, in turns, in one process.
 *
 * Each round times, in an order that alternates, a prefill of the same random tokens (head for the
 * last row only) and then decoding of the same tokens one by one, by both engines, and the best
 * read loop of the machine. Speeds drift by a factor of two on shared machines, so what counts are
 * ratios within a round. Prints one JSON object; peer.py makes models and tables. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/random.h"
#include "tests/bench/peer.h"

enum { ROUNDS_MAX = 100 };

struct round {
    double ours_prefill, ours_decode, llama_prefill, llama_decode; /* seconds */
    double read, read_mapped;                                      /* bytes per second */
    double ours_bytes;                                             /* weights read by the decode */
};

struct setup {
    const char *library_dir, *model_dir, *gguf;
    int n_threads, n_prompt, n_decode, n_rounds;
    int32_t *tokens;
    struct peer_ours *ours;
    struct peer_llama *llama;
    struct peer_read *read;
    double logits_apart; /* root mean square of the difference over that of llama.cpp's logits */
};

double peer_clock_s(int n_threads)
{
    struct timespec t;
    clock_gettime(n_threads == 1 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int complain(const char *words)
{
    fprintf(stderr, "peer: %s\n", words);
    return 1;
}

static int prefill_time(struct setup *s, struct round *r, const float **logits)
{
    error err = {0};
    status rc = peer_ours_prefill(s->ours, s->tokens, s->n_prompt, &r->ours_prefill, logits, &err);
    return rc == OK ? 0 : complain(err.message);
}

static int decode_time(struct setup *s, struct round *r)
{
    error err = {0};
    status rc = peer_ours_decode(s->ours, s->tokens + s->n_prompt, s->n_decode, &r->ours_decode,
                                 &r->ours_bytes, &err);
    return rc == OK ? 0 : complain(err.message);
}

static void logits_compare(struct setup *s, const float *ours, const float *llama)
{
    double apart = 0, all = 0;
    for (int32_t i = 0; i < peer_ours_vocabulary(s->ours); i++) {
        double d = (double)ours[i] - (double)llama[i];
        apart += d * d;
        all += (double)llama[i] * (double)llama[i];
    }
    s->logits_apart = sqrt(apart / all);
}

static int round_run(struct setup *s, struct round *r, int number)
{
    const float *ours = NULL, *llama = NULL;
    const int32_t *next = s->tokens + s->n_prompt;
    for (int turn = 0; turn < 2; turn++) {
        if ((number + turn) % 2 == 0) {
            if (prefill_time(s, r, &ours)) return 1;
        } else {
            r->llama_prefill = peer_llama_prefill(s->llama, s->tokens, s->n_prompt, &llama);
            if (r->llama_prefill < 0 || !llama) return complain("llama.cpp failed");
        }
    }
    logits_compare(s, ours, llama);
    for (int turn = 0; turn < 2; turn++) {
        if ((number + turn) % 2 == 0) {
            if (decode_time(s, r)) return 1;
        } else {
            r->llama_decode = peer_llama_decode(s->llama, next, s->n_decode);
            if (r->llama_decode < 0) return complain("llama.cpp failed");
        }
    }
    r->read = peer_read_rate(s->read);
    r->read_mapped = peer_read_mapped_rate(s->read);
    return 0;
}

static void series_print(const char *name, const struct round *rounds, int n, double scale,
                         double (*of)(const struct round *))
{
    printf(", \"%s\": [", name);
    for (int i = 0; i < n; i++) printf("%s%.6g", i ? ", " : "", scale * of(&rounds[i]));
    printf("]");
}

static double of_ours_prefill(const struct round *r) { return 1 / r->ours_prefill; }
static double of_ours_decode(const struct round *r) { return 1 / r->ours_decode; }
static double of_llama_prefill(const struct round *r) { return 1 / r->llama_prefill; }
static double of_llama_decode(const struct round *r) { return 1 / r->llama_decode; }
static double of_ours_rate(const struct round *r) { return r->ours_bytes / r->ours_decode; }
static double of_read(const struct round *r) { return r->read; }
static double of_read_mapped(const struct round *r) { return r->read_mapped; }

static void result_print(const struct setup *s, const struct round *rounds)
{
    int n = s->n_rounds;
    double llama_bytes = peer_llama_step_bytes(s->gguf) * s->n_decode;
    printf("{\"backend\": \"%s\", \"threads\": %d, \"prompt_tokens\": %d, \"decode_tokens\": %d, "
           "\"logits_apart\": %.3g, \"ours_bytes_per_token\": %.6g, "
           "\"llama_bytes_per_token\": %.6g",
           peer_ours_name(s->ours), s->n_threads, s->n_prompt, s->n_decode, s->logits_apart,
           rounds[0].ours_bytes / s->n_decode, llama_bytes / s->n_decode);
    series_print("ours_prefill_tok_per_s", rounds, n, s->n_prompt, of_ours_prefill);
    series_print("llama_prefill_tok_per_s", rounds, n, s->n_prompt, of_llama_prefill);
    series_print("ours_decode_tok_per_s", rounds, n, s->n_decode, of_ours_decode);
    series_print("llama_decode_tok_per_s", rounds, n, s->n_decode, of_llama_decode);
    series_print("ours_decode_gb_per_s", rounds, n, 1e-9, of_ours_rate);
    series_print("llama_decode_gb_per_s", rounds, n, 1e-9 * llama_bytes, of_llama_decode);
    series_print("read_gb_per_s", rounds, n, 1e-9, of_read);
    series_print("read_mapped_gb_per_s", rounds, n, 1e-9, of_read_mapped);
    printf("}\n");
}

static int setup_open(struct setup *s)
{
    error err = {0};
    int n = s->n_prompt + s->n_decode;
    status rc =
        peer_ours_open(&s->ours, s->model_dir, s->n_threads, s->n_prompt, s->n_decode, &err);
    if (rc != OK) return complain(err.message);
    s->llama = peer_llama_open(s->library_dir, s->gguf, s->n_threads, s->n_prompt, s->n_decode);
    s->read = peer_read_open(s->n_threads, s->model_dir);
    s->tokens = calloc((size_t)n, sizeof *s->tokens);
    if (!s->llama || !s->read || !s->tokens) return complain("cannot begin");
    for (int i = 0; i < n; i++)
        s->tokens[i] =
            (int32_t)(random_at(7, (uint64_t)i) % (uint64_t)peer_ours_vocabulary(s->ours));
    return 0;
}

int main(int argc, char **argv)
{
    static struct round rounds[ROUNDS_MAX], warm;
    struct setup s = {0};
    if (argc == 6 && strcmp(argv[1], "quantize") == 0)
        return peer_llama_quantize(argv[2], argv[3], argv[4], argv[5], 2);
    if (argc != 8)
        return 1 + complain("usage: peer LIBRARY_DIR MODEL_DIR GGUF THREADS PROMPT DECODE ROUNDS\n"
                            "   or: peer quantize LIBRARY_DIR FROM.gguf TO.gguf q8_0|q4_0");
    s.library_dir = argv[1];
    s.model_dir = argv[2];
    s.gguf = argv[3];
    s.n_threads = atoi(argv[4]);
    s.n_prompt = atoi(argv[5]);
    s.n_decode = atoi(argv[6]);
    s.n_rounds = atoi(argv[7]);
    if (s.n_threads < 1 || s.n_prompt < 1 || s.n_decode < 1 || s.n_rounds < 1 ||
        s.n_rounds > ROUNDS_MAX)
        return 1 + complain("THREADS, PROMPT, DECODE, ROUNDS: at least 1, at most 100 rounds");
    int rc = setup_open(&s);
    if (rc == 0) rc = round_run(&s, &warm, 0);
    for (int i = 0; rc == 0 && i < s.n_rounds; i++) rc = round_run(&s, &rounds[i], i);
    if (rc == 0) result_print(&s, rounds);
    peer_read_close(s.read);
    peer_llama_close(s.llama);
    peer_ours_close(s.ours);
    free(s.tokens);
    return rc;
}
