/* What the reference's two files share: reference.c holds the formulas, reference_device.c memory,
 * weights and the table. */
#ifndef KERNELS_REFERENCE_REFERENCE_H
#define KERNELS_REFERENCE_REFERENCE_H

#include "base/arena.h"
#include "kernels/kernels.h"
#include "kernels/sampling.h"

struct weight {
    struct weight_spec spec;
    float *values; /* [n_rows][n_columns] as stored */
};

struct device {
    struct device_options o;
    struct model_shape s;
    const struct step *step;   /* NULL: the step is not computed */
    double *x;                 /* residual: [slices][rows_max][d_model] */
    double *y;                 /* [rows_max][d_model] norm of the residual */
    double *q, *a;             /* [rows_max][n_heads * head_dim] queries; attention's result */
    double *gate;              /* [rows_max][top_k] weights of the chosen experts */
    int32_t *route;            /* [rows_max][top_k] chosen experts */
    double *buffer;            /* qkv of a row; scores; one expert's hidden units */
    float *narrow;             /* a row on its way to a narrower type */
    int32_t *routes;           /* [n_layers][n_rows][top_k] for collect */
    float *logits;             /* [outs_max][vocab] */
    struct sample_result *out; /* [outs_max] */
    struct sample_scratch scratch;
    int32_t n_slots; /* outputs of the last step that sampled */
    error failure;
    arena memory; /* all of the above */
};

void reference_embed(device *d, const weight *wte);
void reference_attn_in(device *d, int32_t layer, const struct layer_weights *w);
void reference_attention(device *d, int32_t layer);
void reference_attn_out(device *d, int32_t layer, const struct layer_weights *w);
void reference_experts(device *d, int32_t layer, const struct layer_weights *w);
void reference_head(device *d, const weight *norm_f, const weight *lm_head);
void reference_sample(device *d);

#endif
