/* What the index's database may take, and what it leaves out, or gives up, to keep to that. */
#include "tests/unit/support/index_rig.h"

#include "base/limits.h"

/* The index of `name` under bounds of its own: one report, and one file saved first, if any. */
static struct index_report update_bound(const char *name, size_t floor, size_t most, text saved)
{
    repository *r;
    code_index *x;
    bool changed;
    struct index_report report = {0};
    error err = {0};
    assert_int_equal(repository_open(&r, workspace_path(name), &err), OK);
    assert_int_equal(index_open(&x, r, &err), OK);
    index_set_bounds(x, floor, most);
    status code = saved.size ? index_update_file(&changed, x, r, saved, &err)
                             : index_update(&report, x, r, NULL, NULL, &err);
    if (code != OK) fail_msg("%s", err.message);
    index_close(x);
    repository_close(r);
    return report;
}

/* Contents that no tree has are kept, until the database is over its bound. */
static void test_bound(void **state)
{
    (void)state;
    char database[512];
    shell("mkdir bound && cd bound && echo 'int kept;' > kept.c");
    for (int round = 0; round < 9; round++) {
        if (round == 8) { /* by what was written then, the newest would be the longest unused */
            database_of(database, "bound");
            change(database, "UPDATE blobs SET used = 1000 - id");
        }
        shell("cd bound && seq %d %d | sed 's/.*/name_&_of_some_length/' > big.txt", round * 100000,
              round * 100000 + 12000);
        struct index_report n = update("bound");
        assert_int_equal(n.n_files, 2);
        assert_true(n.database_bytes <= 4 * MIB);
    }
    database_of(database, "bound");
    assert_int_equal(ask(database, "SELECT count(*) FROM words('name_800007_of_some_length')"), 1);
    assert_int_equal(ask(database, "SELECT count(*) FROM words('name_7_of_some_length')"), 0);
    assert_int_equal(ask(database, "SELECT count(*) FROM uses WHERE names LIKE '%name_7_of%'"), 0);
    assert_true(ask(database, "SELECT count(*) FROM blobs") < 9);
    assert_int_equal(ask(database, "SELECT count(*) FROM words('name_600007_of_some_length')"), 0);
    assert_int_equal(ask(database, "SELECT count(*) FROM words('name_200007_of_some_length')"), 1);
    assert_true((size_t)ask(database, "SELECT page_count * page_size FROM pragma_page_count,"
                                      " pragma_page_size") <= 4 * MIB);
    check_find("bound", "kept", "kept.c:1: int kept\n");
    assert_true(ask(database, "SELECT count(*) FROM pragma_integrity_check"
                              " WHERE integrity_check = 'ok'") == 1);
}

/* 100 files of 1,000 declarations, 13,893 bytes each. What one of them says takes five times as much, which
 * is the grain of what fits. */
static void make_dense(const char *name)
{
    shell("mkdir %s && cd %s && for i in $(seq 100 199); do seq 1000 | sed \"s/.*/int f${i}_&;/\" >"
          " $i.c; done",
          name, name);
}

/* Contents that files have are bounded like others: the last ones are known by their paths, until there
 * is room, or somebody saves one. */
static void contents_in_use_are_bounded(void **state)
{
    (void)state;
    make_dense("dense");
    struct index_report n = update_bound("dense", 0, GIB, TEXT(""));
    size_t n_full = n.n_skipped[SKIP_FULL];
    assert_in_range(n_full, 20, 90);
    assert_int_equal(n.n_parsed + n_full, 100);
    assert_in_range(n.database_bytes, 900000, 105 * 13893);
    check_find("dense", "f100_7", "100.c:7: int f100_7\n");
    check_find("dense", "f199_7", "");
    /* nothing changes without a change */
    n = update_bound("dense", 0, GIB, TEXT(""));
    assert_int_equal(n.n_skipped[SKIP_FULL], n_full);
    assert_int_equal(n.n_parsed, 0);
    update_bound("dense", 0, GIB, TEXT("199.c"));
    check_find("dense", "f199_7", "199.c:7: int f199_7\n");
    /* files that are gone make room for others, once their contents are evicted */
    shell("cd dense && rm 10*.c && for i in $(seq 50); do : > large$i.txt; done");
    for (int i = 0; i < 3; i++) n = update_bound("dense", 0, GIB, TEXT(""));
    assert_in_range(n.n_skipped[SKIP_FULL], 1, n_full - 3);
    n = update_bound("dense", 64 * MIB, GIB, TEXT(""));
    assert_int_equal(n.n_skipped[SKIP_FULL], 0);
    check_find("dense", "f198_7", "198.c:7: int f198_7\n");
    check_update("dense", 0, 140, 0);
}

