#!/bin/sh
# The tests again where mistakes are not forgiven: with AddressSanitizer (leaks count) and
# UndefinedBehaviorSanitizer all C tests, the service and the language server; with ThreadSanitizer
# the engine, its scheduler and the service under many clients. A finding of any process, also of one
# that a test ended, is a failure. Build directories: BUILD/asan, BUILD/tsan; `sanitizers.sh asan`,
# `tsan` or `kernels` runs a part; kernels has a program of its own here, for it takes long.
set -u
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-build}
mkdir -p "$BUILD/asan" "$BUILD/tsan"
work=$(mktemp -d)
reports=$work/reports
mkdir "$reports"
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
status=0

not_ok() {
    status=1
    echo "not ok $*"
}

cflags=-Wno-error optimise='-O1 -g -fno-omit-frame-pointer'

show() { tail -100 "$1" | sed 's/^/# /'; }

# $1: name of the build, $2: its flags, $3...: what to make. Packages and grammars are the build's.
# Warnings that depend on the optimiser are wrong behind instrumentation; other builds count them. One
# make at a time: two programs of this folder may run at once.
build() {
    name=$1 flags=$2
    shift 2
    ln -sfn ../npm "$BUILD/$name/npm"
    ln -sfn ../grammars "$BUILD/$name/grammars"
    flock "$BUILD/$name" env -u MAKEFLAGS -u MAKELEVEL $prefix nice make -j"$(nproc)" BUILD="$BUILD/$name" \
        SANITIZE="$flags" CFLAGS="$cflags" OPTIMISE="$optimise" "$@" >"$work/make.log" 2>&1 && return 0
    show "$work/make.log"
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
    for report in "$reports"/*; do
        [ -f "$report" ] || continue
        show "$report"
        not_ok "sanitizers $1 - $(grep -m1 -E 'SUMMARY|runtime error' "$report")"
        rm "$report"
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
    export ASAN_OPTIONS="allocator_may_return_null=1:log_path=$reports/asan"
    export UBSAN_OPTIONS="print_stacktrace=1:log_path=$reports/ubsan"
    # Of each entry of a repository's settings that libgit2 1.5 compares it leaves some 20 KiB behind. A list
    # of what is no leak would count as a finding.
    echo 'leak:libpcre2-8' >"$work/known"
    export LSAN_OPTIONS="suppressions=$work/known:print_suppressions=0"
    run asan unit
    # One at a time: their watchdogs know no machine that is busy with kernels under a sanitizer.
    run asan --jobs 1 'node service' 'node team' 'node manager' 'node lsp_transcripts' 'node lsp_session' 'node protocol_storm' \
        'node completion' 'node typing' 'node guidance' 'node warm' 'node acceptance' 'node actions' 'node action_rules' 'node commit' \
        'node exclusion' 'node repository_context' 'node index'
    findings asan
    unset ASAN_OPTIONS UBSAN_OPTIONS LSAN_OPTIONS
}

# Whether ThreadSanitizer finds a race here.
tsan_works() {
    # Kernels with many random bits in addresses map where ThreadSanitizer does not expect it.
    echo 'int main(void) { return 0; }' | gcc -fsanitize=thread -x c - -o "$work/probe" 2>"$work/said" &&
        "$work/probe" >"$work/said" 2>&1 ||
        { grep -q 'unexpected memory mapping' "$work/said" && prefix='setarch -R'; }
    finds 'a race' -fsanitize=thread '#include <pthread.h>
static int n;
static void *add(void *p) { n++; return p; }
int main(void) { pthread_t t; pthread_create(&t, 0, add, 0); n++; return pthread_join(t, 0); }' \
        'data race'
}

run_tsan() {
    tsan_works || return
    build tsan -fsanitize=thread "$BUILD/tsan/dbrx-ls" "$BUILD/tsan/model/config.json" "$BUILD/tsan/random-model/config.json" tools \
        "$BUILD/tsan/tests/test_engine" "$BUILD/tsan/tests/test_engine_trouble" \
        "$BUILD/tsan/tests/test_engine_load" "$BUILD/tsan/tests/test_scheduler" || return
    export TSAN_OPTIONS="second_deadlock_stack=1:log_path=$reports/tsan"
    run tsan 'unit test_engine' 'unit test_scheduler'
    run tsan 'node service' 'node team' 'node manager'
    findings tsan
    unset TSAN_OPTIONS
}

# All tests of GPU kernels, whose threads are fibers that only barriers order: a missing barrier is seen,
# put into the kernels one by one, and none is missing. Emulated threads are slow here.
run_kernels() {
    tsan_works || return
    kernels=$(for t in tests/unit/test_cuda*.c; do echo "$BUILD/tsan/tests/$(basename "$t" .c)"; done)
    # shellcheck disable=SC2086
    build tsan -fsanitize=thread tools $kernels || return
    $prefix "$BUILD/tsan/tests/test_cuda_emulator" a_missing_barrier_shows >"$work/said" 2>&1
    for kernel in neighbour_kernel later_kernel; do
        grep -q "SUMMARY: ThreadSanitizer: data race .* in $kernel" "$work/said" &&
            echo "ok finds a missing barrier of $kernel" || not_ok "finds a missing barrier of $kernel"
    done
    # Kernels that break the rules: one was found above, others run in forked processes, where
    # ThreadSanitizer no longer hears what the main thread orders.
    echo 'race:broken.cu' >"$work/deliberate"
    export TSAN_OPTIONS="suppressions=$work/deliberate:log_path=$reports/tsan"
    run tsan 'unit test_cuda'
    findings tsan
    unset TSAN_OPTIONS
    BUILD="$BUILD/tsan" SANITIZE=-fsanitize=thread CFLAGS="$cflags" OPTIMISE="$optimise" nice $prefix \
        python3 tests/mutations.py --said 'WARNING: ThreadSanitizer: data race' cuda_barrier || status=1
}

prefix=
case ${1:-both} in
asan) run_asan ;;
tsan) run_tsan ;;
kernels) run_kernels ;;
*)
    run_asan
    run_tsan
    ;;
esac
exit $status
