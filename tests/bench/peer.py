#!/usr/bin/env python3
"""Prefill and decode of dbrx-ls beside llama.cpp on identical random weights.

Makes the models where they are missing (in BUILD/peer: 16 GB for the full one, kept for the next
time), runs build/tools/peer once per format and prints medians, the range of rounds, and ratios."""
import argparse
import json
import pathlib
import shutil
import statistics
import subprocess
import sys

SHAPE = ("--d-model 2048 --n-heads 16 --kv-n-heads 4 --ffn 1408 --experts 16 --top-k 4 "
         "--max-seq-len 4096 --dtype bf16 --gguf-type bf16 --tokenizer embedded").split()
SIZES = {"full": ["--n-layers", "12", "--vocab", "100352"],
         "small": ["--n-layers", "3", "--vocab", "32768"]}
# name: (weights, activations, llama.cpp's type)
FORMATS = {"bf16": ("bf16", "bf16", "bf16"),
           "int8": ("int8", "int8", "q8_0"),
           "int4": ("int4", "int8", "q4_0"),
           "int8-bf16": ("int8", "bf16", "q8_0"),
           "int4-bf16": ("int4", "bf16", "q4_0"),
           "fp8": ("fp8", "bf16", "q8_0")}


def run(*command):
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)


def model_make(build, libraries, at, size, name):
    weights, activations, peer_type = FORMATS[name]
    source, gguf = at / "bf16", at / f"{peer_type}.gguf"
    if not (source / "config.json").exists() or not (at / "bf16.gguf").exists():
        at.mkdir(parents=True, exist_ok=True)
        run(build / "tools/make_checkpoint", "--out", source, "--gguf", at / "bf16.part", *SHAPE,
            *SIZES[size])
        (at / "bf16.part").rename(at / "bf16.gguf")
    if not gguf.exists():
        run(build / "tools/peer", "quantize", libraries, at / "bf16.gguf", at / "gguf.part",
            peer_type)
        (at / "gguf.part").rename(gguf)
    if weights == "bf16":
        return source, gguf
    model = at / name
    if not model.exists():
        run(build / "dbrx-ls", "quantize", source, model, "--format", weights, "--activations",
            activations)
    return model, gguf


def middle(values):
    return f"{statistics.median(values):.1f} ({min(values):.1f}-{max(values):.1f})"


def ratio(ours, theirs):
    each = [a / b for a, b in zip(ours, theirs)]
    return f"{statistics.median(each):.2f} ({min(each):.2f}-{max(each):.2f})"


def table_print(results):
    print("| format | prefill tok/s | llama.cpp | ratio | decode tok/s | llama.cpp | ratio "
          "| GB/s | llama.cpp | ratio | read loop | share | of the mapped file | share |\n" + "|---" * 14 + "|")
    for name, r in results.items():
        row = [name]
        for what in ("prefill_tok_per_s", "decode_tok_per_s", "decode_gb_per_s"):
            ours, theirs = r["ours_" + what], r["llama_" + what]
            row += [middle(ours), middle(theirs), ratio(ours, theirs)]
        for read in (r["read_gb_per_s"], r["read_mapped_gb_per_s"]):
            row += [middle(read), ratio(r["ours_decode_gb_per_s"], read)]
        print("| " + " | ".join(row) + " |", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--build", type=pathlib.Path, default="build")
    p.add_argument("--libraries", type=pathlib.Path, required=True)
    p.add_argument("--small", action="store_true", help="3 layers instead of 12")
    p.add_argument("--formats", default="bf16,int8,int4", help="of " + ",".join(FORMATS))
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--prompt", type=int, default=512)
    p.add_argument("--decode", type=int, default=64)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--json", action="store_true")
    p.add_argument("--clean", action="store_true", help="delete the models afterwards")
    o = p.parse_args()
    if not o.libraries.is_dir():
        sys.exit("bench-peer: llama.cpp's library is not set up (npm's node-llama-cpp)")
    size = "small" if o.small else "full"
    at, results = o.build / "peer" / size, {}
    for name in o.formats.split(","):
        model, gguf = model_make(o.build, o.libraries, at, size, name)
        done = subprocess.run([o.build / "tools/peer", o.libraries, model, gguf, str(o.threads),
                               str(o.prompt), str(o.decode), str(o.rounds)],
                              check=True, stdout=subprocess.PIPE)
        results[name] = json.loads(done.stdout)
        if not o.json:
            table_print({name: results[name]})
    if o.json:
        print(json.dumps({"model": size, "formats": results}))
    else:
        print("medians of rounds (least-most); ratios are taken within a round")
    if o.clean:
        shutil.rmtree(at)


if __name__ == "__main__":
    main()
