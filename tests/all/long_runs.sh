#!/bin/sh
# The random tests of `make test` again, for as long as it takes to be sure: many more mixes of
# requests, steps of the prefix cache, requests of sixteen clients; a GPU that fails at each of its calls;
# messages of a client gone mad.
set -u
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-build}
export BUILD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
status=0

# $1: what, $2: VARIABLE=value, $3: the test program
long() {
    if env "$2" nice "$BUILD/tests/$3" >"$work/said" 2>&1; then
        sed 's/^/# /' "$work/said" | grep -v -e '\[' -e '^# *$'
        echo "ok $1 ($2)"
    else
        tail -40 "$work/said" | sed 's/^/# /'
        echo "not ok $1 ($2)"
        status=1
    fi
}

long 'logits are the same bits in any mix' DETERMINISM_MIXES=1000 test_determinism
long 'the prefix cache does what a list would' PREFIX_CACHE_STEPS=1000000 test_prefix_cache
long 'sixteen clients at once' LOAD_REQUESTS=1500 test_engine_load
long 'a GPU fails at each call of many rows' EVERY_CALL=1 test_cuda_life
long 'a GPU fails at each call of an engine' EVERY_CALL=1 test_cuda_engine
for seed in 1 2 3; do
    STORM_MESSAGES=15000 SEED=$seed python3 tests/run.py --tap --build "$BUILD" --timeout 900 protocol_storm || status=1
done
exit $status
