"""Faults of the language server's protocol; mutations.py puts them in."""

NODE = "protocol_storm.test.js"

FAULTS = [
    ("bad_params_of_a_completion_pop_up", "lsp/server/server.c",
     [("if (method && method->silent) code = 0;", "(void)method;")], NODE, None),
    ("a_completion_is_answered_twice", "lsp/server/methods_completion.c",
     [("    if (!p->replied) pending_reply(p, same", "    pending_reply(p, same")], NODE, None),
    ("what_is_held_goes_on_while_it_is_held_again", "lsp/server/judge.c",
     [("&& judge_waits(s, d)) return;", "&& 0) return;")], "exclusion.test.js", "keys do not ask"),
    ("each_key_behind_a_link_waits_for_a_process", "lsp/server/judge.c",
     [("|| typed)", "|| (typed && 0))")], "exclusion.test.js", "keys do not ask"),
]
