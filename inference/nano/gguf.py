#!/usr/bin/python3
"""A checkpoint directory as GGUF, for llama.cpp: every weight as F32, so that both engines
compute with the same numbers. usage: gguf.py DIR FILE. numpy alone."""
import base64
import json
import os
import struct
import sys

import numpy as np

from weights import config_read, weights_read

ALIGNMENT = 32
U32, I32, F32, STRING, ARRAY = 4, 5, 6, 8, 9
NORMAL, CONTROL, UNUSED = 1, 3, 5
LAYER_NAMES = {
    "norm_attn_norm.norm_1.weight": "attn_norm",
    "norm_attn_norm.attn.Wqkv.weight": "attn_qkv",
    "norm_attn_norm.attn.out_proj.weight": "attn_output",
    "norm_attn_norm.norm_2.weight": "attn_output_norm",
    "ffn.router.layer.weight": "ffn_gate_inp",
    "ffn.experts.mlp.w1": "ffn_gate_exps",
    "ffn.experts.mlp.v1": "ffn_up_exps",
    "ffn.experts.mlp.w2": "ffn_down_exps",
}
OUTER_NAMES = {
    "transformer.wte.weight": "token_embd",
    "transformer.norm_f.weight": "output_norm",
    "lm_head.weight": "output",
}


def text(s):
    data = s if isinstance(s, bytes) else s.encode()
    return struct.pack("<Q", len(data)) + data


def entry(key, kind, value):
    if kind == STRING:
        return text(key) + struct.pack("<I", kind) + text(value)
    return text(key) + struct.pack("<I" + {U32: "I", F32: "f"}[kind], kind, value)


def entries(key, kind, all_of_them):
    head = text(key) + struct.pack("<IIQ", ARRAY, kind, len(all_of_them))
    return head + b"".join(text(v) if kind == STRING else struct.pack("<i", v) for v in all_of_them)


def byte_letters():
    """GPT-2's letters for the 256 bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in plain]
    return {b: chr(b) for b in plain} | {b: chr(256 + i) for i, b in enumerate(others)}


def merge_of(token, ranks):
    """The two tokens whose merging makes this one: BPE by all lower ranks leaves two parts."""
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 2:
        pairs = [(ranks.get(a + b, 1 << 30), i) for i, (a, b) in enumerate(zip(parts, parts[1:]))]
        rank, i = min(pairs)
        if rank >= ranks[token]:
            return None
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return parts


def vocabulary(directory, config):
    with open(os.path.join(directory, "cl100k_base.tiktoken"), "rb") as f:
        tokens = [base64.b64decode(line.split()[0]) for line in f]
    with open(os.path.join(directory, "tokenizer_config.json"), encoding="utf-8") as f:
        added = {int(k): v["content"] for k, v in json.load(f)["added_tokens_decoder"].items()}
    letters, ranks = byte_letters(), {t: i for i, t in enumerate(tokens)}
    spelled = ["".join(letters[b] for b in t) for t in tokens]
    kinds = [NORMAL] * len(tokens)
    for i in range(len(tokens), config["vocab_size"]):
        spelled.append(added.get(i, f"[unused {i}]"))
        kinds.append(CONTROL if i in added else UNUSED)
    pairs = [merge_of(t, ranks) for t in tokens if len(t) > 1]
    merges = [" ".join("".join(letters[b] for b in part) for part in p) for p in pairs if p]
    ids = {name: i for i, name in added.items()}
    return [
        entry("tokenizer.ggml.model", STRING, "gpt2"),
        entry("tokenizer.ggml.pre", STRING, "dbrx"),
        entries("tokenizer.ggml.tokens", STRING, spelled),
        entries("tokenizer.ggml.token_type", I32, kinds),
        entries("tokenizer.ggml.merges", STRING, merges),
        entry("tokenizer.ggml.eos_token_id", U32, ids["<|endoftext|>"]),
        entry("tokenizer.ggml.eot_token_id", U32, ids["<|im_end|>"]),
        entry("tokenizer.ggml.padding_token_id", U32, ids["<|pad|>"]),
    ]


def metadata(directory, config):
    attention, experts = config["attn_config"], config["ffn_config"]
    return [
        entry("general.architecture", STRING, "dbrx"),
        entry("general.name", STRING, "dbrx-ls nano"),
        entry("general.alignment", U32, ALIGNMENT),
        entry("dbrx.block_count", U32, config["n_layers"]),
        entry("dbrx.context_length", U32, config["max_seq_len"]),
        entry("dbrx.embedding_length", U32, config["d_model"]),
        entry("dbrx.feed_forward_length", U32, experts["ffn_hidden_size"]),
        entry("dbrx.attention.head_count", U32, config["n_heads"]),
        entry("dbrx.attention.head_count_kv", U32, attention["kv_n_heads"]),
        entry("dbrx.expert_count", U32, experts["moe_num_experts"]),
        entry("dbrx.expert_used_count", U32, experts["moe_top_k"]),
        entry("dbrx.attention.clamp_kqv", F32, attention["clip_qkv"]),
        entry("dbrx.attention.layer_norm_epsilon", F32, 1e-5),
        entry("dbrx.rope.freq_base", F32, attention["rope_theta"]),
        entry("dbrx.vocab_size", U32, config["vocab_size"]),
        *vocabulary(directory, config),
    ]


def tensors(directory, config):
    found, experts = weights_read(directory), config["ffn_config"]["moe_num_experts"]
    for name, ours in OUTER_NAMES.items():
        yield ours, found[name]
    for i in range(config["n_layers"]):
        for name, ours in LAYER_NAMES.items():
            w = found[f"transformer.blocks.{i}.{name}"]
            if name.endswith(("mlp.w1", "mlp.v1")):
                w = w.reshape(experts, -1, w.shape[-1])
            yield f"blk.{i}.{ours}", w


def main():
    directory, path = sys.argv[1:]
    config = config_read(directory)
    facts, named, at = metadata(directory, config), list(tensors(directory, config)), 0
    head = b"GGUF" + struct.pack("<IQQ", 3, len(named), len(facts)) + b"".join(facts)
    for name, w in named:
        shape = w.shape[::-1]
        head += text(name + ".weight")
        head += struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, at)
        at += -(-w.nbytes // ALIGNMENT) * ALIGNMENT
    with open(path, "wb") as f:
        f.write(head + bytes(-len(head) % ALIGNMENT))
        for _, w in named:
            data = np.ascontiguousarray(w, "<f4").tobytes()
            f.write(data + bytes(-len(data) % ALIGNMENT))


if __name__ == "__main__":
    main()
