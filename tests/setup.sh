#!/bin/sh
# Installs what is missing: Debian packages by name, npm packages by lock file. Quick when nothing is.
# usage: setup.sh BUILD_DIR
set -eu
build=${1:-build}
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
mkdir -p "$build"

packages='build-essential pkg-config git ca-certificates libjansson-dev libgit2-dev libuv1-dev
libcurl4-openssl-dev libmicrohttpd-dev libgnutls28-dev libsqlite3-dev libcmocka-dev openssl python3 python3-numpy
python3-prometheus-client npm neovim'
# With --check also what `make check` needs.
[ "${2:-}" = --check ] && packages="$packages clang clang-format clang-tidy cppcheck"
# With --all also what `make test-all` needs: libFuzzer is in clang's runtime, chromium shows VS Code.
[ "${2:-}" = --all ] && packages="$packages clang libclang-rt-14-dev chromium"
# With --bench also what `make bench-context` needs.
[ "${2:-}" = --bench ] && packages="$packages universal-ctags"

missing=
for p in $packages; do
    # npm may have come with another Node than Debian's.
    [ "$p" = npm ] && command -v npm >/dev/null 2>&1 && continue
    dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
done
if [ -n "$missing" ]; then
    sudo=
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null 2>&1 ||
            { echo "setup: needs root or sudo to install:$missing" >&2; exit 1; }
        sudo=sudo
    fi
    echo "setup: installing$missing"
    $sudo apt-get update -qq >"$build/apt.log" 2>&1 || true
    # shellcheck disable=SC2086
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing \
        >>"$build/apt.log" 2>&1 || { tail -5 "$build/apt.log" >&2; exit 1; }
fi

# $1: folder with package.json and its lock, $2...: npm flags. Installed below BUILD/npm/, once per lock.
npm_install() {
    from=$1
    shift
    to=$build/npm/$(basename "$from")
    if [ -f "$to/.done" ] && cmp -s "$from/package-lock.json" "$to/package-lock.json"; then return; fi
    echo "setup: npm packages of $from"
    mkdir -p "$to"
    rm -f "$to/.done"
    cp "$from/package.json" "$from/package-lock.json" "$to/"
    (cd "$to" && # not "npm ci": it wants optional packages of other platforms in the lock
        npm install --no-save --ignore-scripts --no-audit --no-fund --loglevel=error "$@" >npm.log 2>&1) ||
        { head -20 "$to/npm.log" >&2; exit 1; }
    touch "$to/.done"
}
npm_install context/grammars --legacy-peer-deps
npm_install tests --omit=optional
if [ "${2:-}" = --vscode ]; then npm_install editors/vscode; fi
