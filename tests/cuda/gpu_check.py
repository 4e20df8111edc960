#!/usr/bin/env python3
"""Everything that a machine with a GPU is asked, in parts that each have their own time, the most
telling first: build, wrappers alone (writes tests/cuda/wrappers.golden), products and attention alone, the
quick bench, all kernels beside the reference, the bench in full, the vendor's checkers, the bench of other
paths. A part that fails or is cut off stops no other, nor does a test the next one.

State and logs are kept in one folder after every part, and when the script is told to end, so a second
call goes on where the first was ended; --again repeats what has an answer. --copy is for machines that
hand back few files: summary, golden words, lines of benches and everything in one archive. Needs nvcc, gcc, g++ and
python3, nothing else. The vendor's checker is compute-sanitizer on the PATH, or what COMPUTE_SANITIZER
names, the program or its folder; without it these parts are skipped.

usage: gpu_check.py [--out DIR] [--copy DIR] [--budget-s N] [--again] [--emulate] [PART...]
"""
import argparse
import json
import os
import pathlib
import re
import shutil
import signal
import site
import subprocess
import sys
import tarfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
GOLDEN = ROOT / "tests/cuda/wrappers.golden"
PROGRAMS = ["test_cuda_wrappers", "test_cuda_layouts", "test_cuda", "test_cuda_arrangements", "test_cuda_products",
            "test_cuda_attention", "test_cuda_graphs", "test_cuda_large", "bench-cuda"]
# Small enough for a checker that makes kernels fifty times slower.
CHECKED = [("test_cuda_wrappers", "gpu_as_defined"), ("test_cuda", "forced_routes_are_taken"),
           ("test_cuda", "slot_takes_what_was_sampled"), ("test_cuda", "samples_as_the_host_does"),
           ("test_cuda", "operations_on_tensor_cores"), ("test_cuda", "operations_in_fp32"),
           ("test_cuda_graphs", "*"), ("test_cuda_products", "*"), ("test_cuda_attention", "*")]
LEFT = "LEFT"  # stands for the seconds after which a program should end by itself
EACH = "EACH"  # stands for each test of a program: a fault of the GPU poisons its process
EACH_S = 25  # a test that takes longer hangs
TOOLS = ["memcheck", "racecheck", "synccheck", "initcheck"]


class Ended(Exception):
    """The script was told to end."""


def checker():
    """compute-sanitizer, as it is called here."""
    named = os.environ.get("COMPUTE_SANITIZER", "")
    if named and os.path.isdir(named):
        named = os.path.join(named, "compute-sanitizer")
    return named or "compute-sanitizer"


def parts(o, programs):
    """(name, command, seconds). A command of several lists is run one after another."""
    def program(name, *arguments):
        return [str(programs / name), *arguments]

    def bench(format_, seconds, *more, variant=""):
        model = "tiny" if o.emulate else "dbrx"
        stem = f"bench-{format_}{'-quick' if '--quick' in more else ''}{'-' + variant if variant else ''}"
        command = program("bench-cuda", "--synthetic", model, "--format", format_, "--budget-s", LEFT,
                          "--lines", str(o.out / f"{stem}.jsonl"), *more)
        return (stem, [[*(["env", f"DBRX_CUDA={variant}"] if variant else []), *command]], seconds)

    found = [("device", [["nvidia-smi"], ["nvidia-smi", "-q", "-d", "CLOCK,POWER,ECC"], ["nvcc", "--version"]], 20),
             ("wrappers", [program("test_cuda_wrappers", EACH), program("test_cuda_layouts", EACH)], 40),
             ("products", [program("test_cuda_products", EACH)], 60),
             ("attention", [program("test_cuda_attention", EACH)], 60),
             bench("int4", 75, "--quick"), bench("fp8", 75, "--quick"),
             ("kernels", [program("test_cuda", EACH)], 120),
             ("graphs", [program("test_cuda_graphs", EACH)], 60),
             ("arrangements", [program("test_cuda_arrangements", EACH)], 40),
             ("large", [program("test_cuda_large", EACH)], 40),
             bench("fp8", 150), bench("int4", 150)]
    for tool in TOOLS:
        found.append((tool, [[checker(), "--tool", tool, "--error-exitcode", "9", "--print-limit", "20",
                              *program(*test)] for test in CHECKED], 60))
    # Without warpgroups, and without kernels that overlap: to be read beside them.
    found += [bench(f, 75, "--quick", variant=v) for v in ("tiles", "serial") for f in ("int4", "fp8")]
    return found


