"""The embedded model's tokenizer: the first ranks of cl100k's list, then DBRX's specials.

`write` makes the files the C program reads; `Encoder` gives the same ids in Python (by tiktoken),
for whole corpora at once. `dbrx-ls tokenize --model DIR` is the judge of both."""

import base64
import json
import os
import struct

PACKED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tokenizer/data/cl100k.bin")
N_SPECIAL_ROWS = 32
SPECIALS = (
    "<|endoftext|>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|endofprompt|>",
    "<|pad|>",
    "<|im_start|>",
    "<|im_end|>",
)
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def ranks(n):
    """The first n byte strings of the packed list (tokenizer/data/README.md)."""
    with open(PACKED, "rb") as f:
        data = f.read()
    (count,) = struct.unpack("<I", data[8:12])
    at, out = 44 + count, []
    for size in data[44 : 44 + n]:
        out.append(data[at : at + size])
        at += size
    return out


def special_ids(rows):
    return {name: rows - N_SPECIAL_ROWS + i for i, name in enumerate(SPECIALS)}


def write(directory, rows):
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, "cl100k_base.tiktoken"), "wb") as f:
        for rank, token in enumerate(ranks(rows - N_SPECIAL_ROWS)):
            f.write(base64.b64encode(token) + b" %d\n" % rank)
    added = {str(i): {"content": name, "special": True} for name, i in special_ids(rows).items()}
    with open(os.path.join(directory, "tokenizer_config.json"), "w", encoding="utf-8") as f:
        json.dump({"tokenizer_class": "GPT2Tokenizer", "added_tokens_decoder": added}, f, indent=1)
        f.write("\n")


class Encoder:
    def __init__(self, rows):
        import tiktoken

        mergeable = {token: rank for rank, token in enumerate(ranks(rows - N_SPECIAL_ROWS))}
        self.ids = special_ids(rows)
        self.tokens = list(mergeable)
        self._encoding = tiktoken.Encoding(
            "nano", pat_str=PATTERN, mergeable_ranks=mergeable, special_tokens=self.ids
        )

    def encode(self, text):
        return self._encoding.encode_ordinary(text)

    def encode_many(self, texts):
        return self._encoding.encode_ordinary_batch(texts, num_threads=2)

    def encode_prompt(self, text):
        """Of a text that spells its control tokens out."""
        return self._encoding.encode(
            text, allowed_special={"<|im_start|>", "<|im_end|>"}, disallowed_special=()
        )

    def decode(self, ids):
        return self._encoding.decode_bytes([i for i in ids if i < len(self.tokens)])
