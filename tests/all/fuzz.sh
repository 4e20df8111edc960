#!/bin/sh
# Every parser of bytes from outside against libFuzzer, from the seeds in tests/fuzz/seeds/NAME.txt
# (one input a line, escapes as in printf). FUZZ_SECONDS each (20). What it learnt is kept in
# BUILD/fuzz/corpus; an input that broke something is BUILD/fuzz/found/NAME-*.
set -u
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-build}
mkdir -p "$BUILD/fuzz/found"
home=$(cd "$BUILD/fuzz" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

if ! printf 'int LLVMFuzzerTestOneInput(const char *d, long n) { return d && n < 0; }' |
    clang -fsanitize=fuzzer,address -x c - -o "$work/probe" 2>/dev/null; then
    echo 'ok fuzz # SKIP clang without libFuzzer (libclang-rt-14-dev)'
    exit 0
fi
ln -sfn ../npm "$BUILD/fuzz/npm"
ln -sfn ../grammars "$BUILD/fuzz/grammars"
if ! env -u MAKEFLAGS -u MAKELEVEL nice make -j"$(nproc)" BUILD="$BUILD/fuzz" CC=clang OPTIMISE='-O1 -g' CFLAGS=-Wno-error \
    SANITIZE='-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined' fuzz \
    >"$home/make.log" 2>&1; then
    sed 's/^/# /' "$home/make.log" | tail -40
    echo 'not ok fuzz - the build failed'
    exit 1
fi

failed=0
for source in tests/fuzz/fuzz_*.c; do
    target=$(basename "$source" .c)
    name=${target#fuzz_}
    mkdir -p "$home/corpus/$name" "$work/$name"
    n=0
    while IFS= read -r line; do
        n=$((n + 1))
        printf "$line" >"$work/$name/$n"
    done <"tests/fuzz/seeds/$name.txt"
    if (cd "$work" && "$home/fuzz/$target" -max_total_time="${FUZZ_SECONDS:-20}" -max_len=4096 \
        -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 -artifact_prefix="$home/found/$name-" \
        "$home/corpus/$name" "$work/$name" </dev/null >"$home/$name.log" 2>&1); then
        echo "ok fuzz $name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$home/$name.log") inputs"
    else
        failed=1
        grep -v '^#[0-9]' "$home/$name.log" | tail -60 | sed 's/^/# /'
        echo "not ok fuzz $name - see $home/$name.log"
    fi
done
exit $failed
