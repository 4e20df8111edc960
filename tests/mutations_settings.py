"""Faults of settings and their files; mutations.py puts them in."""

FILE, NODE, UNIT = "lsp/cli/configuration.c", "configuration.test.js", "test_configuration"

FAULTS = [
    ("the_machine_goes_before_its_user", FILE,
     [("text(&c->user, name);\n    return value ? value : configuration_text(&c->system, name);",
       "text(&c->system, name);\n    return value ? value : configuration_text(&c->user, name);")], UNIT, "nearest"),
    ("unknown_settings_are_passed_over", "lsp/server/settings.c",
     [("if (!row || !(row->from & source))\n", "if (!row) continue;\n        if (!(row->from & source))\n")],
     NODE, "a file that says"),
    ("a_faulty_file_counts_as_none", "lsp/cli/language_server.c",
     [("o->fault = err->message;", "(void)err->message;")], NODE, "the language server with a faulty file"),
    ("a_key_may_be_read_by_all", FILE, [("st->st_mode & S_IROTH", "st->st_mode & S_ISVTX")], UNIT, "fault_of_either"),
    ("anybody_may_write_it", FILE, [("st->st_mode & S_IWOTH", "st->st_mode & 0")], NODE, "who may"),
    ("files_exclude_nothing", FILE, [("    patterns_put(&lines, &c->user);\n", "")], NODE, "what it excludes"),
    ("a_model_of_the_file_joins_an_endpoint_of_a_flag", "lsp/cli/engine_settings.c",
     [("    if (!s->model_dir && !s->endpoint) {", "    {")], NODE, "environment and flags"),
    ("a_client_may_give_the_key", "lsp/server/settings.c",
     [('{"apiKey", JSON_STRING, SIZE_MAX, FILES,', '{"apiKey", JSON_STRING, SIZE_MAX, OWN,')], NODE, "a client gives"),
]
