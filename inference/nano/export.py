#!/usr/bin/env python3
"""A trained model as a checkpoint directory: model.safetensors, config.json and tokenizer files.

    python3 export.py RUN/model.pt DIR [--type f32|bf16]

Quantise it with `dbrx-ls quantize DIR MODEL --format int8`. Embedding, norms and router stay as
they are when it does: the embedding is written as bf16, norms and router as f32."""

import argparse
import json
import os
import struct

import torch

import vocabulary
from model import Model, Shape

NAMES = {
    "norm_1": "norm_attn_norm.norm_1.weight",
    "wqkv": "norm_attn_norm.attn.Wqkv.weight",
    "out_proj": "norm_attn_norm.attn.out_proj.weight",
    "norm_2": "norm_attn_norm.norm_2.weight",
    "router": "ffn.router.layer.weight",
    "w1": "ffn.experts.mlp.w1",
    "v1": "ffn.experts.mlp.v1",
    "w2": "ffn.experts.mlp.w2",
}


def tensors(model):
    """(name, tensor) as DBRX stores them: experts one below the other, w2 transposed."""
    yield "transformer.wte.weight", model.wte
    yield "transformer.norm_f.weight", model.norm_f
    yield "lm_head.weight", model.lm_head
    for i, block in enumerate(model.blocks):
        for ours, name in NAMES.items():
            w = getattr(block, ours)
            if ours == "w2":
                w = w.transpose(1, 2)
            yield f"transformer.blocks.{i}.{name}", w.reshape(-1, w.shape[-1]) if w.ndim == 3 else w


def safetensors_write(path, named, wide):
    header, blobs, at = {"__metadata__": {"format": "pt"}}, [], 0
    for name, w in named:
        kept = w.ndim == 1 or "router" in name or (wide and "wte" not in name)
        w = w.detach().to("cpu", torch.float32 if kept else torch.bfloat16).contiguous()
        blob = w.view(torch.uint8).numpy().tobytes()
        header[name] = {
            "dtype": "F32" if kept else "BF16",
            "shape": list(w.shape),
            "data_offsets": [at, at + len(blob)],
        }
        blobs.append(blob)
        at += len(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        f.writelines(blobs)


def model_load(path):
    saved = torch.load(path, map_location="cpu")
    model = Model(Shape(**saved["shape"]))
    model.load_state_dict(saved["model"])
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("directory")
    parser.add_argument(
        "--type", choices=("f32", "bf16"), default="f32", help="of what the quantiser rounds"
    )
    o = parser.parse_args()
    model = model_load(o.model)
    os.makedirs(o.directory, exist_ok=True)
    safetensors_write(
        os.path.join(o.directory, "model.safetensors"), tensors(model), o.type == "f32"
    )
    with open(os.path.join(o.directory, "config.json"), "w", encoding="utf-8") as f:
        json.dump(model.shape.config(), f, indent=1)
        f.write("\n")
    vocabulary.write(o.directory, model.shape.vocab_size)


if __name__ == "__main__":
    main()
