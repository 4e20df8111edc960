"""Faults of the language server's protocol; mutations.py puts them in."""

NODE = "protocol_storm.test.js"

FAULTS = [
    ("bad_params_of_a_completion_pop_up", "lsp/server/server.c",
     [("if (method && method->silent) code = 0;", "(void)method;")], NODE, None),
    ("a_completion_is_answered_twice", "lsp/server/methods_completion.c",
     [("    if (!p->replied) pending_reply(p, same", "    pending_reply(p, same")], NODE, None),
]
