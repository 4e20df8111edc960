"""A checkpoint directory read back into the training program's model: what was written is what is
measured."""
import torch

from export import NAMES
from model import Model, Shape
from weights import config_read, weights_read


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
    model, found = Model(shape_read(config_read(directory))), weights_read(directory)

    def put(parameter, name):
        parameter.copy_(torch.from_numpy(found[name]).reshape(parameter.shape))

    with torch.no_grad():
        put(model.wte, "transformer.wte.weight")
        put(model.norm_f, "transformer.norm_f.weight")
        put(model.lm_head, "lm_head.weight")
        for i, block in enumerate(model.blocks):
            for ours, name in NAMES.items():
                put(getattr(block, ours), f"transformer.blocks.{i}.{name}")
    return model
