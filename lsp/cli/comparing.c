#include "lsp/cli/comparing.h"

#include <math.h>

#include "lsp/cli/command.h"
#include "lsp/cli/meter.h"

static void progress_show(void *context, const struct comparison_progress *p)
{
    meter_show(context, p->done * (double)p->n_tokens, (double)p->n_tokens, 0);
}

status comparing_run(struct comparison *out, struct comparison_options options,
                     const token_list *tokens, error *err)
{
    struct meter meter = meter_begin("tokens");
    options.progress = progress_show;
    options.context = &meter;
    status s = comparison_make(out, &options, tokens->ids, tokens->n, err);
    meter_end(&meter);
    return s;
}

static void line_print(buffer *out, const char *name, const struct divergence *d)
{
    buffer_print(out, "%-24s %10.3g %10.3g %10.3g %9.2f %%\n", name, d->mean, d->p99, d->max,
                 d->same_best * 100);
}

status comparing_print(const struct comparison *c, error *err)
{
    buffer out = {0};
    buffer_print(&out, "%zu tokens in %zu window%s\n", c->n_tokens, c->n_windows,
                 c->n_windows == 1 ? "" : "s");
    buffer_print(&out, "%-24s %10s %10s %10s %11s\n", "divergence, nats", "mean", "p99", "max",
                 "same first");
    line_print(&out, "routes of the source", &c->forced);
    line_print(&out, "its own routes", &c->free);
    for (int32_t i = 0; i < c->n_spans; i++) {
        char name[64];
        snprintf(name, sizeof name, "  context %d to %d", c->spans[i].from, c->spans[i].to);
        line_print(&out, name, &c->spans[i].free);
    }
    buffer_print(&out,
                 "routes: the same experts %.2f %%, in the same order %.2f %%; "
                 "least in layer %d: %.2f %%\n",
                 c->same_experts * 100, c->same_order * 100, c->worst_layer,
                 c->worst_layer_same_experts * 100);
    if (isfinite(c->source_loss))
        buffer_print(&out, "loss on the text: %.5f, of the source %.5f nats a token\n",
                     c->candidate_loss, c->source_loss);
    status s = out.failed ? fail(err, ERR_MEMORY, "out of memory for the report")
                          : command_write(buffer_text(&out), err);
    buffer_free(&out);
    return s;
}

static json_t *divergence_json(const struct divergence *d)
{
    return json_pack("{s:f, s:f, s:f, s:f}", "mean", d->mean, "p99", d->p99, "max", d->max,
                     "same_first", d->same_best);
}

static json_t *number_json(double x) { return isfinite(x) ? json_real(x) : json_null(); }

json_t *comparing_json(const struct comparison *c)
{
    json_t *spans = json_array();
    for (int32_t i = 0; i < c->n_spans; i++) {
        const struct comparison_span *span = &c->spans[i];
        json_array_append_new(spans, json_pack("{s:i, s:i, s:I, s:o, s:o}", "context_from",
                                               span->from, "context_to", span->to, "tokens",
                                               (json_int_t)span->n_tokens, "routes_of_source",
                                               divergence_json(&span->forced), "own_routes",
                                               divergence_json(&span->free)));
    }
    return json_pack("{s:I, s:I, s:o, s:o, s:{s:f, s:f, s:i, s:f}, s:o, s:o, s:o}", "tokens",
                     (json_int_t)c->n_tokens, "windows", (json_int_t)c->n_windows,
                     "routes_of_source", divergence_json(&c->forced), "own_routes",
                     divergence_json(&c->free), "routes", "same_experts", c->same_experts,
                     "same_order", c->same_order, "worst_layer", c->worst_layer,
                     "worst_layer_same_experts", c->worst_layer_same_experts, "source_loss",
                     number_json(c->source_loss), "candidate_loss", number_json(c->candidate_loss),
                     "spans", spans);
}
