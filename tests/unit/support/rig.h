/* A small random model on a backend, for tests of the kernel table. Weights are a function of
 * (tensor, index) in any stored format; with `mirror` a rig holds, as F32, the values that the
 * stored ones stand for, worked out here and not by the code under test. */
#ifndef TESTS_UNIT_SUPPORT_RIG_H
#define TESTS_UNIT_SUPPORT_RIG_H

#include "kernels/kernels.h"

/* cmocka needs these before it, and its macro `fail` must come after base/error.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { RIG_LAYERS_MAX = 4, RIG_WEIGHTS_MAX = 3 + 8 * RIG_LAYERS_MAX };

struct rig_options {
    struct model_shape shape;
    enum weight_format format;
    enum kv_type kv;
    const char *variant;
    int32_t n_threads, rows_max, seqs_max, slices_max, n_pages;
    int32_t gpu;
    bool mirror, deterministic;
    double wte_deviation; /* of the embedding; 0 means 1 */
};

struct rig {
    const struct kernels *k;
    struct rig_options o;
    device *d;
    kv_pool *kv;
    weight *wte, *norm_f, *head;
    struct layer_weights layer[RIG_LAYERS_MAX];
    weight *all[RIG_WEIGHTS_MAX];
    void *bytes[2 * RIG_WEIGHTS_MAX];
    int n_all, n_bytes;
};

struct rig_options rig_defaults(void);
void rig_open(struct rig *r, const struct kernels *k, const struct rig_options *o);
void rig_close(struct rig *r);

/* A step with arrays of its own: sequences are appended one by one. */
struct rig_step {
    struct step s;
    int32_t *token, *position, *seq, *seq_row, *kv_len, *pages, *out_row;
    struct sample_row *sample;
    int32_t n_seqs_room;
};

void rig_step_begin(struct rig_step *t, int32_t rows_max, int32_t seqs_max, int32_t pages_max);
/* Rows [from, from + n) of the sequence `tokens`, whose page i is pages[i]. Logits of every row are
 * wanted with `all_outs`, else the last row's. */
void rig_add(struct rig_step *t, const int32_t *tokens, int32_t from, int32_t n,
             const int32_t *pages, bool all_outs);
void rig_add_padding(struct rig_step *t, int32_t n);
void rig_step_end(struct rig_step *t);

/* Operations of layers [from, to), embedding before the first, head and sample after the last. */
void rig_run(struct rig *r, struct rig_step *t, int32_t from, int32_t to, struct step_result *out);

/* The same, on any thread: what collect returns. */
status rig_try(struct rig *r, struct rig_step *t, int32_t from, int32_t to, struct step_result *out,
               error *err);

/* The same of one layer in two halves: embedding up to where K and V lie in their pages, and the rest,
 * with or without experts, up to collect. */
void rig_half_layer(struct rig *r, struct rig_step *t);
void rig_other_half(struct rig *r, bool with_experts, struct step_result *out);

/* The bytes of pages 0 to n - 1, n at most 64, freed by the caller; and back again. */
unsigned char *rig_pages_take(struct rig *r, int32_t n, size_t *size);
void rig_pages_give(struct rig *r, const unsigned char *bytes, int32_t n);

/* n random ids, freed by the caller. */
int32_t *rig_tokens(int32_t n, int32_t vocab, uint64_t seed);

/* The largest difference over the largest magnitude of the expected; NaN where there is one. */
double rig_difference(const float *found, const float *expected, size_t n);

/* Prefill of one sequence in pages 0, 1, ...: all logits, [n][vocab], freed by the caller. */
float *rig_logits(struct rig *r, const int32_t *tokens, int32_t n);

#endif
