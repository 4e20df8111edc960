"""Faults of traces and their replay; mutations.py puts them in."""

TRACE, PLAY, REPORT, TEST = ("lsp/server/trace.c", "lsp/cli/replay_session.c", "lsp/cli/replay.c",
                             "trace.test.js")

FAULTS = [
    ("a_trace_may_be_read_by_all", TRACE, [("O_CLOEXEC, 0600)", "O_CLOEXEC, 0644)")], TEST, None),
    ("a_trace_holds_documents_no_model_may_read", TRACE, [("if (hidden && ", "if (0 && hidden && ")], TEST, None),
    ("a_trace_does_not_wait_for_the_verdict", "lsp/server/server.c",
     [("return opens || !d || document_refusal(s, d);", "return !opens && (!d || document_refusal(s, d));")], TEST, None),
    ("a_trace_holds_secrets", TRACE, [("        secrets_mask(copy, size);\n", "        (void)secrets_mask;\n")], TEST, None),
    ("a_trace_lacks_answers", "lsp/server/server.c",
     [("    trace_from_server(s->record, message);\n", "    (void)trace_from_server;\n")], TEST, None),
    ("replay_does_not_wait_for_answers", PLAY, [("if (!q || !q->sent_us || q->now ||", "if (1 || !q || !q->sent_us ||")],
     TEST, None),
    ("replay_counts_for_the_user", "lsp/cli/lsp_editor.c", [("size_t n = visits ? 1 :", "size_t n = visits ? 0 :")], TEST, None),
    ("differences_are_not_seen", REPORT, [("bool same = json_equal(then, now);", "bool same = json_equal(then, now) || 1;")],
     TEST, None),
    ("any_file_is_a_trace", PLAY, [("if (!s->cut) code =", "if (0) code =")], TEST, None),
]
