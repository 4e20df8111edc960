"""A checkpoint directory of FORMATS.md read back into the training program's model: what was
written is what is measured. Whole and INT8 weights."""

import json
import os
import struct

import torch

from export import NAMES
from model import Model, Shape

TYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16, "I8": torch.int8}


def safetensors_read(directory):
    found = {}
    for name in sorted(os.listdir(directory)):
        if not name.endswith(".safetensors"):
            continue
        with open(os.path.join(directory, name), "rb") as f:
            data = bytearray(f.read())
        (size,) = struct.unpack("<Q", data[:8])
        for key, entry in json.loads(data[8 : 8 + size]).items():
            if key == "__metadata__":
                continue
            first, last = entry["data_offsets"]
            part = torch.frombuffer(data, dtype=torch.uint8)[
                8 + size + first : 8 + size + last
            ].clone()
            found[key] = part.view(TYPES[entry["dtype"]]).view(entry["shape"])
    return found


def shape_read(config):
    attention, experts = config["attn_config"], config["ffn_config"]
    return Shape(
        config["vocab_size"],
        config["d_model"],
        config["n_layers"],
        config["n_heads"],
        attention["kv_n_heads"],
        experts["ffn_hidden_size"],
        experts["moe_num_experts"],
        experts["moe_top_k"],
        config["max_seq_len"],
        attention["rope_theta"],
        attention["clip_qkv"],
    )


def checkpoint_load(directory):
    with open(os.path.join(directory, "config.json"), encoding="utf-8") as f:
        config = json.load(f)
    model, found = Model(shape_read(config)), safetensors_read(directory)

    def weight(name):
        scales = found.get(name + ".scales")
        return found[name].float() if scales is None else found[name].float() * scales[:, None]

    with torch.no_grad():
        model.wte.copy_(weight("transformer.wte.weight"))
        model.norm_f.copy_(weight("transformer.norm_f.weight"))
        model.lm_head.copy_(weight("lm_head.weight"))
        for i, block in enumerate(model.blocks):
            for ours, name in NAMES.items():
                w, p = weight(f"transformer.blocks.{i}.{name}"), getattr(block, ours)
                if ours == "w2" and f"transformer.blocks.{i}.{name}.scales" not in found:
                    w = w.view(p.shape[0], p.shape[2], p.shape[1]).transpose(1, 2)
                p.copy_(w.reshape(p.shape))
    return model
