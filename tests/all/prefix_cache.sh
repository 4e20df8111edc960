#!/bin/sh
# A million random operations on the prefix cache beside its naive model, with a host tier, with hardly
# any and with none. PREFIX_CACHE_STEPS sets another number.
set -u
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-build}
steps=${PREFIX_CACHE_STEPS:-1000000}
if said=$(PREFIX_CACHE_STEPS="$steps" CMOCKA_MESSAGE_OUTPUT=STDOUT nice "$BUILD/tests/test_prefix_cache" 2>&1); then
    echo "ok prefix_cache: $steps random operations"
else
    echo "$said" | tail -60 | sed 's/^/# /'
    echo "not ok prefix_cache - the cache and its model differ"
    exit 1
fi
