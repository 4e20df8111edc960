"""Faults of context/: what of an answer is shown, open documents' trees, repositories, imports, exclusion.

mutations.py puts them in. The rules of post-processing stand in context/README.md with the test of each.
"""

TRIM, TRIM_BODY, TRIM_TEXT = "context/trim.c", "context/trim_body.c", "context/trim_text.c"
SYNTAX, LIVE = "context/trim_syntax.c", "context/syntax_live.c"
RUN = "lsp/assistant/run.c"
RULES = ("test_trim", "test_rules")
COMPLETION, EXCLUSION = "completion.test.js", "exclusion.test.js"

FAULTS = [
    # Post-processing, in the order of the rules.
    ("trim_end_of_turn_is_shown", TRIM, [("    if (end == SIZE_MAX || text_find(", "    if (1 || text_find(")], *RULES),
    ("trim_end_of_turn_in_a_file_that_says_so", TRIM,
     [("text_find(buffer_text(&t->below), turn_end, 0) != SIZE_MAX)", "0)")], *RULES),
    ("trim_closing_fence_is_shown", TRIM_BODY, [("    if (alone && trim_text_is_fence(", "    if (alone && trim_text_is_fence(line, 1000, &bare) && trim_text_is_fence(")], *RULES),
    ("trim_first_line_below_is_repeated", TRIM_BODY,
     [("if (words >= WORDS_FIRST || (same_column && b->stack.n == 0)) return true;", "(void)same_column;")], *RULES),
    ("trim_lines_below_are_repeated", TRIM_BODY,
     [("if (words >= WORDS_ANY && plain.size >= SIZE_ANY) return true;", "")], *RULES),
    ("trim_dedent_does_not_end_a_block", TRIM_BODY,
     [("    if (indent < b->base_indent) return", "    if (0) return")], *RULES),
    ("trim_block_opened_on_the_line_goes_on", TRIM_BODY,
     [("    if (b->in_block_by_line && indent", "    if (0 && indent")], *RULES),
    ("trim_definitions_follow_each_other", TRIM_BODY,
     [("    if (indent == 0 && after_blank) return", "    if (0 && after_blank) return")], *RULES),
    ("trim_what_parses_worse_is_shown", SYNTAX, [("    if (last == n_ends) return 0;", "    if (last == n_ends) last--;")], *RULES),
    ("trim_judges_by_what_is_near", SYNTAX,
     [("    if (n_ends && a->tree) return good_ends(", "    if (0) return good_ends("),
      ("    if (a->content.size <= TRIM_PARSE_MAX &&", "    if (0 &&")], "test_trim", "test_oracle"),
    ("trim_deadline_shows_half_a_line", RUN,
     [("    if (whole_line && c->trim) {\n        run_settle(r, c, false);", "    if ((whole_line || 1) && c->trim) {\n        run_settle(r, c, true);")],
     COMPLETION, "half a line is nothing"),
    ("trim_prose_is_shown", TRIM, [("    if (waiting || is_prose(t, line)) {", "    if (waiting) {")], *RULES),
    ("trim_reopened_fence_is_shown", TRIM, [("    if (opens_fence(t, line)) {", "    if (0 && opens_fence(t, line)) {")], *RULES),
    ("trim_reopened_fence_repeats_the_line", TRIM, [("        if (n) return n;", "        if (n) return 0;")], *RULES),
    ("trim_fence_met_by_a_backtick", TRIM, [("bool met_by_chance = first &&", "bool met_by_chance = 0 &&")], *RULES),
    ("trim_other_beginning_is_shown", TRIM, [("        t->mismatch = true;\n", "")], *RULES),
    ("trim_indentation_stays_wrong", TRIM_TEXT,
     [("    if (style == INDENT_UNKNOWN ||", "    if (1 ||")], *RULES),
    ("trim_windows_lines_are_lost", TRIM, [("    t->windows_lines = first", "    t->windows_lines = 0 && first")], *RULES),
    ("trim_closer_of_the_file_is_doubled", TRIM_BODY,
     [("        } else if (!close_for_file(b, c)) {", "        } else if (close_for_file(b, c) && 0) {")], *RULES),
    ("trim_closer_the_file_lacks_is_refused", TRIM_BODY,
     [("        } else if (!close_for_file(b, c)) {", "        } else if (!close_for_file(b, c) || 1) {")], *RULES),
    ("trim_overlap_is_doubled", TRIM, [("    insert = cut_overlap(t, without_end_blanks(insert));\n",
                                      "    (void)cut_overlap;\n    insert = without_end_blanks(insert);\n")], *RULES),
    ("trim_line_loop_is_shown", TRIM_BODY, [("    if (loop != SIZE_MAX || loops_in_line(line)) {", "    if (loops_in_line(line)) {")], *RULES),
    ("trim_token_loop_is_shown", "context/loops.c", [("bool loops_in_line(text line)\n{\n", "bool loops_in_line(text line)\n{\n    if (line.size) return false;\n")], *RULES),
    ("trim_blank_is_shown", TRIM, [("    while (t.size && strchr(", "    while (0 && strchr("),
                                   ("    if (trim_text_is_blank(insert)) {\n        if (size)", "    if (0) {\n        if (size)")], *RULES),
    ("trim_one_character_is_shown", TRIM, [("    if (!t->asked && is_one", "    if (0 && is_one")], *RULES),
    ("trim_one_character_is_refused_to_who_asks", TRIM, [("    if (!t->asked && is_one", "    if (is_one")], *RULES),
    ("trim_closers_stay_behind_the_answer", TRIM_BODY,
     [("    b->replace_bytes = b->place->rest_offset + rest.size;", "    b->replace_bytes = 0;")], *RULES),
    ("trim_escape_sequences_are_shown", TRIM_TEXT, [("    if (c < 0x20) return c == '\\t' || c == '\\n';", "    if (c < 0x20) return true;")], *RULES),
    ("trim_direction_marks_are_shown", TRIM_TEXT, [("    if ((c >= 0x202A && c <= 0x202E) ||", "    if (")], *RULES),
    ("trim_the_rest_is_not_kept", RUN,
     [("    trim_finish(o->keep, finished, &result);\n    buffer_put_text(&o->insert, result.insert);", "    trim_finish(o->keep, finished, &result);\n    result.insert.size = 0;\n    buffer_put_text(&o->insert, result.insert);")],
     COMPLETION, None),
    # Exclusion.
    ("attributes_changed_by_others_are_not_asked_again", "lsp/server/stage.c",
     [("judge_ask_all(context);", "(void)context;")], EXCLUSION, "attributes that another program changes"),
    ("rules_of_attribute_files_are_all_one", "context/repository_list.c",
     [("    out->rules += ", "    (void)parts;\n    out->rules |= 1 + 0 * ")], EXCLUSION,
     "attributes that another program changes"),
    ("secrets_in_excerpts_of_tasks", "context/task_prompt.c",
     [("        scratch_put(l);\n        used +=", "        text_put(l, buffer_text(&l->scratch));\n        buffer_clear(&l->scratch);\n        used +=")],
     "secrets.test.js", None),
    # Trees of open documents.
    ("live_tree_is_not_edited", LIVE, [("    ts_tree_edit(l->last.tree, &edit);", "    (void)edit;")], "test_live", None),
    ("live_tree_of_an_older_text", LIVE, [("    l->current = false;\n", "")], "test_live", None),
    ("live_parse_goes_on_with_another_text", LIVE,
     [("    parser_drop(l);\n    l->current = false;", "    l->current = false;")], "test_live", None),
    ("live_steps_without_end", "context/syntax.c", [("    return clock_thread_us() > r->deadline_us;", "    return r->deadline_us < 0;")], "test_live", None),
    ("live_trees_of_all_documents", "lsp/server/document_tree.c", [("        if (bytes <= LIVE_PARSE_BYTES_MAX || !oldest) return;", "        if (bytes || !oldest) return;")], "test_live", None),
    ("live_changes_do_not_reach_the_tree", "lsp/server/documents.c", [("    document_tree_edit(d, from, to, replacement);\n", "")], "test_live", None),
]
