#!/usr/bin/env python3
"""Builds the programs that a bare GPU machine runs, with no make and no library of ours: nvcc, gcc and
g++ are all it takes. bench-cuda is the synthetic bench; the others are tests of the kernels, over the
stand-in for cmocka in tests/cuda/bare.

An object is kept under a hash of its command, its source and all headers, so what was built elsewhere
and carried here is not built again, whatever its times say.

usage: gpu_build.py [--dir DIR] [--emulate] [--jobs N] [PROGRAM...]
  --emulate  without nvcc: the programs run the kernels on the host
"""
import argparse
import concurrent.futures
import hashlib
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
C_FLAGS = ["-std=c11", "-D_GNU_SOURCE", "-O2", "-g1", "-Wall", "-Wextra", "-fno-math-errno", "-pthread", "-I."]
HOST_FLAGS = ["-x", "c++", "-std=c++17", "-D_GNU_SOURCE", '-DKERNEL_HOST_LAYER="tests/cuda/host_layer.h"',
              "-O2", "-fno-exceptions", "-fno-rtti", "-Wno-unknown-pragmas", "-ffp-contract=off", "-I."]


def instruction_sets():
    """Suffix of a file's name -> flags, as the Makefile has them."""
    text = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    wide = re.search(r"^AVX512 := (.*)$", text, re.M).group(1)
    rule = re.search(r"^isa_of = (.*)$", text, re.M).group(1).replace("$(AVX512)", wide)
    return {name: flags.split() for name, flags in re.findall(r"%_(\w+)\.c,\$\(1\)\),([^()]*)\)", rule)}


def version():
    return re.search(r"^VERSION := (.*)$", (ROOT / "Makefile").read_text(), re.M).group(1)


def nvcc_flags():
    """The Makefile's own, so that what is measured is what is shipped."""
    text = (ROOT / "kernels/cuda/cuda.mk").read_text().replace("\\\n", " ")
    return shlex.split(re.search(r"^NVCC_FLAGS := (.*)$", text, re.M).group(1))