def library_places():
    """Where a Python package may have put cuBLASLt."""
    rooms = [*site.getsitepackages(), site.getusersitepackages(), *sys.path]
    found = [str(lib.parent) for room in rooms for lib in pathlib.Path(room).glob("nvidia/*/lib/libcublasLt.so.1*")]
    return list(dict.fromkeys(found))


def environment(o):
    env = dict(os.environ)
    env["LD_LIBRARY_PATH"] = ":".join(p for p in [env.get("LD_LIBRARY_PATH", ""), *library_places()] if p)
    env.pop("DBRX_CUDA_TEST", None)
    if not o.emulate:
        env["DBRX_CUDA_TEST"] = "gpu"
    return env


def one(command, log, seconds, env):
    """"ok", "failed (why)", "cut off", "not there"; the log grows as the program speaks."""
    log.write(f"$ {' '.join(command)}\n")
    log.flush()
    if not shutil.which(command[0]):
        return "not there"
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=subprocess.STDOUT,
                               stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        code = process.wait(timeout=seconds)
    except (subprocess.TimeoutExpired, Ended) as end:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if isinstance(end, Ended):
            raise
        return "cut off"
    if code < 0:
        return f"failed ({signal.Signals(-code).name})"
    return "ok" if code == 0 else f"failed (exit {code})"


def expanded(commands):
    """A command for each test where EACH is asked for."""
    found = []
    for command in commands:
        if command[-1] != EACH:
            found.append(command)
            continue
        try:
            listed = subprocess.run([*command[:-1], "--list"], text=True, capture_output=True, timeout=10).stdout
        except (OSError, subprocess.TimeoutExpired):
            listed = ""
        found += [[*command[:-1], test] for test in listed.split()] or [command[:-1]]
    return found


def run(name, commands, seconds, o):
    begun, ends = time.monotonic(), []
    with open(o.out / f"{name}.log", "w", encoding="utf-8") as log:
        for asked in commands:
            for command in expanded([asked]):
                left = begun + seconds - time.monotonic()
                if asked[-1] == EACH:
                    left = min(left, EACH_S)
                command = [str(max(int(left) - 15, 1)) if word == LEFT else word for word in command]
                end = one(command, log, left, environment(o)) if left > 1 else "cut off"
                log.write(f"= {end}\n")
                ends.append(end)
    worst = next((e for kind in ("failed", "cut off", "not there") for e in ends if e.startswith(kind)), "ok")
    return {"end": worst, "all": ends, "seconds": round(time.monotonic() - begun, 1), "at": time.strftime("%F %T")}


def facts(name, o):
    """What a log says in one line: failures first."""
    path = o.out / f"{name}.log"
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    failed = re.findall(r"^\[  FAILED  \] (\w+)$", text, re.M)
    failed += re.findall(r"^\$ \S+ (\w+)\n(?:(?!^[$=] ).*\n)*= (?:failed \(SIG|cut off)", text, re.M)
    errors = re.findall(r"ERROR SUMMARY: (\d+) error", text)
    passed = len(re.findall(r"^\[ +OK \]", text, re.M))
    said = []
    if failed:
        said.append("failed: " + ", ".join(dict.fromkeys(failed)))
    if passed:
        said.append(f"{passed} tests ok")
    if errors:
        said.append(f"{sum(map(int, errors))} errors in {len(errors)} runs of the checker")
    if name.startswith("bench"):
        lines = o.out / f"{name}.jsonl"
        rows = lines.read_text().splitlines() if lines.exists() else []
        said.append("%d cells measured" % sum('"measured": true' in row for row in rows))
        said += re.findall(r"^bench-cuda: (.*)$", text, re.M)  # why it ended
    return "; ".join(said)


