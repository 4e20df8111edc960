/* How imports of every language lead to files, in a tree that has each of them. */
#include "context/imports.h"

#include "tests/unit/workspace.h"

static void imports_lead_to_files(void **state)
{
    (void)state;
    static const struct {
        const char *from, *module, *file; /* "": nothing in this tree */
    } rows[] = {
        {"src/a.c", "util/x.h", "util/x.h"},
        {"util/a.c", "x.h", "util/x.h"},
        {"src/a.c", "stdio.h", ""},
        {"web/app.ts", "./part", "web/part.ts"},
        {"web/app.ts", "./part.js", "web/part.ts"},
        {"web/app.ts", "./part.more", "web/part.more.ts"},
        {"web/app.ts", "../lib/tool.js", "lib/tool.js"},
        {"web/app.ts", "./widgets", "web/widgets/index.tsx"},
        {"web/app.ts", "react", ""},
        {"pkg/main.py", ".models", "pkg/models.py"},
        {"pkg/sub/m.py", "..models", "pkg/models.py"},
        {"tests/t.py", "pkg.models", "pkg/models.py"},
        {"tests/t.py", "pkg.sub", "pkg/sub/__init__.py"},
        {"tests/t.py", "os.path", ""},
        {"tests/t.py", "path", ""}, /* two files of that name, far away */
        {"deep/a/t.py", "path", "deep/a/path.py"},
        {"src/z.js", "tool", "lib/tool.js"}, /* the only one */
        {"cmd/main.go", "example.com/m/pkg/store", "pkg/store/store.go"},
        /* of more than two hundred files, and folders, with that name */
        {"cmd/main.go", "example.com/m/zz/util", "zz/util/util.go"},
        {"tests/t.py", "shop.zz.mould", "zz/mould.py"},
        {"src/main.rs", "crate::shape::circle::{Circle}", "src/shape/circle.rs"},
        {"a/Main.java", "com.shop.cart.Item", "com/shop/cart/Item.java"},
        {"a/Main.java", "java.util.List", ""},
        {"x.php", "App\\Base\\Model", "src/Base/Model.php"},
        {"bin/run.rb", "../ruby/shape", "ruby/shape.rb"},
        {"src/a.c", "../../../../etc/passwd", ""},
        {"src/a.c", "", ""},
    };
    repository *r;
    code_index *x;
    struct index_report report;
    arena a = {0};
    error err = {0};
    shell("mkdir -p im && cd im && git init -q && for f in util/x.h other/x.h web/part.ts "
          "web/part.more.ts lib/tool.js "
          "web/widgets/index.tsx pkg/models.py pkg/sub/B.py pkg/sub/__init__.py pkg/sub/m.py "
          "pkg/store/store.go "
          "src/shape/circle.rs src/shape/mod.rs com/shop/cart/Item.java com/other/Item.java "
          "src/Base/Model.php old/Model.php ruby/shape.rb deep/a/path.py deep/b/path.py; do "
          "mkdir -p $(dirname $f) && printf 'x %%s\\n' $f > $f; done && "
          "for d in $(seq 210) zz; do mkdir -p $d/util && echo $d > $d/util/util.go && "
          "echo $d > $d/mould.py; done");
    assert_int_equal(repository_open(&r, workspace_path("im"), &err), OK);
    assert_int_equal(index_open(&x, r, &err), OK);
    assert_int_equal(index_update(&report, x, r, NULL, NULL, &err), OK);
    int64_t tree;
    text root = text_of(repository_root(r));
    assert_int_equal(index_tree(&tree, x, root, &err), OK);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct index_files files;
        struct tag_import import = {.module = text_of(rows[i].module)};
        if (import_resolve(&files, &a, x, tree, text_of(rows[i].from), &import, 3, &err) != OK)
            fail_msg("%s", err.message);
        text first = files.n ? files.files[0].path : TEXT("");
        if (!text_is(first, rows[i].file))
            fail_msg("%s in %s: found \"%.*s\", expected \"%s\"", rows[i].module, rows[i].from,
                     (int)first.size, first.bytes, rows[i].file);
    }
    arena_reset(&a);
    index_close(x);
    repository_close(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(imports_lead_to_files),
    };
    return cmocka_run_group_tests(tests, workspace_make, workspace_remove);
}
