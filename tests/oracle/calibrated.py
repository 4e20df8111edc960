#!/usr/bin/python3
"""Calibrated checkpoints by inference/FORMATS.md, written from its sentences with numpy alone.

usage: calibrated.py moments SRC DST < ids   DST's statistics against a forward pass in double
       calibrated.py check SRC DST           every byte of DST's weights, made again from SRC and DST's
                                             statistics"""
import os
import re
import sys

import numpy as np

sys.dont_write_bytecode = True
import dbrx_forward  # noqa: E402
from quantized import (E4M3, F32, bf16_round, bf16_widen, divide, e4m3_codes,  # noqa: E402
                       format_of, read_raw, read_widened, wide)


def read_statistics(directory, config):
    """(rows by layer and expert, list of inputs in the order of the file), and the tokens read."""
    with open(os.path.join(directory, "calibration.bin"), "rb") as f:
        blob = f.read()
    ffn, layers, d = config["ffn_config"], config["n_layers"], config["d_model"]
    experts, width = ffn["moe_num_experts"], ffn["ffn_hidden_size"]
    tokens = int(re.search(rb"\ntokens (\d+)\n", blob).group(1))
    end = 256 + 8 * layers * experts
    rows = np.frombuffer(blob[256:end], "<i8").reshape(layers, experts)
    squares, at, inputs = np.frombuffer(blob[end:-64], "<f4"), 0, {}
    for layer in range(layers):
        for name, count, size in (("qkv", 1, d), ("out", 1, d), ("in", experts, d),
                                  ("hidden", experts, width)):
            inputs[layer, name] = squares[at : at + count * size].reshape(count, size)
            at += count * size
    inputs["head"] = squares[at:].reshape(1, d)
    assert len(squares) == at + d
    return rows, inputs, tokens


def moments(source, destination):
    """Mean squares seen by wrapping the products of dbrx_forward.py's own pass."""
    config, tensors = read_widened(source)
    ids = [int(i) for i in re.findall(r"\d+", sys.stdin.read())]
    rows, found, tokens = read_statistics(destination, config)
    assert tokens == len(ids), (tokens, len(ids))
    d, k = config["d_model"], config["ffn_config"]["moe_top_k"]
    width = config["ffn_config"]["ffn_hidden_size"]
    x = tensors["transformer.wte.weight"][ids]

    def same(key, expert, values):
        expected = (values**2).mean(axis=0)
        apart = np.abs(found[key][expert] - expected).max() / expected.max()
        assert apart < 1e-4, f"{key} {expert}: {apart}"

    for layer in range(config["n_layers"]):
        prefix = f"transformer.blocks.{layer}."
        norm = prefix + "norm_attn_norm."
        a = dbrx_forward.layer_norm(x, tensors[norm + "norm_1.weight"])
        same((layer, "qkv"), 0, a)
        projection = tensors[norm + "attn.out_proj.weight"]
        # with the identity as projection, attention gives what the projection reads
        attended = dbrx_forward.attention(a, config, {**tensors,
                                          norm + "attn.out_proj.weight": np.eye(d)}, norm + "attn.")
        same((layer, "out"), 0, attended)
        x = x + attended @ projection.T
        y = dbrx_forward.layer_norm(x, tensors[norm + "norm_2.weight"])
        added, routes = dbrx_forward.experts(y, config, tensors, prefix + "ffn.")
        for e in range(config["ffn_config"]["moe_num_experts"]):
            chosen = y[(routes == e).any(axis=1)]
            assert rows[layer, e] == len(chosen)
            if not len(chosen):
                assert not found[layer, "in"][e].any()
                continue
            part = slice(e * width, (e + 1) * width)
            gate = chosen @ tensors[prefix + "ffn.experts.mlp.w1"][part].T
            up = chosen @ tensors[prefix + "ffn.experts.mlp.v1"][part].T
            same((layer, "in"), e, chosen)
            same((layer, "hidden"), e, gate / (1 + np.exp(-gate)) * up)
        assert rows[layer].sum() == k * len(ids)
        x = x + added
    same("head", 0, dbrx_forward.layer_norm(x, tensors["transformer.norm_f.weight"]))
    print("statistics as expected")


def running_sum(x):
    """In order, one addition at a time."""
    return np.add.accumulate(x, axis=-1)[..., -1]


def importance(squares, rows):
    squares = squares.astype(np.float64)
    mean = running_sum(squares / len(squares))
    if not mean > 0:
        return None
    return ((rows * squares / mean + 16) / (rows + 16)).astype(F32)