def keep(state, o):
    """After every part: the summary, and a copy for whoever fetches results from elsewhere."""
    (o.out / "state.json").write_text(json.dumps(state, indent=1))
    rows = [f"{name:12} {s['end']:18} {s['seconds']:7.1f} s  {facts(name, o)}" for name, s in state.items()]
    (o.out / "summary.txt").write_text("\n".join(rows) + "\n")
    if GOLDEN.exists() and not o.emulate:
        shutil.copy(GOLDEN, o.out / GOLDEN.name)
    if o.copy:
        copy_few(o)


def copy_few(o):
    """What is read first as it is, everything in one archive; whole at any moment."""
    o.copy.mkdir(parents=True, exist_ok=True)
    for path in [o.out / "summary.txt", o.out / GOLDEN.name, *o.out.glob("bench-*.jsonl")]:
        if path.exists() and "-tiles" not in path.name and "-serial" not in path.name:
            shutil.copy(path, o.copy / path.name)
    part = o.copy / "all.tar.gz.part"
    with tarfile.open(part, "w:gz") as archive:
        for path in sorted(o.out.iterdir()):
            archive.add(path, path.name)
    part.rename(o.copy / "all.tar.gz")


def build(o, folder):
    """What was carried here is known by its hash and not built again."""
    flags = ["--emulate"] if o.emulate else []
    return [[sys.executable, "tests/cuda/gpu_build.py", "--dir", str(folder), *flags, *PROGRAMS]]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "build/gpu-check")
    parser.add_argument("--copy", type=pathlib.Path, help="copy results there after every part")
    parser.add_argument("--budget-s", type=float, default=840)
    parser.add_argument("--again", action="store_true", help="also parts that have an answer")
    parser.add_argument("--emulate", action="store_true", help="no GPU: everything on the host, tiny")
    parser.add_argument("parts", nargs="*")
    o = parser.parse_args()
    o.out = o.out.resolve()
    return o


def told_to_end(*_):
    raise Ended


def main():
    o = arguments()
    signal.signal(signal.SIGTERM, told_to_end)
    begun = time.monotonic()
    folder = ROOT / ("build/gpu-emulated" if o.emulate else "build/gpu")
    if not o.emulate and not shutil.which("nvidia-smi"):
        print("gpu-check: nvidia-smi is not on the PATH: no GPU here (--emulate runs it on the host)", file=sys.stderr)
        return 1
    o.out.mkdir(parents=True, exist_ok=True)
    known = o.out / "state.json"
    state = json.loads(known.read_text()) if known.exists() else {}
    for name, commands, seconds in [("build", build(o, folder), 400), *parts(o, folder)]:
        left = o.budget_s - (time.monotonic() - begun)
        if o.parts and name not in o.parts and name != "build":
            continue
        # The build costs nothing when all is there, and is never taken for granted.
        if name != "build" and not o.again and state.get(name, {}).get("end") == "ok":
            continue
        if left < 10:
            print(f"gpu-check: {name} and what follows: no time left")
            break
        if name in TOOLS and not shutil.which(checker()):
            print(f"gpu-check: {name} skipped: {checker()} is no program (COMPUTE_SANITIZER names another)")
            continue
        print(f"gpu-check: {name} ...", flush=True)
        try:
            state[name] = run(name, commands, min(seconds, left - 5), o)
        except Ended:
            state[name] = {"end": "cut off", "all": [], "seconds": 0.0, "at": time.strftime("%F %T")}
            keep(state, o)
            print(f"gpu-check: {name} and what follows: told to end", flush=True)
            return 1
        print(f"gpu-check: {name}: {state[name]['end']}, {state[name]['seconds']} s  {facts(name, o)}", flush=True)
        keep(state, o)
    print((o.out / "summary.txt").read_text(), end="")
    wanted = {name for name, _, _ in parts(o, folder)} - ({"device", *TOOLS} if o.emulate else set())
    return 0 if all(state.get(name, {}).get("end") == "ok" for name in (o.parts or wanted)) else 1


if __name__ == "__main__":
    sys.exit(main())
