/* Checks that every backend on the host makes. Any thread. */
#ifndef KERNELS_HOST_H
#define KERNELS_HOST_H

#include "kernels/kernels.h"

/* Shape, row and output bounds of an open; ERR_UNSUPPORTED or ERR_USAGE by field name. */
status device_options_check(const struct device_options *options, error *err);

/* A tensor's format, dimensions and orientation; ERR_UNSUPPORTED or ERR_FORMAT by tensor name. */
status weight_spec_check(const struct weight_spec *spec, error *err);

/* Rows, sequences, outputs, ids and pages of a step within what the device was opened for;
 * n_slots: outputs of the last step that sampled. ERR_DEVICE, for the step cannot be computed. */
status step_check(const struct step *s, const struct device_options *options, int32_t n_slots,
                  error *err);

#endif