def code_values(kind, values, scales):
    q = divide(values, scales[:, None])
    if kind == "int4":
        return np.rint(np.clip(q, -8, 7)).astype(np.float64)
    if kind == "int8":
        return np.rint(np.clip(q, -127, 127)).astype(np.float64)
    codes = e4m3_codes(q)
    return E4M3[codes & 127] * np.where(codes & 128, -1.0, 1.0)


def stored(kind, scales):
    scales = scales.astype(F32)
    return bf16_widen(bf16_round(scales)) if kind == "int4" else scales


def best_scales(kind, values, weights):
    """values [rows][n]; one scale a row."""
    most = np.abs(values).max(axis=1)
    first = {"int4": 7, "int8": 127, "fp8": 448}[kind]
    step = {"int4": 0.25, "int8": 4, "fp8": -8}[kind]
    count = len(values)
    best, least, better = np.zeros(count, F32), np.full(count, np.inf), np.zeros(count)

    def attempt(scales, allowed):
        q = code_values(kind, values, scales)
        v, w = values.astype(np.float64), weights.astype(np.float64)
        apart = q * scales[:, None].astype(np.float64) - v
        loss = running_sum(w * (apart * apart))
        lower = running_sum(w * (q * q))
        upper = running_sum(w * (q * v))
        took = allowed & (scales > 0) & (loss < least)
        best[took], least[took] = scales[took], loss[took]
        better[took] = np.divide(upper, lower, out=np.zeros(count), where=lower > 0)[took]
        return took

    everywhere = np.ones(count, bool)
    for i in range(29):
        attempt(stored(kind, most / F32(first + step * i)), everywhere)
    going = everywhere
    for _ in range(2):
        scales = stored(kind, np.maximum(better, 0))
        going = attempt(scales, going & (better > 0) & (scales != best))
    return best


def quantize(kind, values, weights):
    """numbers and scales of one expert's [n][k], or None for what is not calibrated"""
    if kind != "int4":
        scales = best_scales(kind, values, weights)
        q = divide(values, scales[:, None])
        codes = e4m3_codes(q) if kind == "fp8" else np.rint(np.clip(q, -127, 127)).astype(np.int8)
        return codes, scales
    nibbles, scales = [], []
    for at in range(0, values.shape[1], 128):
        group = np.ascontiguousarray(values[:, at : at + 128])
        scale = best_scales("int4", group, weights[at : at + 128])
        scales.append(bf16_round(scale))
        nibbles.append(code_values("int4", group, scale).astype(np.int8).view(np.uint8) & 15)
    nibbles = np.concatenate(nibbles, axis=1)
    return nibbles[:, 0::2] | nibbles[:, 1::2] << 4, np.stack(scales, axis=1)


INPUTS = {"Wqkv.weight": "qkv", "out_proj.weight": "out", "w1": "in", "v1": "in", "w2": "hidden"}


def check(source, destination):
    _, tensors = read_raw(source)
    config, found = read_raw(destination)
    rows, inputs, tokens = read_statistics(destination, config)
    experts = config["ffn_config"]["moe_num_experts"]
    weights = config["dbrx_ls"]["weights"]
    checked = 0
    for name, (dtype, raw) in tensors.items():
        kind = format_of(name, weights)
        if kind == "as is":
            continue
        values = wide(dtype, raw)
        part = re.search(r"(lm_head\.weight|Wqkv\.weight|out_proj\.weight|w1|v1|w2)$", name).group(1)
        layer = re.search(r"blocks\.(\d+)\.", name)
        key = (int(layer.group(1)), INPUTS[part]) if layer else "head"
        stacks = values.reshape(experts if part in ("w1", "v1", "w2") else 1, -1, values.shape[1])
        codes, scales = found[name][1], found[name + ".scales"][1]
        codes = codes.reshape(len(stacks), -1, codes.shape[-1])
        scales = scales.reshape(len(stacks), *((-1,) if scales.ndim == 1 else (-1, scales.shape[1])))
        for e, matrix in enumerate(stacks):
            if part == "w2":
                matrix = np.ascontiguousarray(matrix.T)
            seen = rows[key[0], e] if len(stacks) > 1 else tokens
            counts = importance(inputs[key][e], seen)
            if counts is None:
                continue
            numbers, scale = quantize(kind, matrix, counts)
            assert (scale == scales[e]).all(), f"{name} {e}: {(scale != scales[e]).sum()} scales differ"
            assert (numbers.view(np.uint8) == codes[e].view(np.uint8)).all(), f"{name} {e}: numbers"
            checked += 1
    print(f"{checked} matrices as expected")


{"moments": moments, "check": check}[sys.argv[1]](*sys.argv[2:])
