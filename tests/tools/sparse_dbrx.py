#!/usr/bin/env python3
"""Writes a checkpoint of DBRX's true shapes whose tensors are holes: 264 GB that take no disk.

usage: sparse_dbrx.py DIR [--shards N] [--layers N] [--mark TENSOR:ROW:COLUMN:BITS]...

A mark is the one value that is not 0, as bits of a bf16; its byte in its file is printed."""
import argparse
import json
import os
import struct
import sys

D, HEADS, KV_HEADS, VOCAB, FFN, EXPERTS = 6144, 48, 8, 100352, 10752, 16


def tensors(layers):
    yield "transformer.wte.weight", [VOCAB, D]
    for i in range(layers):
        block = f"transformer.blocks.{i}."
        yield block + "norm_attn_norm.norm_1.weight", [D]
        yield block + "norm_attn_norm.attn.Wqkv.weight", [D + 2 * KV_HEADS * (D // HEADS), D]
        yield block + "norm_attn_norm.attn.out_proj.weight", [D, D]
        yield block + "norm_attn_norm.norm_2.weight", [D]
        yield block + "ffn.router.layer.weight", [EXPERTS, D]
        for part in ("w1", "v1", "w2"):
            yield block + "ffn.experts.mlp." + part, [EXPERTS * FFN, D]
    yield "transformer.norm_f.weight", [D]
    yield "lm_head.weight", [VOCAB, D]


def shard_write(path, part, marks):
    header, at = {}, 0
    for name, shape in part:
        size = 2
        for extent in shape:
            size *= extent
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        f.truncate(8 + len(text) + at)
        for name, row, column, bits in marks:
            if name not in header:
                continue
            entry = header[name]
            at = 8 + len(text) + entry["data_offsets"][0] + 2 * (row * entry["shape"][-1] + column)
            f.seek(at)
            f.write(struct.pack("<H", bits))
            print(at)


def mark_parse(given):
    name, row, column, bits = given.split(":")
    return name, int(row), int(column), int(bits, 0)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("directory")
    parser.add_argument("--shards", type=int, default=61)
    parser.add_argument("--layers", type=int, default=40)
    parser.add_argument("--mark", type=mark_parse, action="append", default=[])
    o = parser.parse_args()
    os.makedirs(o.directory, exist_ok=True)
    config = {"architectures": ["DbrxForCausalLM"], "model_type": "dbrx", "d_model": D,
              "n_heads": HEADS, "n_layers": o.layers, "max_seq_len": 32768, "vocab_size": VOCAB,
              "attn_config": {"kv_n_heads": KV_HEADS, "clip_qkv": 8, "rope_theta": 500000},
              "ffn_config": {"ffn_hidden_size": FFN, "moe_num_experts": EXPERTS, "moe_top_k": 4},
              "tie_word_embeddings": False}
    with open(os.path.join(o.directory, "config.json"), "w") as f:
        json.dump(config, f)
    everything, index = list(tensors(o.layers)), {}
    for i in range(o.shards):
        name = f"model-{i + 1:05d}-of-{o.shards:05d}.safetensors"
        part = everything[i::o.shards]
        shard_write(os.path.join(o.directory, name), part, o.mark)
        index.update({tensor: name for tensor, _ in part})
    with open(os.path.join(o.directory, "model.safetensors.index.json"), "w") as f:
        json.dump({"metadata": {}, "weight_map": index}, f)


main()
