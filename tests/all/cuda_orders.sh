#!/bin/sh
# Every GPU kernel again with its threads, warps, blocks and copies in each of the other orders: what a
# missing barrier or wait leaves to chance, and a sum whose order should be fixed. `make test` has them
# by turns; test_cuda fails where an order left a kernel out. TAP.
set -u
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-build}
said=$(mktemp)
trap 'rm -f "$said"' EXIT
trap 'exit 1' HUP INT TERM
status=0

for order in forward forward-late reverse reverse-late random-1 random-2-late random-3-late; do
    for test in '' _products _attention _dense _graphs _arrangements _life; do
        if EMULATOR_ORDER=$order nice "$BUILD/tests/test_cuda$test" >"$said" 2>&1; then
            echo "ok test_cuda$test $order"
        else
            status=1
            tail -40 "$said" | sed 's/^/# /'
            echo "not ok test_cuda$test $order"
        fi
    done
done
exit $status
