/* What the watching thread does now and then while the service runs: ends slow connections and those
 * of revoked keys, renews the certificate, keeps the log small, talks to a service manager. */
#ifndef INFERENCE_SERVICE_UPKEEP_H
#define INFERENCE_SERVICE_UPKEEP_H

#include "inference/service/state.h"

/* Called every tick of the watch, by its thread alone. */
void upkeep(struct service *s, const struct service_view *view);

/* When stderr is the local engine's log and has grown beyond ENGINE_LOG_MAX, it is moved to ".1" and
 * begun anew: two files of about that size are the most there is. */
void log_keep_small(void);

#endif