class Builder:
    def __init__(self, folder, emulate, jobs):
        self.folder, self.emulate, self.jobs = pathlib.Path(folder), emulate, jobs
        self.nvcc = None if emulate else shutil.which(os.environ.get("NVCC", "nvcc"))
        self.cc, self.cxx = os.environ.get("CC", "gcc"), os.environ.get("CXX", "g++")
        self.isa = instruction_sets()
        self.headers = hashlib.sha256()
        for path in sorted(p for s in ("*.h", "*.cuh") for room in ("base", "kernels", "inference", "tests")
                           for p in (ROOT / room).rglob(s) if "node_modules" not in p.parts):
            self.headers.update(path.read_bytes())

    def room(self, pattern):
        return sorted(str(p.relative_to(ROOT)) for p in ROOT.glob(pattern))

    def command(self, source, kind):
        if kind == "gpu":
            return [self.nvcc, *nvcc_flags(), "-c"]
        if kind == "host":
            return [self.cxx, *HOST_FLAGS, "-c"]
        isa = next((f for name, f in self.isa.items() if source.endswith(f"_{name}.c")), [])
        cuda = ["-DDBRX_CUDA"] if source.endswith("cuda_backend.c") and not self.emulate else []
        exact = ["-O3", "-ffp-contract=off"] if source.startswith("kernels/cpu/") else []
        bare = ["-Itests/cuda/bare"] if source.startswith("tests/unit/") else []
        return [self.cc, *C_FLAGS, f'-DDBRX_VERSION="{version()}"', *exact, *isa, *cuda, *bare, "-c"]

    def compile(self, source, kind):
        command = self.command(source, kind)
        key = self.headers.copy()
        key.update((ROOT / source).read_bytes())
        key.update(repr([pathlib.Path(command[0]).name, *command[1:]]).encode())
        name = source.replace("/", "_")
        made = self.folder / "objects" / f"{name}.{kind}.{key.hexdigest()[:16]}.o"
        if made.exists():
            return made
        made.parent.mkdir(parents=True, exist_ok=True)
        for old in made.parent.glob(f"{name}.{kind}.*.o"):
            old.unlink()
        part = made.with_suffix(".part")
        done = subprocess.run([*command, "-o", str(part), source], cwd=ROOT, text=True, capture_output=True)
        if done.returncode != 0:
            raise RuntimeError(f"{source}: {' '.join(command)}\n{done.stdout}{done.stderr}")
        print(f"{kind:4} {source}", flush=True)
        part.rename(made)
        return made

    def compiled(self, source, kind):
        """None where it does not compile, which is said: programs without it are built all the same."""
        try:
            return self.compile(source, kind)
        except RuntimeError as problem:
            print(f"gpu_build: {problem}", file=sys.stderr, flush=True)
            return None

    def parts(self, name):
        """(source, kind) of everything in one program."""
        library = [s for r in ("base/*.c", "kernels/*.c", "kernels/reference/*.c", "kernels/cpu/*.c",
                               "kernels/cuda/*.c") for s in self.room(r)]
        cu = self.room("kernels/cuda/*.cu")
        found = [(s, "c") for s in library]
        if not self.emulate:
            found += [(s, "gpu") for s in cu]
        emulated = [(s, "host") for s in cu if not s.endswith(("runtime.cu", "probe.cu"))]
        emulated += [(f"tests/cuda/{f}.c", "c") for f in ("emulator", "emulator_hopper", "fiber", "host_blas",
                                                                "host_runtime", "device_memory")]
        if name == "bench-cuda":
            found += [(s, "c") for s in self.room("inference/bench/synthetic*.c")]
            found += [("inference/forward.c", "c"), ("inference/bench/samples.c", "c"),
                      ("tests/bench/bench_cuda.c", "c")]
            if self.emulate:
                found += emulated + [("kernels/cuda/probe.cu", "host"), ("tests/cuda/emulated_backend.c", "c")]
            return found
        found += emulated + [(f"tests/unit/{name}.c", "c"), ("tests/unit/support/rig.c", "c")]
        if name in ("test_cuda_wrappers", "test_cuda_layouts"):
            for source in ("tests/cuda/wrappers.cu", "tests/cuda/wrappers_hopper.cu"):
                found += [(source, "host")] + ([] if self.emulate else [(source, "gpu")])
        return found

    def libraries(self):
        if self.emulate:
            return ["-lm", "-ldl", "-pthread", "-lstdc++"]
        top = subprocess.run([self.nvcc, "--dryrun", "-x", "cu", "-c", "/dev/null", "-o", "/dev/null"],
                             text=True, capture_output=True).stderr
        home = pathlib.Path(re.search(r"^.* TOP=(.*)$", top, re.M).group(1))
        places = [home / d for d in ("lib64", "lib", "targets/x86_64-linux/lib", "targets/sbsa-linux/lib")]
        place = next((p for p in places if (p / "libcudart_static.a").exists()), None)
        if not place:
            raise RuntimeError(f"libcudart_static.a is not below {home}")
        return [f"-L{place}", "-lcudart_static", "-lm", "-ldl", "-lrt", "-pthread", "-lstdc++"]

    def build(self, names):
        if not self.emulate and not self.nvcc:
            raise RuntimeError("nvcc is not on the PATH (--emulate builds without it)")
        wanted = {name: self.parts(name) for name in names}
        every = list(dict.fromkeys(p for parts in wanted.values() for p in parts))
        every.sort(key=lambda p: {"gpu": 0, "host": 1, "c": 2}[p[1]])  # the slowest first
        with concurrent.futures.ThreadPoolExecutor(self.jobs) as pool:
            objects = dict(zip(every, pool.map(lambda p: self.compiled(*p), every)))
        libraries, failed = self.libraries(), []
        for name, parts in wanted.items():
            program = self.folder / name
            if not all(objects[p] for p in parts):
                failed.append(name)
                continue
            done = subprocess.run([self.cc, "-o", str(program) + ".part", *(str(objects[p]) for p in parts),
                                   *libraries], cwd=ROOT, text=True, capture_output=True)
            if done.returncode != 0:
                print(f"gpu_build: {name}: {done.stderr[-3000:]}", file=sys.stderr)
                failed.append(name)
                continue
            os.replace(str(program) + ".part", program)
            print(f"link {program}", flush=True)
        if failed:
            raise RuntimeError(f"not built: {', '.join(failed)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", default="build/gpu")
    parser.add_argument("--emulate", action="store_true")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("programs", nargs="*", default=["bench-cuda"])
    o = parser.parse_args()
    try:
        Builder(ROOT / o.dir, o.emulate, o.jobs).build(o.programs)
    except RuntimeError as problem:
        print(f"gpu_build: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
