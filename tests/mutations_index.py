"""Faults of the repository index, the list of files, exclusion by name and secrets in text, function by function.

mutations.py puts them in. Rows of the tables of exclude.c and secrets.c are taken out one by one.
"""
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent
INDEX, BLOB, DATABASE = "context/index.c", "context/index_blob.c", "context/index_database.c"
HISTORY, MAP, NEAR, QUERY = "context/index_history.c", "context/index_map.c", "context/index_near.c", "context/index_query.c"
WORKERS, LIST, EXCLUDE, SECRETS = "context/index_workers.c", "context/repository_list.c", "context/exclude.c", "context/secrets.c"
FOLLOW, JUDGE, TEXT = "lsp/cli/index_follow.c", "lsp/server/judge.c", "lsp/server/methods_text.c"

ONCE = ("test_index", "test_contents_are_parsed_once")
STAMPS = ("test_index", "test_stamps")
SKIPS = ("test_index", "test_what_is_skipped")
DAMAGE = ("test_index", "test_damage")
ROWS = ("test_index", "test_damaged_rows")
BOUND = ("test_index_bound", "test_bound")
OPENED = ("test_index", "what_is_opened_comes_first")
BUSY = ("prompt.test.js", "while another process makes the index")
MAPS, REPOSITORY = ("test_map", None), ("test_repository", None)
SECRET, NAMES = ("test_secrets", None), ("test_exclude", None)

