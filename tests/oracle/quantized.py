#!/usr/bin/python3
"""Quantised checkpoints by inference/FORMATS.md, written from its sentences with numpy alone.

usage: quantized.py check SRC DST     every byte of DST's tensors, made again from SRC
       quantized.py logits DST < ids  DBRX's forward pass in double on the widened weights
       quantized.py errors SRC DST    JSON: largest and relative error by tensor

It shares no code with the engine."""
import json
import math
import os
import re
import struct
import sys

import numpy as np

sys.dont_write_bytecode = True
import dbrx_forward  # noqa: E402

DTYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "F8_E4M3": "u1", "I8": "i1", "U8": "u1"}
F32 = np.float32


def read_raw(directory):
    """name -> (dtype, array as stored)"""
    tensors = {}
    for name in sorted(os.listdir(directory)):
        if not name.endswith(".safetensors"):
            continue
        with open(os.path.join(directory, name), "rb") as f:
            blob = f.read()
        (size,) = struct.unpack("<Q", blob[:8])
        for key, entry in json.loads(blob[8 : 8 + size]).items():
            if key == "__metadata__":
                continue
            begin, end = entry["data_offsets"]
            raw = np.frombuffer(blob[8 + size + begin : 8 + size + end], DTYPES[entry["dtype"]])
            tensors[key] = entry["dtype"], raw.reshape(entry["shape"])
    with open(os.path.join(directory, "config.json"), encoding="utf-8") as f:
        return json.load(f), tensors


def bf16_widen(bits):
    return (bits.astype(np.uint32) << 16).view(F32)


def bf16_round(x):
    """By halves: the nearer of the two bf16 numbers around x >= 0, ties to the even one."""
    low = x.astype(F32).view(np.uint32) >> 16
    below, above = bf16_widen(low.astype(np.uint16)), bf16_widen((low + 1).astype(np.uint16))
    to_low, to_high = x.astype(np.float64) - below, above.astype(np.float64) - x
    up = (to_high < to_low) | ((to_high == to_low) & (low % 2 == 1))
    return np.where(up, low + 1, low).astype(np.uint16)


def wide(dtype, raw):
    return bf16_widen(raw) if dtype == "BF16" else raw.astype(F32)


def e4m3_table():
    """The 127 magnitudes of OCP's E4M3 by code."""
    values = []
    for code in range(127):
        exponent, mantissa = code >> 3, code & 7
        values.append(mantissa * 2.0**-9 if exponent == 0
                      else (1 + mantissa / 8) * 2.0 ** (exponent - 7))
    return np.array(values)


E4M3 = e4m3_table()


def e4m3_codes(x):
    magnitude = np.minimum(np.abs(x.astype(np.float64)), 448.0)
    above = np.clip(np.searchsorted(E4M3, magnitude), 1, 126)
    low, high = magnitude - E4M3[above - 1], E4M3[above] - magnitude
    code = np.where((high < low) | ((high == low) & (above % 2 == 0)), above, above - 1)
    return (code | np.where(np.signbit(x), 128, 0)).astype(np.uint8)


def divide(values, scales):
    """fp32 quotients; 0 where the scale is 0."""
    out = np.zeros(values.shape, F32)
    np.divide(values, scales, out=out, where=np.broadcast_to(scales > 0, values.shape), dtype=F32)
    return out


def quantize_8bit(values, largest):
    scales = (np.abs(values).max(axis=1) / F32(largest)).astype(F32)
    return divide(values, scales[:, None]), scales


