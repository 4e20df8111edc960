#!/usr/bin/python3
"""DBRX's forward pass in double precision, straight from the formulas, with numpy alone.

usage: dbrx_forward.py MODEL_DIR [--clipped] < ids > float64 rows

With --clipped it prints which share of q, k and v lies outside the clip instead.

It shares no code with the engine: it reads config.json and safetensors by itself."""
import json
import os
import re
import struct
import sys

import numpy as np

DTYPES = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}


def read_shard(path, tensors):
    with open(path, "rb") as f:
        blob = f.read()
    (size,) = struct.unpack("<Q", blob[:8])
    for name, entry in json.loads(blob[8 : 8 + size]).items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        raw = np.frombuffer(blob[8 + size + begin : 8 + size + end], DTYPES[entry["dtype"]])
        if entry["dtype"] == "BF16":
            raw = (raw.astype(np.uint32) << 16).view(np.float32)
        tensors[name] = raw.astype(np.float64).reshape(entry["shape"])


def read_model(directory):
    tensors = {}
    for name in sorted(os.listdir(directory)):
        if name.endswith(".safetensors"):
            read_shard(os.path.join(directory, name), tensors)
    with open(os.path.join(directory, "config.json"), encoding="utf-8") as f:
        return json.load(f), tensors


def layer_norm(x, gain):
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5) * gain


def rope(x, theta):
    """x: [tokens, heads, head_dim]; pairs are (i, i + head_dim / 2)."""
    n, _, dim = x.shape
    angle = np.arange(n)[:, None] * theta ** (-2.0 * np.arange(dim // 2) / dim)
    cos, sin = np.cos(angle)[:, None, :], np.sin(angle)[:, None, :]
    a, b = x[..., : dim // 2], x[..., dim // 2 :]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


CLIPPED = []


def attention(x, config, tensors, prefix):
    n, d = x.shape
    heads, kv_heads = config["n_heads"], config["attn_config"]["kv_n_heads"]
    dim = d // heads
    qkv = x @ tensors[prefix + "Wqkv.weight"].T
    clip = config["attn_config"].get("clip_qkv")
    if clip:
        CLIPPED.append((np.abs(qkv) > clip).mean())
        qkv = np.clip(qkv, -clip, clip)
    q, k, v = np.split(qkv, [d, d + kv_heads * dim], axis=1)
    theta = config["attn_config"]["rope_theta"]
    q = rope(q.reshape(n, heads, dim), theta)
    k = rope(k.reshape(n, kv_heads, dim), theta)
    v = v.reshape(n, kv_heads, dim)
    future = np.triu(np.ones((n, n), dtype=bool), 1)
    out = np.empty((n, heads, dim))
    for h in range(heads):
        g = h // (heads // kv_heads)
        scores = q[:, h] @ k[:, g].T / np.sqrt(dim)
        scores[future] = -np.inf
        out[:, h] = softmax(scores) @ v[:, g]
    return out.reshape(n, d) @ tensors[prefix + "out_proj.weight"].T


def experts(y, config, tensors, prefix, forced=None):
    """Returns the sum and the experts chosen, [tokens, top_k], the most probable first. Forced ones
    keep their own probabilities."""
    ffn = config["ffn_config"]
    width, k = ffn["ffn_hidden_size"], ffn["moe_top_k"]
    probability = softmax(y @ tensors[prefix + "router.layer.weight"].T)
    out, routes = np.zeros_like(y), []
    for t, row in enumerate(probability):
        chosen = np.argsort(-row, kind="stable")[:k] if forced is None else forced[t]
        routes.append(chosen)
        share = row[chosen] / np.abs(row[chosen]).sum()
        for e, p in zip(chosen, share):
            part = slice(e * width, (e + 1) * width)
            gate = tensors[prefix + "experts.mlp.w1"][part] @ y[t]
            up = tensors[prefix + "experts.mlp.v1"][part] @ y[t]
            hidden = gate / (1 + np.exp(-gate)) * up
            out[t] += p * (hidden @ tensors[prefix + "experts.mlp.w2"][part])
    return out, np.array(routes)


def forward_routed(config, tensors, ids, forced=None):
    """Logits and routes, [layers][tokens][top_k]."""
    x, routes = tensors["transformer.wte.weight"][ids], []
    for layer in range(config["n_layers"]):
        prefix = f"transformer.blocks.{layer}."
        norm = prefix + "norm_attn_norm."
        a = layer_norm(x, tensors[norm + "norm_1.weight"])
        x = x + attention(a, config, tensors, norm + "attn.")
        y = layer_norm(x, tensors[norm + "norm_2.weight"])
        added, chosen = experts(y, config, tensors, prefix + "ffn.", forced and forced[layer])
        x = x + added
        routes.append(chosen)
    x = layer_norm(x, tensors["transformer.norm_f.weight"])
    return x @ tensors["lm_head.weight"].T, routes


def forward(config, tensors, ids):
    return forward_routed(config, tensors, ids)[0]


def main():
    ids = [int(i) for i in re.findall(r"\d+", sys.stdin.read())]
    config, tensors = read_model(sys.argv[1])
    logits = forward(config, tensors, ids)
    if "--clipped" in sys.argv:
        print(np.mean(CLIPPED))
    else:
        sys.stdout.buffer.write(logits.astype("<f8").tobytes())


if __name__ == "__main__":
    main()