FAULTS = [
    ("the_home_directory_is_a_project", "lsp/cli/index_follow.c", [("    if (code == OK && !holds_home(f)) {", "    if (code == OK && (!holds_home(f) || f)) {")],
     "repository_context.test.js", "a file in the home directory"),
    ("what_lies_beside_the_home_directory_is_no_project", "lsp/cli/index_follow.c", [(" && (home[n] == 0 || home[n] == '/');", ";")],
     "repository_context.test.js", "a file in the home directory"),
    # What is read again.
    ("index_believes_a_racy_stamp", INDEX, [("old->stamp.ctime_ns + STAMP_DOUBT_NS <", "old->stamp.ctime_ns <")], *STAMPS),
    ("index_believes_another_size", INDEX, [("a->size_bytes == b->size_bytes && ", "")], *STAMPS),
    ("index_believes_another_inode", INDEX, [(" && a->inode == b->inode", "")], *STAMPS),
    ("index_believes_another_mtime", INDEX, [(" && a->mtime_ns == b->mtime_ns", "")], *STAMPS),
    ("index_believes_another_ctime", INDEX, [(" &&\n           a->ctime_ns == b->ctime_ns", "")], *STAMPS),
    ("index_believes_another_language", INDEX, [(" && old->language == language &&", " && (old->language == language || 1) &&")], *STAMPS),
    ("index_believes_an_id_of_other_bytes", INDEX, [("REPOSITORY_BARE && !same_size)", "REPOSITORY_BARE && !same_size && 0)")], "test_index", "test_filters_change_nothing"),
    ("index_parses_the_same_twice", INDEX, [("if (is_parsing(u, j) ||", "if ((0 && is_parsing(u, j)) ||")], *ONCE),
    ("index_keeps_paths_that_are_gone", INDEX, [("            code = file_forget(u, old);\n        } else if (f &&", "            code = OK;\n        } else if (f &&")], *ONCE),
    ("index_keeps_trees_that_are_gone", INDEX, [("if (root.bytes && !directory_exists", "if (0 && !directory_exists")], *ONCE),
    ("index_two_add_the_same_content", BLOB, [("    if (known.id) {", "    if (0 && known.id) {")], "test_index", "two_add_the_same_content"),
    ("index_mends_nothing", INDEX, [("x->damaged && index_rebuild", "0 && index_rebuild")], *DAMAGE),
    # What has no row.
    ("index_of_excluded_names", INDEX, [("if (f->excluded || exclude_reason(f->path))", "if (f->excluded)")], *SKIPS),
    ("index_definitions_as_they_came", "context/index_query.c", [("qsort(out->symbols, out->n, sizeof *out->symbols, compare_places);", "(void)compare_places;")],
     "test_index", "test_definitions_by_path"),
    ("index_of_excluded_attributes", INDEX, [("if (f->excluded || exclude_reason(f->path))", "if (exclude_reason(f->path))")], "test_index", "test_excluded_later"),
    ("index_drops_what_others_have", BLOB, [("code == OK && n_files == 0 ?", "code == OK && n_files >= 0 ?")], "test_index", "test_excluded_later"),
    ("index_of_minified_names", BLOB, [('if (text_find(path, TEXT(".min."), 0) != SIZE_MAX) return true;', "(void)path;")], *SKIPS),
    ("index_of_long_lines_of_source", BLOB, [("content.size / n_lines > INDEX_LINE_MEAN_MAX", "content.size / n_lines > GIB")], *SKIPS),
    ("index_of_very_long_lines", BLOB, [("return longest > INDEX_LINE_MAX ||", "return longest > GIB ||")], *SKIPS),
    ("index_of_binaries", BLOB, [("if (content.size && memchr(content.bytes, 0, content.size)) {", "if (content.size && content.bytes[0] == 0) {")], *SKIPS),
    ("index_of_words_that_are_secrets", WORKERS, [("return !tagger_knows(language) ||", "return 0 ||")], *SKIPS),
    ("index_of_words_of_shells", WORKERS, [('strcmp(language->name, "Bash") == 0', 'strcmp(language->name, "Lash") == 0')], *SKIPS),
    ("index_one_content_for_two_languages", BLOB, [('return text_of(language ? language->name : "");', 'return text_of(language ? "C" : "");')], *ONCE),
    ("index_counts_overflow", BLOB, [("(char)(count > 255 ? 255 : count)", "(char)count")], "test_index", "test_search_over_words"),
    ("index_leaves_out_unused_definitions", BLOB, [("use_put(u, tags->definitions[i].name, 0);", "use_put(u, tags->definitions[i].name, 1);")], "test_index", "test_search_over_words"),
    # The bound.
    ("index_keeps_what_no_tree_has_to_the_floor", "base/limits.h", [("#define INDEX_UNUSED_FLOOR (4 * MIB)", "#define INDEX_UNUSED_FLOOR (64 * MIB)")], *BOUND),
    ("index_of_small_trees_has_no_room", "base/limits.h", [("#define INDEX_DATABASE_FLOOR (64 * MIB)", "#define INDEX_DATABASE_FLOOR (4 * MIB)")], "test_index_bound", "a_small_tree_has_room"),
    ("index_grows_without_bound", BLOB, [("fill != FILL_SPARE && n_unused) {", "fill != FILL_SPARE && n_unused && 0) {")], *BOUND),
    ("index_drops_the_newest", DATABASE, [('" ORDER BY used, id LIMIT ?1"', '" ORDER BY used DESC, id LIMIT ?1"')], *BOUND),
    ("index_keeps_dropped_words", BLOB, [("status code = words_drop(x, blob, err);", "status code = 0 ? words_drop(x, blob, err) : OK;")], *BOUND),
    ("index_gives_no_page_back", BLOB, [("return code == OK ? shrink(x, err) : code;", "return code == OK && 0 ? shrink(x, err) : code;")], *BOUND),
    ("index_of_files_grows_without_bound", BLOB, [("*room = fill == FILL_SPARE || (fill == FILL_NEAR && !spare);", "*room = spare || fill < 9;")], "test_index_bound", "contents_in_use_are_bounded"),
    ("index_left_out_is_for_ever", INDEX, [("(blob->state != BLOB_FULL || !u->room)", "(blob->state != BLOB_FULL || u->x)")], "test_index_bound", "contents_in_use_are_bounded"),
    ("index_leaves_out_what_is_saved", INDEX, [("u->room = x->unbounded = true;", "u->room = true;")], "test_index_bound", "contents_in_use_are_bounded"),
    ("index_has_no_room_for_others", BLOB, [("bool due = fill == FILL_OVER || wanted;", "bool due = fill == FILL_OVER || (wanted && fill > 9);")], "test_index_bound", "contents_in_use_are_bounded"),
    ("index_of_any_size", BLOB, [("    if (bound > x->max_bytes || x->unbounded) bound = x->max_bytes;\n", "")], "test_index_bound", "the_largest_database"),
    ("index_evicts_too_late", BLOB, [("fill == FILL_OVER && x->n_left >= INDEX_LEFT_MIN", "fill == FILL_OVER && x->n_left >= SIZE_MAX")], "test_index_bound", "the_largest_database"),
    ("index_of_tiny_files_is_as_tiny", BLOB, [("return size_bytes > INDEX_SOURCE_MIN ? size_bytes : INDEX_SOURCE_MIN;", "return size_bytes;")], "test_index_bound", "what_the_source_counts_as"),
    ("index_of_bare_files_counts_nothing", INDEX, [("u->x->source_bytes += source_bytes_of(j->content.size)", "u->x->source_bytes += 0 * source_bytes_of(j->content.size) + INDEX_SOURCE_MIN")], "test_index_bound", "what_the_source_counts_as"),
    ("index_counts_one_tree_only", BLOB, [("if ((uint64_t)source > x->source_bytes) x->source_bytes = (uint64_t)source;", "")], "test_index_bound", "contents_of_all_trees_count"),
    # Damage.
    ("index_of_another_program", DATABASE, [("(application == APPLICATION_ID && version", "(version")], *DAMAGE),
    ("index_of_another_version", DATABASE, [(" && version == SCHEMA_VERSION)) return code;", ")) return code;")], *DAMAGE),
    ("index_damage_is_not_looked_for", DATABASE, [("bytes > CHECKED_MAX) return", "bytes > 0) return")], *DAMAGE),
    ("index_behind_a_link", DATABASE, [("SQLITE_OPEN_CREATE | SQLITE_OPEN_NOFOLLOW", "SQLITE_OPEN_CREATE")], "test_index", "test_a_link_is_no_database"),
    ("index_lock_behind_a_link", DATABASE, [("O_CLOEXEC | O_NOFOLLOW, 0600", "O_CLOEXEC, 0600")], "test_index", "test_a_link_is_no_lock"),
    ("index_journal_goes_last", DATABASE, [('{"-wal", "-shm", ""}', '{"", "-wal", "-shm"}')], "test_index", "a_journal_goes_before_its_database"),
    ("index_states_there_are_not", BLOB, [("if (state >= 0 && state < N_BLOB_STATES) return OK;", "if (state >= 0) return OK;")], *ROWS),
    # One file at a time, and what comes first.
    ("index_opened_waits_for_the_order", INDEX, [("while (code == OK && u->x->opened &&", "while (0 && u->x->opened &&")], *OPENED),
    ("index_near_counts_twice", INDEX, [("} else if (f && !u->seen[i]) {", "} else if (f) {")], *OPENED),
    ("index_near_is_everything", NEAR, [("*n = list->n < NEAR_MAX ? list->n : NEAR_MAX;", "*n = list->n < NEAR_MAX ? list->n : NEAR_MAX / 2;")], *OPENED),
    ("index_near_without_imports", NEAR, [("        score += OF_STEM;", "        score += 0;")], *OPENED),
    ("index_near_without_neighbours", NEAR, [("score += BESIDE;", "score += 0;"), ("size_t score = common < BESIDE ? common : BESIDE - 1;", "size_t score = 0 * common;")], *OPENED),
    ("index_saved_waits_for_all", FOLLOW, [("    if (f->n_pending && !f->ended) update_pending(f);", "    if (0) update_pending(f);")], "repository_context.test.js", "what is saved while"),
    ("index_opened_is_not_heard", FOLLOW, [("        opened_take(f, argument);\n", "        if (f->ended) opened_take(f, argument);\n")], "repository_context.test.js", "what is opened while"),
    ("index_open_waits_for_who_writes", DATABASE, [("if (code != OK || !empty) return code;", "if (code != OK) return code;")], *BUSY),
    ("index_open_writes", DATABASE, [("if (code == OK && empty) code = execute(x, \"PRAGMA auto_vacuum", "if (code == OK) code = execute(x, \"PRAGMA auto_vacuum")], *BUSY),
    ("index_of_a_part_is_not_told", "lsp/cli/gather.c", [("g->partial = code == ERR_CANCELLED;", "g->partial = false;")], *BUSY),
    ("index_stays_behind_its_editor", FOLLOW, [("    if (f->ended) uv_stop(&f->loop); /* the", "    if (0) uv_stop(&f->loop); /* the")], "repository_context.test.js", "an indexer ends with its editor"),
    # The past.
    ("past_of_merges", HISTORY, [("        if (n_parents < 2)\n", "        if (n_parents < 9)\n")], *MAPS),
    ("past_of_secrets", HISTORY, [("if (exclude_reason(paths[i])) continue;", "if (0 && exclude_reason(paths[i])) continue;")], *MAPS),
    ("past_without_end", HISTORY, [("if (code == OK) code = index_run(p->x, SQL_WITH(p->x, SQL_COMMITS_PRUNE, kept), p->err);", "(void)kept;")], *MAPS),
    ("past_of_paths_without_end", HISTORY, [("if (code == OK) code = index_run(p->x, SQL(p->x, SQL_PATHS_PRUNE), p->err);", "")], *MAPS),
    ("past_is_never_read_again", HISTORY, [("if (code != OK || known) return code;", "if (code != OK || known || p.x) return code;")], *MAPS),
    # The map.
    ("map_of_a_file_by_itself", MAP, [("if (to == at) return OK;", "if (0) return OK;")], *MAPS),
    ("map_sees_everything", MAP, [("n_seen ? (float)seen[i] / (float)n_seen : UNSEEN", "0 ? (float)seen[i] / (float)n_seen : UNSEEN")], *MAPS),
    ("map_of_all_languages_at_once", MAP, [("static uint8_t family_of(text name)\n{\n", "static uint8_t family_of(text name)\n{\n    if (name.size) return 9;\n")], *MAPS),
    ("map_shows_bodies", MAP, [("flow += d->flow;\n            if (declares != best_declares ? declares", "flow += d->flow;\n            if (0 && best_declares ? declares")], *MAPS),
    ("map_of_uses_not_ranks", MAP, [("n->rank * (double)e->weight / n->weight", "(double)e->weight")], *MAPS),
    ("map_moves_with_every_head", MAP, [("bool whole = !mark.exists || much;", "bool whole = 1 || much;")], *MAPS),
    ("map_never_moves", MAP, [("bool whole = !mark.exists || much;", "bool whole = !mark.exists;")], *MAPS),
    ("map_of_what_is_gone", MAP, [("if (sqlite3_column_bytes(s, 3) == 0) continue;", "")], *MAPS),
    # Lists of files.
    ("list_vouches_for_files_as_old_as_the_index", LIST, [("return older && S_ISREG(e->mode)", "return (older || 1) && S_ISREG(e->mode)")], *REPOSITORY),
    ("list_vouches_for_changed_files", LIST, [("e->file_size == (uint32_t)st->st_size &&", "e->file_size < 4096 &&"),
                                             ("e->mtime.seconds == (int32_t)st->st_mtim.tv_sec &&", "e->mtime.seconds &&"),
                                             ("e->mtime.nanoseconds == (uint32_t)st->st_mtim.tv_nsec &&", ""),
                                             ("e->ctime.seconds == (int32_t)st->st_ctim.tv_sec &&", ""),
                                             ("e->ctime.nanoseconds == (uint32_t)st->st_ctim.tv_nsec && ", "")], *REPOSITORY),
    ("list_without_rules_lists_all", LIST, [("return here->unruled || git_ignore", "return (0 && here->unruled) || git_ignore")], *REPOSITORY),
    ("list_of_large_attribute_files", LIST, [("!= OK ||\n                 text_find(", "== OK &&\n                 text_find(")], *REPOSITORY),
    ("list_of_attributes_in_folders", LIST, [("        here->attributed = true;\n}", "        here->attributed = here->attributed;\n}")], *REPOSITORY),
    ("list_of_attributes_elsewhere", LIST, [('bool found = mentions(AT_FDCWD, path) ||', 'bool found = 0 ||')], *REPOSITORY),
    ("list_of_other_programs_data", LIST, [('{".git", ".hg", ".svn"}', '{".git", ".it", ".in"}')], *REPOSITORY),
    ("list_of_gits_own_data", LIST, [('{".git", ".hg", ".svn"}', '{".gut", ".hg", ".svn"}')], *REPOSITORY),
    ("list_of_modules_of_others", LIST, [('{"node_modules",', '{"no_modules",')], *REPOSITORY),
    ("list_of_any_depth", LIST, [("here.depth < REPOSITORY_DEPTH_MAX", "here.depth < 1000")], *REPOSITORY),
    ("list_of_a_folder_within_itself", LIST, [("if (outer->device == st->st_dev && outer->inode", "if (0 && outer->inode")], *REPOSITORY),
    ("list_of_files_without_end", LIST, [("if (out->n == REPOSITORY_FILES_MAX) {", "if (out->n == 2 * REPOSITORY_FILES_MAX) {")], *REPOSITORY),
    ("list_of_a_commit_goes_on_without_end", LIST, [("if (w->out->truncated || walk_go_on(w) != OK) return -1;", "if (walk_go_on(w) != OK) return -1;")], *REPOSITORY),
    ("list_of_too_many_is_none", LIST, [("else if (!walked && !w->out->truncated)", "else if (!walked)")], *REPOSITORY),
    ("list_goes_on_though_nobody_waits", LIST, [("if (!asks || w->r->go_on", "if (1 || !asks || w->r->go_on")], *REPOSITORY),
    ("list_of_one_asks_whether_to_go_on", LIST, [("w->r->go_on && w->only.size == 0 &&", "w->r->go_on &&")], *REPOSITORY),
    ("list_of_a_commit_that_is_cancelled_is_an_error", LIST, [("    if (w->cancelled)\n", "    if (w->cancelled && 0)\n")], *REPOSITORY),
    ("index_lists_though_nobody_waits", INDEX, [("    repository_set_go_on(r, goes_on, &u);\n", "")], "test_index", "an_update_ends_while_it_lists"),
    ("index_loads_though_nobody_waits", INDEX, [("% KNOWN_BETWEEN == 0 && !goes_on(u)", "% KNOWN_BETWEEN == 0 && 0")], "test_index", "an_update_ends_while_it_lists"),
    ("list_of_a_commit_of_any_depth", LIST, [("depth_of(folder) + 1 >= REPOSITORY_DEPTH_MAX", "depth_of(folder) + 1 >= 1000")], *REPOSITORY),
    ("list_misses_what_is_tracked_but_ignored", LIST, [("if (!tracked && is_ignored(w, outer)) return OK;", "if ((!tracked || 1) && is_ignored(w, outer)) return OK;")], *REPOSITORY),
    ("list_of_nested_repositories", LIST, [('fstatat(fd, ".git", &st, AT_SYMLINK_NOFOLLOW) == 0);', 'fstatat(fd, ".got", &st, AT_SYMLINK_NOFOLLOW) == 0);')], *REPOSITORY),
    ("list_of_links_of_a_commit", LIST, [("if (mode != GIT_FILEMODE_BLOB && mode", "if (mode != GIT_FILEMODE_BLOB && mode != GIT_FILEMODE_LINK && mode")], *REPOSITORY),
    ("list_of_a_commit_without_attributes", LIST, [('".gitattributes") == 0) w->has_attributes = true;', '".gotattributes") == 0) w->has_attributes = true;')], *REPOSITORY),
    ("list_does_not_see_links_move", LIST, [("text_hash((text){target, n > 0 ? (size_t)n : 0})", "n > 0")], *REPOSITORY),
    ("list_of_one_in_folders_only", LIST, [("S_ISDIR(st.st_mode) == is_last)", "(0 && S_ISDIR(st.st_mode) == is_last))")], "test_index", "single_files_are_updated"),
    # Links of open documents.
    ("link_may_lead_elsewhere_unseen", JUDGE, [("(!replaced && (!c->linked || typed))) return;", "(!replaced || (typed && 0))) return;")], "exclusion.test.js", "a link that leads to a secret"),
    ("text_of_another_file_is_not_judged", JUDGE, [("(!replaced && (!c->linked || typed))) return;", "(!c->linked || (replaced && typed))) return;")], "exclusion.test.js", "a file that becomes a link"),
    ("text_of_another_file_is_judged_late", JUDGE, [("    c->again = true;\n", "")], "exclusion.test.js", "a file that becomes a link"),
    # Exclusion by name.
    ("exclude_without_the_users_patterns", EXCLUDE, [('return user_excludes(copy) ? "the user excludes it" : NULL;', 'return 0 && user_excludes(copy) ? "the user excludes it" : NULL;')], *NAMES),
    ("exclude_too_long_a_list_is_none", EXCLUDE, [("bool matched = globs_too_long;", "bool matched = 0;")], *NAMES),
    ("exclude_too_long_a_path_is_fine", EXCLUDE, [("if (path.size >= sizeof copy) return \"its path is too long to be judged\";", "if (path.size >= sizeof copy) return NULL;")], *NAMES),
    ("exclude_up_to_a_nul", EXCLUDE, [('if (strlen(copy) != path.size) return "its path holds a NUL";', "")], *NAMES),
    ("exclude_not_by_keys_in_names", EXCLUDE, [("if (secret_key_find(path, 0, &at, &end))", "if (0 && secret_key_find(path, 0, &at, &end))")], *NAMES),
    ("exclude_by_case", EXCLUDE, [("path_end(path, n_parts), FNM_CASEFOLD)", "path_end(path, n_parts), 0)")], *NAMES),
    ("exclude_ends_by_case", EXCLUDE, [("tolower((unsigned char)path[n_path - i]))", "(unsigned char)path[n_path - i])")], *NAMES),
    ("exclude_ends_before_stars", EXCLUDE, [('!strchr("*?]", pattern[n_pattern - i])', '!strchr("?]", pattern[n_pattern - i])')], *NAMES),
    ("exclude_folders_by_case", EXCLUDE, [("strncasecmp(path, name, n) == 0", "strncmp(path, name, n) == 0")], *NAMES),
    ("exclude_parts_of_folders", EXCLUDE, [("(size_t)(end - path) == n &&", "(size_t)(end - path) >= n &&")], *NAMES),
    ("exclude_only_names", EXCLUDE, [("n_parts += *c == '/';", "n_parts += 0;")], *NAMES),
    ("exclude_no_folders_of_the_user", EXCLUDE, [("below[n] = pattern[n - 1] == '/' ? '*' : 0;", "below[n] = 0;")], *NAMES),
    ("exclude_only_whole_paths_of_the_user", EXCLUDE, [("at; at = strchr(at, '/'), at = at ? at + 1 : NULL)", "at; at = NULL)")], *NAMES),
    # What a file defines.
    ("tags_of_headers_are_all_cs", BLOB, [("language = language_of_content(language, path, content);", "language = language ? language : language_of_content(language, path, content);")], "test_index", "test_other_kinds"),
    ("tags_of_headers_with_prose", "context/language.c", [('return rest.size ? strchr("{:;", rest.bytes[0]) != NULL : n > 0;', "return rest.size || n > 0;")], "test_syntax", None),
    ("tags_of_headers_of_the_system", "context/language.c", [("!memchr(line.bytes, '.', line.size) &&", "1 &&")], "test_syntax", None),
    ("tags_of_export_macros", "context/tags.c", [("if (tags_source(&r->plain, language, content)) r->source", "if (tags_source(&r->plain, language, content) && 0) r->source")], "test_tags", None),
    ("tags_of_uses_of_a_struct", "context/tags_source.c", [("(strchr(\":{\", t.bytes[behind]) || text_is(next, \"final\"))", "(t.bytes[behind] == ':' || next.size < 99)")], "test_tags", None),
    ("tags_of_exported_functions", "context/tags_source.c", [("if (h.n_capitals) blank_in_head(b, &h);", "if (h.n_capitals > 99) blank_in_head(b, &h);")], "test_tags", None),
    ("tags_of_types_in_capitals", "context/tags_source.c", [("bool keep = h->n_types == 0 &&", "bool keep = h->n_types > 99 &&")], "test_tags", None),
    ("tags_of_constructors_said_to_be_inline", "context/tags_source.c", [("!is_constructor(h, b->content) &&", "!(is_constructor(h, b->content) && 0) &&")], "test_tags", None),
    ("tags_of_scopes_taken_for_types", "context/tags_source.c", [("!w->capitals && !outer &&", "!w->capitals && (!outer || h->n) &&")], "test_tags", None),
    ("tags_of_constructors_that_set_fields", "context/tags_source.c", [("!(b->has_constructors && has_initialisers(", "!(0 && has_initialisers(")], "test_tags", None),
    ("tags_of_explicit_constructors", "context/tags_source.c", [('"virtual",', '"explicit",')], "test_tags", None),
    ("tags_of_what_throws_nothing", "context/tags_source.c", [("            blank_in_front_of_body(b, &h);\n", "            (void)blank_in_front_of_body;\n")], "test_tags", None),
    ("tags_of_macros_on_lines", "context/tags_source.c", [("        blank_line(b, at, &h);\n", "        (void)blank_line;\n")], "test_tags", None),
    ("tags_of_macros_on_the_next_line", "context/tags_source.c", [("b->any ? buffer_text(b->out) : t", "t")], "test_tags", None),
    ("tags_of_the_only_constant", "context/tags_source.c", [('TEXT("enum"), 0) == SIZE_MAX;', 'TEXT("enum"), 0) != 77;')], "test_tags", None),
    ("tags_of_the_last_constant", "context/tags_source.c", [('if (strchr(";}):", t.bytes[at - 1])) return true;', 'if (strchr(";}):,", t.bytes[at - 1])) return true;')], "test_tags", None),
    ("tags_of_types_on_lines", "context/tags_source.c", [("bool type = h->is_head && h->n_types == 0 && !b->has_constructors;", "bool type = h->is_head && 0;")], "test_tags", None),
    ("tags_of_heads_of_blocks", "context/tags_source.c", [("if (t.bytes[next] != '{' && !(alone", "if (!(alone")], "test_tags", None),
    ("tags_of_lines_that_look_back_for_ever", "context/tags_source.c", [("size_t last = at > BEHIND_MAX ? at - BEHIND_MAX : 0;", "size_t last = at > INDEX_FILE_MAX ? at - BEHIND_MAX : 0;"), ("#include <string.h>\n", "#include <string.h>\n#include \"base/limits.h\"\n")], "test_tags", None),
    ("tags_behind_a_directive", "context/tags_source.c", [("return line.bytes[0] == '#' &&", "return line.bytes[0] == '?' &&")], "test_tags", None),
    ("tags_of_deep_names", "context/queries/cpp.scm", [("(function_declarator declarator: (qualified_identifier name: (qualified_identifier\n      name: (qualified_identifier name: [(identifier) (destructor_name)", "(function_declarator declarator: (qualified_identifier name: (qualified_identifier\n      name: (qualified_identifier name: [(destructor_name)")], "test_tags", None),
    # Secrets in text.
    ("secret_of_short_keys", SECRETS, [("run.size >= n + formats[i].n_min &&", "run.size >= n &&")], *SECRET),
    ("secret_of_words_like_keys", SECRETS, [("if (k.n_digits > 0 || (k.n_upper", "if (k.n_digits + 1 > 0 || (k.n_upper")], *SECRET),
    ("secret_behind_a_slash", SECRETS, [("if (slash) run.size =", "if (0 && slash) run.size =")], *NAMES),
    ("secret_of_random_is_not_seen", SECRETS, [("if (!is_key && !(quoted && is_random(run)) &&", "if (!is_key && !(quoted && is_random(run) && 0) &&")], *SECRET),
    ("secret_of_words_joined", SECRETS, [("k.bits > 4.2 &&\n           5 * k.n_changes > 2 * run.size;", "k.bits > 3.2;")], *SECRET),
    ("secret_of_hashes", SECRETS, [("return k.n_digits > 1 && k.n_upper > 1 &&", "return k.n_digits > 1 &&"), ("k.bits > 4.2 &&\n", "k.bits > 3.2 &&\n")], *SECRET),
    ("secret_of_harmless_words", SECRETS, [("if (text_is(value, harmless[i])) return false;", "(void)harmless;"), ("SURE_MIN = 6,", "SURE_MIN = 4,"), ("SURE_LETTERS_MIN = 10,", "SURE_LETTERS_MIN = 4,")], *SECRET),
    ("secret_of_references", SECRETS, [('if (value.size && strchr("$<{%&*", value.bytes[0])) return false;', "")], *SECRET),
    ("secret_of_expressions", SECRETS, [("if (k.n_digits == 0 || memchr(value.bytes, '(', value.size) ||", "if ((0 && k.n_digits == 0) || memchr(value.bytes, '(', value.size) ||")], *SECRET),
    ("secret_of_calls", SECRETS, [("memchr(value.bytes, '(', value.size) ||\n", "0 ||\n")], *SECRET),
    ("secret_in_headers", SECRETS, [("in_header(t, at, end) ||", "(0 && in_header(t, at, end)) ||")], *SECRET),
    ("secret_in_addresses", SECRETS, [("in_address(t, at, end) ||", "(0 && in_address(t, at, end)) ||")], *SECRET),
    ("secret_in_names_of_users", SECRETS, [("return memchr(user.bytes, ':', user.size) || (k.n_digits > 0 && user.size >= 12);", "return memchr(user.bytes, ':', user.size) || k.n_digits > 999;")], *SECRET),
    ("secret_blocks", SECRETS, [("(private_block(t, at, end) ||", "((0 && private_block(t, at, end)) ||")], *SECRET),
    ("secret_blocks_without_beginning", SECRETS, [("private_rest(t, at, end) ||", "(0 && private_rest(t, at, end)) ||")], *SECRET),
    ("secret_lines_of_blocks", SECRETS, [("&& !is_base64_line(t, at, to)) return", "&& !(0 && is_base64_line(t, at, to))) return")], *SECRET),
    ("secret_blocks_of_certificates", SECRETS, [('size_t word = text_find(line, TEXT("PRIVATE KEY"), 0);', 'size_t word = 0;')], *SECRET),
    ("secret_masks_line_ends", SECRETS, [("if (bytes[i] != '\\n' && bytes[i] != '\\r') bytes", "bytes")], *SECRET),
]


def table(path, pattern, prefix, test):
    """One fault for each row of a table of the source: the row is not there."""
    rows = re.findall(pattern, (ROOT / path).read_text(), re.M)
    assert len(rows) > 15, path
    return [(f"{prefix}_{i:02}", path, [(row, "")], *test) for i, row in enumerate(rows)]


FAULTS += table(SECRETS, r'^    \{".*", \d+\},\n', "secret_format", SECRET)
FAULTS += table(SECRETS, r'\{"[a-z_-]+", (?:true|false)\},?', "secret_name", SECRET)
FAULTS += table(EXCLUDE, r'^    \{".*", [a-zA-Z]+\},\n', "exclude_row", NAMES)
