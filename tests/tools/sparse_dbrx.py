#!/usr/bin/env python3
"""Writes a checkpoint of DBRX's true shapes whose tensors are holes: 264 GB that take no disk.
usage: sparse_dbrx.py DIR"""
import json
import os
import struct
import sys

D, HEADS, KV_HEADS, LAYERS, VOCAB, FFN, EXPERTS, SHARDS = 6144, 48, 8, 40, 100352, 10752, 16, 61


def tensors():
    yield "transformer.wte.weight", [VOCAB, D]
    for i in range(LAYERS):
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


def shard_write(path, part):
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


def main(directory):
    os.makedirs(directory, exist_ok=True)
    config = {"architectures": ["DbrxForCausalLM"], "model_type": "dbrx", "d_model": D,
              "n_heads": HEADS, "n_layers": LAYERS, "max_seq_len": 32768, "vocab_size": VOCAB,
              "attn_config": {"kv_n_heads": KV_HEADS, "clip_qkv": 8, "rope_theta": 500000},
              "ffn_config": {"ffn_hidden_size": FFN, "moe_num_experts": EXPERTS, "moe_top_k": 4},
              "tie_word_embeddings": False}
    with open(os.path.join(directory, "config.json"), "w") as f:
        json.dump(config, f)
    everything, index = list(tensors()), {}
    for i in range(SHARDS):
        name = f"model-{i + 1:05d}-of-{SHARDS:05d}.safetensors"
        part = everything[i::SHARDS]
        shard_write(os.path.join(directory, name), part)
        index.update({tensor: name for tensor, _ in part})
    with open(os.path.join(directory, "model.safetensors.index.json"), "w") as f:
        json.dump({"metadata": {}, "weight_map": index}, f)


main(sys.argv[1])
