/* x = wte[token]; per layer x += Wo attention(LN x), x += experts(LN x); logits = lm_head LN x. */
#include "inference/forward.h"

void forward_layers(const model *m, device *d, const struct step *s, int32_t layer_from,
                    int32_t layer_to)
{
    const struct kernels *k = m->kernels;
    /* False: a captured graph was replayed, and all of this has happened. */
    if (k->step_begin(d, s, layer_from, layer_to)) {
        if (layer_from == 0) k->embed(d, m->wte);
        for (int32_t layer = layer_from; layer < layer_to; layer++) {
            const struct layer_weights *w = &m->layers[layer];
            k->attn_in(d, layer, w);
            k->attention(d, layer);
            k->attn_out(d, layer, w);
            k->experts(d, layer, w);
        }
        if (layer_to == m->config.shape.n_layers && s->n_outs > 0) {
            k->head(d, m->norm_f, m->lm_head);
            k->sample(d);
        }
    }
    k->step_end(d);
}

void forward(const model *m, device *d, const struct step *s)
{
    forward_layers(m, d, s, 0, m->config.shape.n_layers);
}
