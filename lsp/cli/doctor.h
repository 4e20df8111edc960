/* What `dbrx-ls doctor` looks at, a function per matter. Each puts its rows into the report and
 * fails in no other way; none starts an engine. Nobody outside the command includes this. */
#ifndef LSP_CLI_DOCTOR_H
#define LSP_CLI_DOCTOR_H

#include "lsp/cli/engine_settings.h"
#include "lsp/cli/report.h"

/* doctor_model.c: what a GPU of so much memory would hold of the model, a row of arithmetic; and
 * directory, files, kernels and memory of the local engine's model. */
struct doctor_fit {
    int64_t memory_bytes;          /* -1: not asked for */
    const char *weights, *kv_type; /* NULL: as stored, e4m3 */
};
void doctor_fit(struct report *r, const struct engine_settings *s, const struct doctor_fit *f);
void doctor_model(struct report *r, const struct engine_settings *s);

/* doctor_engine.c: the directories it lives in; the local engine, or the endpoint. */
void doctor_directories(struct report *r);
void doctor_engine(struct report *r, const struct engine_settings *s);

#endif
