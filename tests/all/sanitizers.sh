#!/bin/sh
# The tests again where mistakes are not forgiven: with AddressSanitizer (leaks count) and
# UndefinedBehaviorSanitizer all C tests, the service and the language server; with ThreadSanitizer
# the engine, its scheduler and the service under many clients. A finding of any process, also of one
# that a test ended, is a failure. Build directories: BUILD/asan, BUILD/tsan; `sanitizers.sh asan`
# or `tsan` runs one of them.
set -u
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-build}
mkdir -p "$BUILD/asan/reports" "$BUILD/tsan/reports"
asan=$(cd "$BUILD/asan" && pwd) tsan=$(cd "$BUILD/tsan" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
status=0

not_ok() {
    status=1
    echo "not ok $*"
}

show() { tail -100 "$1" | sed 's/^/# /'; }

# $1: name of the build, $2: its flags, $3...: what to make. Packages and grammars are the build's.
# Warnings that depend on the optimiser are wrong behind instrumentation; other builds count them.
build() {
    name=$1 flags=$2
    shift 2
    ln -sfn ../npm "$BUILD/$name/npm"
    ln -sfn ../grammars "$BUILD/$name/grammars"
    rm -f "$BUILD/$name/reports/"*
    env -u MAKEFLAGS -u MAKELEVEL $prefix nice make -j"$(nproc)" BUILD="$BUILD/$name" SANITIZE="$flags" \
        CFLAGS=-Wno-error OPTIMISE='-O1 -g -fno-omit-frame-pointer' "$@" >"$BUILD/$name/make.log" 2>&1 && return 0
    show "$BUILD/$name/make.log"
    not_ok "sanitizers $name - the build failed"
    return 1
}

# $1: name of the build, $2...: which tests
run() {
    name=$1
    shift
    $prefix python3 tests/run.py --tap --build "$BUILD/$name" --timeout 600 "$@" || status=1
}

# $1: name of the build
findings() {
    for report in "$BUILD/$1/reports/"*; do
        [ -f "$report" ] || continue
        show "$report"
        not_ok "sanitizers $1 - $(grep -m1 -E 'SUMMARY|runtime error' "$report")"
    done
}

# A finding that nobody would see is none: what is looked for must be found in a program that has it.
# $1: what, $2: flags, $3: the program, $4: what the sanitizer says of it
finds() {
    printf '%s\n' "$3" | gcc $2 -g -x c - -o "$work/probe" 2>"$work/said" &&
        { $prefix "$work/probe" >"$work/said" 2>&1; grep -q "$4" "$work/said"; } && echo "ok finds $1" && return 0
    show "$work/said"
    not_ok "finds $1"
    return 1
}

run_asan() {
    flags='-fsanitize=address,undefined -fno-sanitize-recover=undefined'
    finds 'a leak' "$flags" '#include <stdlib.h>
int main(void) { void *volatile p = malloc(7); p = 0; return p != 0; }' 'LeakSanitizer: detected' || return
    finds 'an overflow' "$flags" 'int main(int n, char **v) { n += 0x7fffffff; return v ? n : 0; }' \
        'signed integer overflow' || return
    build asan "$flags" tests || return
    # Too large a size is NULL, as C has it, and no finding: our allocator relies on it.
    export ASAN_OPTIONS="allocator_may_return_null=1:log_path=$asan/reports/asan"
    export UBSAN_OPTIONS="print_stacktrace=1:log_path=$asan/reports/ubsan"
    run asan unit
    # One at a time: their watchdogs know no machine that is busy with kernels under a sanitizer.
    run asan --jobs 1 'node service' 'node team' 'node manager' 'node lsp_transcripts' 'node lsp_session'
    findings asan
    unset ASAN_OPTIONS UBSAN_OPTIONS
}

run_tsan() {
    # Kernels with many random bits in addresses map where ThreadSanitizer does not expect it.
    echo 'int main(void) { return 0; }' | gcc -fsanitize=thread -x c - -o "$work/probe" 2>"$work/said" &&
        "$work/probe" >"$work/said" 2>&1 ||
        { grep -q 'unexpected memory mapping' "$work/said" && prefix='setarch -R'; }
    finds 'a race' -fsanitize=thread '#include <pthread.h>
static int n;
static void *add(void *p) { n++; return p; }
int main(void) { pthread_t t; pthread_create(&t, 0, add, 0); n++; return pthread_join(t, 0); }' \
        'data race' || return
    build tsan -fsanitize=thread "$BUILD/tsan/dbrx-ls" "$BUILD/tsan/model/config.json" "$BUILD/tsan/random-model/config.json" tools \
        "$BUILD/tsan/tests/test_engine" "$BUILD/tsan/tests/test_engine_trouble" \
        "$BUILD/tsan/tests/test_engine_load" "$BUILD/tsan/tests/test_scheduler" || return
    export TSAN_OPTIONS="second_deadlock_stack=1:log_path=$tsan/reports/tsan"
    run tsan 'unit test_engine' 'unit test_scheduler'
    run tsan 'node service' 'node team' 'node manager'
    findings tsan
    unset TSAN_OPTIONS
}

# GPU kernels, whose threads are fibers that only barriers order: a missing barrier is seen, and none
# is missing. Emulated threads are slow here: the tests of operations stand for all.
run_kernels() {
    build tsan -fsanitize=thread "$BUILD/tsan/tests/test_cuda" "$BUILD/tsan/tests/test_cuda_products" \
        "$BUILD/tsan/tests/test_cuda_attention" "$BUILD/tsan/tests/test_cuda_graphs" \
        "$BUILD/tsan/tests/test_cuda_dense" "$BUILD/tsan/tests/test_cuda_emulator" || return
    $prefix "$BUILD/tsan/tests/test_cuda_emulator" a_missing_barrier_shows >"$work/said" 2>&1
    grep -q 'WARNING: ThreadSanitizer: data race' "$work/said" && echo 'ok finds a missing barrier of a kernel' ||
        not_ok 'finds a missing barrier of a kernel'
    for words in 'products few_entries' 'products plain' 'attention few_rows' 'attention many_rows' ' long_contexts' ' operations_on_tensor_cores' \
        ' operations_with_a_library' ' samples_as_the_host_does' 'graphs a_layer_is_ten_launches' \
        'graphs ranges_and_slices_are_kept_apart' 'dense who_multiplies'; do
        test=${words%% *} filter=${words#* }
        $prefix "$BUILD/tsan/tests/test_cuda${test:+_$test}" "$filter" >"$work/said" 2>&1 &&
            echo "ok tsan kernels $filter" || { show "$work/said"; not_ok "tsan kernels $filter"; }
    done
}

prefix=
case ${1:-both} in
asan) run_asan ;;
tsan)
    run_tsan
    run_kernels
    ;;
*)
    run_asan
    run_tsan
    run_kernels
    ;;
esac
exit $status
