"""The weights of a checkpoint directory as fp32 arrays, whole or INT8 (FORMATS.md). numpy alone."""
import json
import os
import struct

import numpy as np


def values(raw, entry):
    shape, kind = entry["shape"], entry["dtype"]
    if kind == "BF16":
        return (raw.view("<u2").astype("<u4") << 16).view("<f4").reshape(shape)
    return raw.view({"F32": "<f4", "F16": "<f2", "I8": "i1"}[kind]).astype("<f4").reshape(shape)


def safetensors_read(directory):
    found = {}
    for name in sorted(os.listdir(directory)):
        if not name.endswith(".safetensors"):
            continue
        with open(os.path.join(directory, name), "rb") as f:
            data = np.frombuffer(f.read(), np.uint8)
        (size,) = struct.unpack("<Q", data[:8].tobytes())
        for key, entry in json.loads(data[8 : 8 + size].tobytes()).items():
            if key != "__metadata__":
                first, last = entry["data_offsets"]
                found[key] = values(data[8 + size + first : 8 + size + last].copy(), entry)
    return found


def config_read(directory):
    with open(os.path.join(directory, "config.json"), encoding="utf-8") as f:
        return json.load(f)


def weights_read(directory):
    """{name: values}; w2 always as quantised checkpoints hold it: [experts, d_model, ffn]."""
    config, found = config_read(directory), safetensors_read(directory)
    out = {}
    for name, w in found.items():
        if name.endswith(".scales"):
            continue
        scales = found.get(name + ".scales")
        if scales is not None:
            w = w * scales[:, None]
        if name.endswith("mlp.w2"):
            experts, d = config["ffn_config"]["moe_num_experts"], config["d_model"]
            whole = w.reshape(experts, -1, d).transpose(0, 2, 1)
            w = whole if scales is None else w.reshape(experts, d, -1)
        out[name] = np.ascontiguousarray(w)
    return out
