/* quantize.json: what a quantised checkpoint was made of, and which shards of it are there.
 *
 * It is written after every shard, as a whole (base/file.h), and holds no time and no path, so that
 * the last one is the same however often the work was interrupted. One thread. */
#ifndef INFERENCE_QUANTIZE_JOURNAL_H
#define INFERENCE_QUANTIZE_JOURNAL_H

#include <jansson.h>

#include "inference/quantize_plan.h"

#define QUANTIZE_JOURNAL "quantize.json"

/* What makes two runs the same: source files by name, size and time of change, and the options. The
 * caller owns *out. */
status journal_head(json_t **out, const struct quantize_plan *plan,
                    const struct quantize_options *options, size_t shard_bytes, error *err);

/* Whether a finished directory holds what `head` asks for, however it is cut into shards, with or
 * without a calibration. ERR_USAGE names the first difference. */
status journal_same_result(json_t *head, const char *directory, error *err);

/* Says which statistics the shards were, or will be, made with. ERR_FORMAT: shards are done with others. */
status journal_statistics(json_t *head, const struct quantize_plan *plan, const char *sha256,
                          error *err);

/* Marks the shards done that `directory`'s journal lists and that lie there whole, and takes their
 * results. Without a journal the directory must be empty. ERR_USAGE: it was begun otherwise. */
status journal_resume(struct quantize_plan *plan, json_t *head, const char *directory, error *err);

/* The shards that are done, behind `head`. */
status journal_write(const struct quantize_plan *plan, json_t *head, const char *directory,
                     error *err);

#endif
