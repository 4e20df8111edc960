"""Faults of the completion prompt: its words, its parts, its anchors, its plan; mutations.py puts them in."""

PROMPT, WINDOW, PLAN = "context/prompt.c", "context/prompt_window.c", "context/prompt_plan.c"
WORDS, UNITS, TEST = "context/prompt_text.c", "context/prompt_units.c", "test_prompt"
STILL = ("test_retrieve", "the_plan_stands_still")

FAULTS = [
    # What stands in it.
    ("prompt_without_a_map", PROMPT, [("    return tokens ? repository_map_text(", "    return !tokens ? repository_map_text(")],
     TEST, "test_map_begins_the_prompt"),
    ("prompt_with_the_map_last", PROMPT, [("    system_put(l);\n    for (int i = 0;", "    for (int i = 0;"),
     ('shows the form of an answer and where it stops");\n    }\n', 'shows the form of an answer and where it stops");\n    }\n    system_put(l);\n')],
     TEST, "test_map_begins_the_prompt"),
    ("prompt_with_another_map_at_each_commit", PROMPT, [("    if (!map || (s->map_key == map->key && s->map_tokens == tokens)) return OK;",
     "    if (map && s->map_key == map->key && s->map_tokens == tokens) return OK;\n    buffer_clear(&s->map);\n    if (!map) return OK;")],
     TEST, "test_map_begins_the_prompt"),
    ("prompt_of_an_example_without_end", WORDS, [('    "print(area(3, height=4)\\n"                                                                    \\\n    "```"', '    "print(area(3, height=4)\\n"')], TEST, "test_fixed_words_are_few"),
    ("prompt_with_a_fence_that_the_file_has", PROMPT, [("prompt_backticks(c->behind_lines)) + 1;", "prompt_backticks(c->behind_lines));")],
     TEST, "test_fence_is_longer_than_any_in_the_file"),
    ("prompt_without_what_is_behind_the_gap", PROMPT, [("    behind_put(l);\n    tail_put(l);", "    tail_put(l);\n    (void)behind_put;")],
     "prompt.test.js", "one place"),
    ("prompt_with_the_file_before_its_excerpts", PROMPT, [("    excerpts_put(l);\n    file_put(l);", "    file_put(l);\n    excerpts_put(l);")],
     "test_retrieve", "excerpts_stand_before_the_file"),
    ("prompt_with_the_file_above_before_the_text_below", PROMPT,
     [('    fenced_put(l, HEADING_BELOW, l->cut.suffix, "suffix", l->cut.suffix_reason);\n', ""),
      ('"prefix", l->cut.window_reason);\n', '"prefix", l->cut.window_reason);\n    fenced_put(l, HEADING_BELOW, l->cut.suffix, "suffix", l->cut.suffix_reason);\n')],
     "prompt.test.js", "one place"),
    ("prompt_without_token_healing", PROMPT, [("    size_t end = tokenizer_stable_boundary(l->tokenizer, open, open.size);", "    size_t end = open.size;")],
     TEST, "test_no_continuation_moves_the_last_boundary"),
    ("prompt_of_guessed_length", PROMPT, [("        if (p->ids.n <= budget_tokens || p->ids.failed) return;", "        if (p->ids.n <= budget_tokens + 8 || p->ids.failed) return;"),
     ("    if (l->out->ids.n > options->budget_tokens)", "    if (l->out->ids.n > options->budget_tokens + 8)")], TEST, "test_budget_is_never_exceeded"),
    ("prompt_blocks_that_depend_on_their_neighbours", UNITS, [("    if (c < 0x80) return c > ' ';", "    if (c < 0x80) return c != 0;")],
     TEST, "test_units_equal_the_whole"),
    ("prompt_blocks_that_end_within_a_line", WORDS, [("    if (content.size && !text_ends(content, TEXT(\"\\n\"))) buffer_put_char(out, '\\n');\n", "")],
     TEST, "test_blocks_equal_the_whole"),
    # What stands still.
    ("prompt_tail_that_begins_anew_with_each_line", WINDOW, [("    TAIL_LINES_MAX = 6,", "    TAIL_LINES_MAX = 2,")], TEST, "test_the_tail_begins_anew_in_jumps"),
    ("prompt_tail_without_end", WINDOW, [("    TAIL_LINES_MAX = 6,", "    TAIL_LINES_MAX = 60,")], TEST, "test_the_tail_begins_anew_in_jumps"),
    ("prompt_tail_of_one_line", WINDOW, [("    TAIL_LINES_FRESH = 2,", "    TAIL_LINES_FRESH = 1,")], TEST, "test_the_tail_begins_anew_in_jumps"),
    ("prompt_window_that_moves_with_each_line", WINDOW, [("        if (sum <= budget - budget / 4) three_quarters = at;", "        three_quarters = at;")],
     TEST, "test_window_moves_in_jumps"),
    ("prompt_text_below_that_is_never_pinned", WINDOW, [("        if (heads_agree(a, c, rest)) return at;", "        if (!c) return at;")],
     TEST, "test_closers_keep_the_text_below"),
    ("prompt_text_below_pinned_for_ever", WINDOW, [("    bool agree = !head.failed && differ * 10 <= a->suffix_head.n;", "    bool agree = !head.failed;")],
     TEST, "test_coming_back_finds_the_prompt"),
    ("prompt_text_below_of_another_first_line", WINDOW, [("    if (!text_equal(first, first_pinned)) return false;\n", "")],
     TEST, "test_closers_keep_the_text_below"),
    ("prompt_places_are_forgotten", WINDOW, [("    while (i < PLACES_KEPT && !place_fits(", "    while (i < PLACES_KEPT && !place_fits && !place_fits(")],
     TEST, "test_coming_back_finds_the_prompt"),
    ("prompt_jumps_cost_all", WINDOW, [("limit = out->pinned_anew ? budget / 2 : budget;", "limit = budget;")], TEST, "test_jumps_cost_half_the_budget"),
    # The plan.
    ("plan_changes_without_gain", PLAN, [("(stay ? value_all : value_best) > PLAN_MARGIN * value)", "(stay ? value_all : value_best) > value)")], "test_retrieve", "a_plan_changes_for_a_tenth_more"),
    ("plan_never_changes", PLAN, [("(stay ? value_all : value_best) > PLAN_MARGIN * value)", "(stay ? value_all : value_best) > 99 * PLAN_MARGIN * value)")], "test_retrieve", "a_plan_changes_for_a_tenth_more"),
    ("plan_keeps_what_nobody_asks_for", PLAN, [("b->unused <= PLAN_UNUSED_MAX &&", "b->unused >= 0 &&")], "test_retrieve", "what_nobody_asks_for_leaves"),
    ("plan_of_what_is_false_waits", PLAN, [("    bool must = was_false || ", "    bool must = ")], *STILL),
    ("plan_in_another_order", PLAN, [("            p->blocks[n++] = p->blocks[i];", "            p->blocks[n++] = p->blocks[p->n - 1 - i];")], *STILL),
]
