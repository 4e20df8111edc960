#!/bin/sh
# Training, export, quantising and bits per byte in one go, on a machine with a GPU and no network:
#   gpu.sh TOKENS CORPUS PROGRAM OUT MINUTES
# TOKENS is tokens.npz.xz, CORPUS the folder of heldout.jsonl.xz, PROGRAM a dbrx-ls that runs there.
# OUT/log.jsonl is the progress. Detach it: setsid nohup sh gpu.sh ... >gpu.log 2>&1 &
# Started again, training goes on from its last checkpoint.
set -e
tokens=$1 corpus=$2 program=$3 out=$4 minutes=$5
here=$(dirname "$0")
mkdir -p "$out"
python3 "$here/train.py" --device cuda --minutes "$minutes" --tokens "$tokens" --out "$out" \
    --vocab-size 16384 --d-model 384 --n-layers 8 --n-heads 6 --ffn-hidden-size 256 \
    --max-seq-len 4096 --plain-rows 96 --prompt-rows 32 --save-minutes 1.5
python3 "$here/export.py" "$out/model.pt" "$out/whole"
rm -rf "$out/model"
"$program" quantize "$out/whole" "$out/model" --format int4 --activations int8 --shard-mib 15
python3 "$here/evaluate.py" --parts bits --device cuda --model "$out/whole" --corpus "$corpus" \
    --out "$out/bench.json"
