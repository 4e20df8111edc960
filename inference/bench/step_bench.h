/* Steps of the model, timed: what prefill and decoding cost on this machine, beside what reading the
 * bytes they need would cost.
 *
 * It runs the forward pass on a backend without scheduler, cache and streams, so that nothing but
 * the model's own work is timed. All tokens are random ids from a seed, those of decoding too, so that
 * routes vary; decoding is greedy. Distinct experts are counted in every step: weights that
 * nobody asked for are not counted as read. It knows no text. One thread. */
#ifndef INFERENCE_BENCH_STEP_BENCH_H
#define INFERENCE_BENCH_STEP_BENCH_H

#include <stdatomic.h>

#include "inference/bench/samples.h"
#include "inference/model.h"

typedef struct step_bench step_bench;

struct step_bench_options {
    const char *model_dir, *backend; /* backend NULL: auto */
    int32_t n_threads;               /* 0: all cores */
    enum kv_type kv_type;
    int32_t n_warmups, n_repeats; /* 0: 3 and 20 */
    int64_t cell_us_max;          /* a cell ends then, after three repeats at least; 0: 10 s */
    const atomic_bool *stop;      /* set: ends with ERR_CANCELLED; may be NULL */
    void (*progress)(void *context, double fraction); /* of loading; may be NULL */
    void *progress_context;
};

/* Opens model and backend and times the machine's reading. */
status step_bench_open(step_bench **out, const struct step_bench_options *options, error *err);
void step_bench_close(step_bench *b); /* NULL is fine */

struct step_bench_model {
    struct model_shape shape;
    char backend[32];
    bool demo;
    enum weight_format weights; /* WEIGHT_BF16: not quantised */
    int64_t n_parameters;
    size_t stored_bytes;
    double read_bytes_per_s; /* of the machine, from memory; NAN where the host does not compute */
};
void step_bench_model(const step_bench *b, struct step_bench_model *out);

/* One measured cell. Times are of one prompt, or of one step of decoding. */
struct step_cell {
    bool fits; /* false: the model's context is too short, and nothing else is filled */
    int32_t n_rows, n_seqs, context; /* rows computed; sequences; tokens before them */
    size_t n_repeats;
    double median_us, low_us, high_us, tokens_per_s;
    double flop;                   /* of the products, per prompt or step */
    double experts_per_layer;      /* distinct ones that a step read, on average */
    double weight_bytes, kv_bytes; /* read per step, each once: decoding only, else NAN */
    double bytes_per_s;
    double
        loop_bytes_per_s; /* the read loop over as many bytes, before and after: the better one */
    double share;         /* bytes_per_s of it; NAN with `fault` when it cannot be true */
    error fault;          /* code OK: none */
};

/* A prompt of n_tokens, from an empty context, in slices as the engine's largest. */
status step_bench_prefill(step_bench *b, int32_t n_tokens, struct step_cell *out, error *err);

/* One token for each of n_seqs sequences with `context` tokens before them. */
status step_bench_decode(step_bench *b, int32_t n_seqs, int32_t context, struct step_cell *out,
                         error *err);

#endif
