/* A full-size model made on a GPU from a seed, and what its steps cost there beside the GPU's own
 * limits. Needs no checkpoint and no library but those of CUDA.
 *
 * Weights are random in the values a quantiser would leave. The experts of every row are forced,
 * drawn uniformly without repetition per row and layer, so that how many are read is known: they are
 * counted, and the bytes and operations of a step follow from them. A cell's ceiling is the longer of
 * its bytes at the measured read rate and its operations at the measured matrix rate; a share of it
 * above 1 cannot be, so it is an error. Cells come in the order of their worth, each handed out when
 * it is done, and none is begun for which the time left is too short. One thread. */
#ifndef INFERENCE_BENCH_SYNTHETIC_H
#define INFERENCE_BENCH_SYNTHETIC_H

#include <stdbool.h>

#include "kernels/cuda/probe.h"
#include "kernels/kernels.h"

enum synthetic_kind {
    SYNTHETIC_DECODE,      /* one step, a row of each sequence */
    SYNTHETIC_PREFILL,     /* a whole prompt in slices, logits of its last row */
    SYNTHETIC_FIRST_TOKEN, /* 16 rows behind a prompt that is there, and the sampled token */
    SYNTHETIC_OPERATION    /* one operation of a layer by the rows of a step */
};

struct synthetic_cell {
    enum synthetic_kind kind;
    const char *operation; /* SYNTHETIC_OPERATION: "experts", ... */
    int32_t n_rows;        /* of the step, or of the prompt */
    int32_t n_seqs;
    int32_t context;  /* keys of the last row of each sequence */
    bool measured;    /* false: the rest is NAN or 0 */
    char without[96]; /* why it was not measured */
    int32_t n_warmups, n_repeats;
    double median_us, low_us, high_us;
    double tokens_per_s;
    double experts_per_layer; /* distinct, in the mean */
    double weight_bytes, kv_bytes, flop;
    double bytes_per_s, flop_per_s;
    double ceiling_us, share; /* share = ceiling_us / median_us; NAN without a denominator */
    const char *bound;        /* "read" or "matrix": which of the two the ceiling is */
};

struct synthetic_machine {
    char device[64];
    int32_t n_processors, capability;
    size_t total_bytes, free_bytes; /* free: before anything was taken */
    struct cuda_read_rate read;
    struct cuda_matrix_rates matrix;
    double matrix_flop_per_s; /* the denominator: of the type of the activations; NAN: none */
    struct model_shape shape;
    enum weight_format format;
    enum kv_type kv_type;
    size_t weight_bytes, workspace_bytes;
    int64_t kv_tokens; /* of the pool that fits */
    double weights_s;  /* to make them */
};

struct synthetic_options {
    const char *model;                     /* "dbrx", or "tiny" for tests */
    enum weight_format format;             /* of the experts: WEIGHT_FP8_ROW or WEIGHT_INT4_G128 */
    int32_t n_warmups, n_repeats;          /* of each cell; 0: 3 and 20, quick 1 and 5 */
    double budget_s;                       /* 0: as long as it takes */
    bool quick;                            /* the most important cells only */
    bool (*stopped)(void);                 /* asked between steps; may be NULL */
    void (*on_progress)(const char *what); /* may be NULL */
    void *context;
    void (*on_machine)(void *context, const struct synthetic_machine *m);
    void (*on_cell)(void *context, const struct synthetic_cell *c);
};

/* ERR_USAGE for an unknown model, ERR_UNSUPPORTED without a GPU, ERR_MEMORY with the numbers where
 * the weights do not fit, ERR_DEVICE, ERR_FORMAT when a share is above 1 (after all cells),
 * ERR_CANCELLED when stopped. */
status synthetic_run(const struct synthetic_options *options, error *err);

#endif
