/* Two engines and a read loop, timed in turns by peer.c. One thread calls; each engine runs its own
 * threads. Times are seconds: of the wall, or, with one thread, of the processor, which others that
 * share the machine disturb less. */
#ifndef TESTS_BENCH_PEER_H
#define TESTS_BENCH_PEER_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

double peer_clock_s(int n_threads);

/* dbrx-ls: forward over a checkpoint directory. */
struct peer_ours;
status peer_ours_open(struct peer_ours **out, const char *model_dir, int n_threads, int n_prompt,
                      int n_decode, error *err);
void peer_ours_close(struct peer_ours *p);
const char *peer_ours_name(const struct peer_ours *p);
/* Tokens are ids below this. */
int32_t peer_ours_vocabulary(const struct peer_ours *p);
/* One step of n rows, logits of the last one (valid until the next call); and then n steps of one
 * row behind it. *bytes: weights that these steps read, experts counted as they were chosen. */
status peer_ours_prefill(struct peer_ours *p, const int32_t *tokens, int n, double *seconds,
                         const float **logits, error *err);
status peer_ours_decode(struct peer_ours *p, const int32_t *tokens, int n, double *seconds,
                        double *bytes, error *err);

/* llama.cpp's library: the same over a GGUF file. NULL, and a line on stderr, when it will not. */
struct peer_llama;
struct peer_llama *peer_llama_open(const char *library_dir, const char *gguf, int n_threads,
                                   int n_prompt, int n_decode);
void peer_llama_close(struct peer_llama *p);
/* Negative: it failed. */
double peer_llama_prefill(struct peer_llama *p, const int32_t *tokens, int n, const float **logits);
double peer_llama_decode(struct peer_llama *p, const int32_t *tokens, int n);
/* 0 or the library's complaint. */
int peer_llama_quantize(const char *library_dir, const char *from, const char *to, const char *type,
                        int n_threads);
/* Bytes of matrices that a step of one row reads: everything but what experts were not chosen. */
double peer_llama_step_bytes(const char *gguf);

/* Bytes per second that n_threads read, best of the loops tried: from memory in large pages, and from
 * the mapping of a model's file (0: none), whose small pages cost some of it. */
struct peer_read;
struct peer_read *peer_read_open(int n_threads, const char *model_dir);
void peer_read_close(struct peer_read *r);
double peer_read_rate(const struct peer_read *r);
double peer_read_mapped_rate(const struct peer_read *r);

#endif
