/* The table of launchers of one build: for a GPU, or for the host. */
#include "kernels/cuda/device.cuh"

void EXPORT(launch_embed)(const struct cuda_embed *, void *);
void EXPORT(launch_turns)(const struct cuda_turns *, void *);
void EXPORT(launch_norm)(const struct cuda_norm *, void *);
void EXPORT(launch_rope)(const struct cuda_rope *, void *);
void EXPORT(launch_attention)(const struct cuda_attention *, void *);
void EXPORT(launch_attention_rows)(const struct cuda_attention *, void *);
void EXPORT(launch_attention_tiles)(const struct cuda_attention *, void *);
void EXPORT(launch_attention_wide)(const struct cuda_attention *, void *);
void EXPORT(launch_product_vector)(const struct cuda_product *, void *);
void EXPORT(launch_product_mma)(const struct cuda_product *, void *);
void EXPORT(launch_product_tile)(const struct cuda_product *, void *);
void EXPORT(launch_pack)(const struct cuda_pack *, void *);
void EXPORT(launch_product_wide)(const struct cuda_wide *, void *);
void EXPORT(launch_round)(const struct cuda_round *, void *);
void EXPORT(launch_norm_route)(const struct cuda_route *, void *);
void EXPORT(launch_sort)(const struct cuda_sort *, void *);
void EXPORT(launch_combine)(const struct cuda_combine *, void *);
void EXPORT(launch_sample)(const struct cuda_sample *, void *);
void EXPORT(launch_transpose)(const struct cuda_transpose *, void *);
void EXPORT(launch_nan_scan)(const struct cuda_nan_scan *, void *);
void EXPORT(launch_widen)(const struct cuda_widen *, void *);
void EXPORT(launch_scale)(const struct cuda_scale *, void *);

extern "C" {
extern const struct cuda_launch EXPORT(cuda_launch);
const struct cuda_launch EXPORT(cuda_launch) = {
    EXPORT(launch_embed),           EXPORT(launch_turns),
    EXPORT(launch_norm),            EXPORT(launch_rope),
    EXPORT(launch_attention),       EXPORT(launch_attention_rows),
    EXPORT(launch_attention_tiles), EXPORT(launch_attention_wide),
    EXPORT(launch_product_vector),  EXPORT(launch_product_mma),
    EXPORT(launch_product_tile),    EXPORT(launch_pack),
    EXPORT(launch_product_wide),    EXPORT(launch_round),
    EXPORT(launch_norm_route),      EXPORT(launch_sort),
    EXPORT(launch_combine),         EXPORT(launch_sample),
    EXPORT(launch_transpose),       EXPORT(launch_nan_scan),
    EXPORT(launch_widen),           EXPORT(launch_scale),
};
}