def quantize_int4(values):
    """By groups of 128 (the last one filled with zeros, which cost nothing): least squares over five
    scales, the first of equals."""
    rows, columns = values.shape
    count = -(-columns // 128)
    filled = np.zeros((rows, count * 128), F32)
    filled[:, :columns] = values
    groups = filled.reshape(-1, 128)
    most = np.abs(groups).max(axis=1)
    least = np.full(len(groups), np.inf)
    scales, codes = np.zeros(len(groups), np.uint16), np.zeros(groups.shape, np.int8)
    for divisor in (7, 7.25, 7.5, 7.75, 8):
        bits = bf16_round((most / F32(divisor)).astype(F32))
        scale = bf16_widen(bits)[:, None]
        tried = np.rint(np.clip(divide(groups, scale), -8, 7))
        squares = ((tried.astype(np.float64) * scale - groups) ** 2).sum(axis=1)
        better = (scale[:, 0] > 0) & (squares < least)
        least[better], scales[better], codes[better] = squares[better], bits[better], tried[better]
    nibbles = codes.view(np.uint8).reshape(rows, -1)[:, :columns] & 15
    return nibbles[:, 0::2] | nibbles[:, 1::2] << 4, scales.reshape(rows, count)


def format_of(name, weights):
    if re.search(r"experts\.mlp\.[wv][12]$", name):
        return weights
    if re.search(r"(Wqkv|out_proj|lm_head)\.weight$", name):
        return "fp8" if weights == "int4" else weights
    return "as is"


def expected(name, dtype, raw, config):
    """name -> (dtype, array) of what one tensor of the source becomes."""
    kind = format_of(name, config["dbrx_ls"]["weights"])
    if kind == "as is":
        return {name: (dtype, raw)}
    values = wide(dtype, raw)
    if name.endswith("w2"):
        experts = config["ffn_config"]["moe_num_experts"]
        values = values.reshape(experts, -1, config["d_model"]).transpose(0, 2, 1)
        values = np.ascontiguousarray(values.reshape(experts * config["d_model"], -1))
    if kind == "int4":
        codes, scales = quantize_int4(values)
        return {name: ("U8", codes), name + ".scales": ("BF16", scales)}
    quotients, scales = quantize_8bit(values, 448 if kind == "fp8" else 127)
    if kind == "fp8":
        stored = "F8_E4M3", e4m3_codes(quotients)
    else:
        stored = "I8", np.rint(np.clip(quotients, -127, 127)).astype(np.int8)
    return {name: stored, name + ".scales": ("F32", scales)}


def check(source, destination):
    _, source_tensors = read_raw(source)
    config, found = read_raw(destination)
    for name, (dtype, raw) in source_tensors.items():
        for key, (kind, array) in expected(name, dtype, raw, config).items():
            found_kind, found_array = found.pop(key)
            assert kind == found_kind, f"{key}: dtype {found_kind}, expected {kind}"
            assert array.shape == found_array.shape, f"{key}: shape {found_array.shape}"
            same = np.ascontiguousarray(array).view(np.uint8) == found_array.view(np.uint8)
            assert same.all(), f"{key}: {(~same).sum()} of {same.size} bytes differ"
    assert not found, f"unexpected: {sorted(found)}"
    print(f"{len(source_tensors)} weights as expected")


def read_widened(directory):
    """Every weight in double, w2 turned back to [experts * ffn, d_model]."""
    config, raw = read_raw(directory)
    out = {}
    for name, (dtype, stored) in raw.items():
        if name.endswith(".scales"):
            continue
        if name + ".scales" not in raw:
            out[name] = wide(dtype, stored).astype(np.float64)
            continue
        kind, scales = raw[name + ".scales"]
        scales = wide(kind, scales).astype(np.float64)
        if dtype == "F8_E4M3":
            values = E4M3[stored & 127] * np.where(stored & 128, -1.0, 1.0) * scales[:, None]
        elif dtype == "I8":
            values = stored * scales[:, None]
        else:
            nibbles = np.stack([stored & 15, stored >> 4], axis=-1).reshape(len(stored), -1)
            codes = nibbles.astype(np.float64) - 16 * (nibbles > 7)
            values = codes * np.repeat(scales, 128, axis=1)[:, : codes.shape[1]]
        if name.endswith("w2"):
            d, ffn = config["d_model"], values.shape[1]
            values = values.reshape(-1, d, ffn).transpose(0, 2, 1).reshape(-1, d)
        out[name] = values
    return config, out


def errors(source, destination):
    _, from_source = read_raw(source)
    _, widened = read_widened(destination)
    out = {}
    for name, (dtype, raw) in from_source.items():
        values = wide(dtype, raw).astype(np.float64)
        apart = widened[name] - values
        out[name] = [np.abs(apart).max(), math.sqrt((apart**2).sum() / (values**2).sum())]
    print(json.dumps(out))


def main():
    command, arguments = sys.argv[1], sys.argv[2:]
    if command == "check":
        check(*arguments)
    elif command == "errors":
        errors(*arguments)
    elif command == "logits":
        ids = [int(i) for i in re.findall(r"\d+", sys.stdin.read())]
        logits = dbrx_forward.forward(*read_widened(arguments[0]), ids)
        sys.stdout.buffer.write(logits.astype("<f8").tobytes())
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
