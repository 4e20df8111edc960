/* What every backend on the host needs: checks, and how much memory there is. Any thread. */
#ifndef KERNELS_HOST_H
#define KERNELS_HOST_H

#include "base/text.h"
#include "kernels/kernels.h"

/* Shape, row and output bounds of an open; ERR_UNSUPPORTED or ERR_USAGE by field name. */
status device_options_check(const struct device_options *options, error *err);

/* A tensor's format, dimensions and orientation; ERR_UNSUPPORTED or ERR_FORMAT by tensor name. */
status weight_spec_check(const struct weight_spec *spec, error *err);

/* Rows, sequences, outputs, ids and pages of a step within what the device was opened for;
 * n_slots: outputs of the last step that sampled. ERR_DEVICE, for the step cannot be computed. */
status step_check(const struct step *s, const struct device_options *options, int32_t n_slots,
                  error *err);

/* Bytes that can be had without swapping, page cache that can be dropped among them: mapped weights
 * must not look like memory in use. 0 when the system does not say. */
size_t host_memory_available(void);

/* The same as a text of /proc/meminfo says it (proc(5): MemAvailable, in kB, which are KiB); 0 when
 * it does not. */
size_t meminfo_available(text meminfo);

#endif
