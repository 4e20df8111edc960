#!/bin/sh
# llama.cpp's server of a later Debian suite, unpacked beside the system.
# usage: fetch_llama.sh SUITE DIRECTORY; prints the path of the program, exits 1 with a reason.
set -eu
mkdir -p "$2"
to=$(cd "$2" && pwd)
program=$to/llama-server

if [ -x "$program" ] && "$program" --version >/dev/null 2>&1; then
    echo "$program"
    exit 0
fi
fail() { echo "$*" >&2; exit 1; }
sh "$(dirname "$0")/fetch_debian.sh" "$1" "$to" llama.cpp

lib=$to/root/usr/lib/x86_64-linux-gnu
cpu=sse42
grep -q avx2 /proc/cpuinfo && cpu=haswell
backend=$(find "$lib" -name "libggml-cpu-$cpu.so" | head -1)
[ -n "$backend" ] || fail "the llama.cpp of $1 has no backend for this processor"
cat >"$program" <<EOF
#!/bin/sh
export GGML_BACKEND_PATH='$backend'
exec '$lib/ld-linux-x86-64.so.2' --library-path '$lib:$lib/llama:$lib/ggml' '$to/root/usr/bin/llama-server' "\$@"
EOF
chmod +x "$program"
"$program" --version >/dev/null 2>&1 || fail "the llama-server of $1 does not run here"
echo "$program"
