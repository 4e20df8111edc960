#!/usr/bin/env python3
"""Copies an F16 checkpoint (one file) as F32, value by value through Python's own half floats.
usage: f16_to_f32.py SOURCE_DIR TARGET_DIR"""
import json
import os
import shutil
import struct
import sys


def main(source, target):
    os.makedirs(target, exist_ok=True)
    shutil.copy(os.path.join(source, "config.json"), target)
    with open(os.path.join(source, "model.safetensors"), "rb") as f:
        size, = struct.unpack("<Q", f.read(8))
        header, data = json.loads(f.read(size)), f.read()
    for entry in header.values():
        if "dtype" in entry:
            entry["dtype"] = "F32"
            entry["data_offsets"] = [2 * at for at in entry["data_offsets"]]
    text = json.dumps(header).encode()
    values = struct.unpack(f"<{len(data) // 2}e", data)
    with open(os.path.join(target, "model.safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + struct.pack(f"<{len(values)}f", *values))


main(sys.argv[1], sys.argv[2])
