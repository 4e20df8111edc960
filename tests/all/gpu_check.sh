#!/bin/sh
# What a bare GPU machine is asked, executed on the host: built without make and without any library of
# ours, with the stand-in for cmocka; then the same script where there is no GPU. TAP.
cd "$(dirname "$0")/../.." || exit 1
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
n=0
check() { # check NAME COMMAND...: ok when the command is
    name=$1
    shift
    n=$((n + 1))
    if "$@" >"$out/log" 2>&1; then echo "ok $n - $name"; else
        echo "not ok $n - $name"
        sed 's/^/# /' "$out/log"
    fi
}
refused() { ! "$@" 2>&1 | tee "$out/words" | grep -qv 'no GPU here' && [ -s "$out/words" ]; }

check "wrappers, products and bench by the script" \
    python3 tests/cuda/gpu_check.py --emulate --out "$out/run" wrappers products bench-int4-quick
check "the summary names every part" \
    sh -c "grep -q '^wrappers *ok' $out/run/summary.txt && grep -q '^products *ok' $out/run/summary.txt &&
           grep -q '^bench-int4-quick *ok.*cells measured' $out/run/summary.txt"
check "a second call has nothing to do" \
    sh -c "python3 tests/cuda/gpu_check.py --emulate --out $out/run wrappers products | grep -qv 'wrappers \.\.\.'"
# Told to end in the middle of a part: what was finished has been brought home, and it is said what was not.
told_to_end() {
    python3 tests/cuda/gpu_check.py --emulate --out "$out/ended" --copy "$out/home" wrappers products &
    script=$!
    for _ in $(seq 600); do
        [ -s "$out/ended/products.log" ] && break
        sleep 0.1
    done
    kill -TERM $script
    ! wait $script && grep -q '^wrappers *ok' "$out/home/summary.txt" && grep -q '^products *cut off' "$out/home/summary.txt"
}
check "told to end: finished parts are at home" told_to_end
check "and their logs" sh -c "tar -tzf $out/home/all.tar.gz | grep -q wrappers.log"
# A GPU whose memory is taken: the part says so, the next one runs, what there is has been brought home.
no_memory() {
    printf memory >"$out/emulated-gpu"
    ! XDG_RUNTIME_DIR=$out python3 tests/cuda/gpu_check.py --emulate --out "$out/full" --copy "$out/full-home" \
        bench-int4-quick bench-fp8 && grep -c 'failed (exit 1).*0 cells measured; cuda: .*out of memory' \
        "$out/full-home/summary.txt" | grep -qx 2
}
check "no memory: said of each part" no_memory
# A program that is not there, one whose first test hangs, one that dies: each is said, none stops another, and
# what comes home are few files.
printf '#!/bin/sh\ncase $1 in --list) echo a b ;; a) sleep 60 ;; esac\n' >"$out/hangs"
chmod +x "$out/hangs"
trouble() {
    python3 - "$out" <<'END'
import argparse, pathlib, sys
sys.path.insert(0, "tests/cuda")
import gpu_check as g
out = pathlib.Path(sys.argv[1])
o = argparse.Namespace(out=out / "trouble", copy=out / "few", emulate=True)
o.out.mkdir()
g.EACH_S = 2
ends = g.run("x", [["/none", g.EACH], [str(out / "hangs"), g.EACH], ["sh", "-c", "kill -9 $$"], ["true"]], 30, o)["all"]
assert ends == ["not there", "cut off", "ok", "failed (SIGKILL)", "ok"], ends
g.keep({"x": g.run("x", [["true"]], 5, o)}, o)
END
    [ "$(ls "$out/few" | tr '\n' ' ')" = "all.tar.gz summary.txt " ] && tar -tzf "$out/few/all.tar.gz" | grep -q x.log
}
check "programs that are missing, hang or die" trouble
check "without the vendor's checker: a line" sh -c "COMPUTE_SANITIZER=/none python3 tests/cuda/gpu_check.py --emulate \
    --out $out/run memcheck | grep -q 'memcheck skipped: /none is no program'"
# Words of ptxas; the first kernel spills nothing.
spill_refused() {
    for spilled in 0 12; do
        echo "ptxas info    : Compiling entry function '_Z1f$spilled' for 'sm_90a'"
        echo "    $spilled bytes stack frame, $spilled bytes spill stores, 0 bytes spill loads"
        echo 'ptxas info    : Used 40 registers, used 1 barriers, 32 bytes smem'
    done >"$out/ptxas"
    head -3 "$out/ptxas" >"$out/fine"
    python3 kernels/cuda/resources.py check "$out/fine" &&
        ! python3 kernels/cuda/resources.py check "$out/ptxas" >"$out/words" 2>&1 &&
        grep -q 'f12 for sm_90a: 12 bytes spilled with 40 registers' "$out/words" && [ "$(wc -l <"$out/words")" = 1 ]
}
check "a kernel that spills fails the build" spill_refused
serial_refused() {
    echo "ptxas info    : (C7514) Potential Performance Loss: wgmma.mma_async instructions are serialized due to x in '_Z1f'" \
        >>"$out/fine"
    ! python3 kernels/cuda/resources.py check "$out/fine" >"$out/words" 2>&1 && grep -q 'serialized due to x' "$out/words"
}
check "so does one whose products wait for each other" serial_refused
if ! command -v nvidia-smi >/dev/null; then
    check "without a GPU: one line" refused python3 tests/cuda/gpu_check.py --out "$out/none"
fi
echo "1..$n"