/* A file counts as a kilobyte at least: 400 of ten bytes have room for what they say. The files of a bare
 * repository count as they are read. */
static void what_the_source_counts_as(void **state)
{
    (void)state;
    shell("mkdir tiny && cd tiny && for i in $(seq 400); do echo \"int f$i;\" > $i.c; done");
    struct index_report n = update_bound("tiny", 0, GIB, TEXT(""));
    assert_int_equal(n.n_parsed, 400);
    assert_in_range(n.database_bytes, 200 * KIB, 400 * KIB);
    make_dense("packed");
    shell("cd packed && git init -q && git add . && git commit -qm x && git clone -q --bare ."
          " ../packed.git");
    n = update_bound("packed.git", 0, GIB, TEXT(""));
    assert_in_range(n.n_parsed, 8, 80);
    assert_in_range(n.database_bytes, 900000, 105 * 13893);
}

/* A small working tree beside a large one has the room that both have. */
static void contents_of_all_trees_count(void **state)
{
    (void)state;
    shell(
        "git init -q large && cd large && git commit -q --allow-empty -m x && git worktree add -q"
        " ../small && for i in $(seq 50); do yes \"one line of the file $i\" | head -1000 > $i.md;"
        " done && echo 'int other;' > ../small/a.c");
    struct index_report n = update_bound("large", 0, GIB, TEXT(""));
    assert_int_equal(n.n_parsed, 50);
    n = update_bound("small", 0, GIB, TEXT(""));
    assert_int_equal(n.n_parsed, 1);
    assert_int_equal(n.n_skipped[SKIP_FULL], 0);
}

/* A small tree of dense source has all that it says, however much more that is than the source. */
static void a_small_tree_has_room(void **state)
{
    (void)state;
    make_dense("small_dense");
    struct index_report n = update("small_dense");
    assert_int_equal(n.n_parsed, 100);
    assert_int_equal(n.n_skipped[SKIP_FULL], 0);
    assert_true(n.database_bytes > 4 * MIB);
}

/* Whatever the source may be, the database is no larger than that, and paths have their room. */
static void the_largest_database(void **state)
{
    (void)state;
    make_dense("most");
    struct index_report n = update_bound("most", GIB, 1536 * KIB, TEXT(""));
    assert_in_range(n.database_bytes, 1200 * KIB, 1536 * KIB);
    assert_in_range(n.n_skipped[SKIP_FULL], 20, 90);
    assert_int_equal(n.n_parsed + n.n_skipped[SKIP_FULL], 100);
    /* other contents take the place of those that no file has */
    shell(
        "cd most && rm 1[0-4]*.c && for i in $(seq 200 250); do seq 20 | sed \"s/.*/int f${i}_&;/\""
        " > $i.c; done");
    n = update_bound("most", GIB, 1536 * KIB, TEXT(""));
    assert_in_range(n.database_bytes, 200 * KIB, 1536 * KIB);
    check_find("most", "f250_7", "250.c:7: int f250_7\n");
    check_find("most", "f100_7", "");
}

int main(int argc, char **argv)
{
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bound),
        cmocka_unit_test(contents_in_use_are_bounded),
        cmocka_unit_test(what_the_source_counts_as),
        cmocka_unit_test(contents_of_all_trees_count),
        cmocka_unit_test(a_small_tree_has_room),
        cmocka_unit_test(the_largest_database),
    };
    return cmocka_run_group_tests(tests, workspace_make, workspace_remove);
}
