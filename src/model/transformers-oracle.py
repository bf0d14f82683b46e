"""Development only: tiny random checkpoints of every family by Hugging Face transformers, with the logits of fixed ids.
Usage: transformers-oracle.py OUT_DIR [CASE...]; each case is a checkpoint directory with expected.json (ids, logits, the
mean loss of the next id) and gradients.safetensors (of that loss, by the checkpoint's names). They are computed in
float32 from weights rounded to the type that is stored. What transformers has no class for is a Llama under other names:
InternLM (biases), InternLM2 (q, k and v fused)."""
import json
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file

out_directory, *wanted = sys.argv[1:]
torch.set_num_threads(1)
IDS = [1, 5, 9, 3, 16, 40, 7, 7, 2, 61, 33, 12, 58, 20, 4, 8, 30, 29, 28, 11, 50, 6, 19, 63]
shape = dict(
    vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=64, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2, pad_token_id=0,
)
small = dict(shape, hidden_size=16, intermediate_size=24, num_hidden_layers=2)
llama3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=16, rope_theta=10000.0)
yarn = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=16, rope_theta=10000.0)


def old_rope(config):
    """What transformers 4 wrote."""
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    kind = rope.pop("rope_type")
    config["rope_scaling"] = None if kind == "default" else {"rope_type": kind, "type": kind, **rope}


def to_internlm(config, tensors):
    rope = config.pop("rope_parameters")
    for field in ("attention_bias", "mlp_bias", "head_dim", "num_key_value_heads"):
        config.pop(field, None)
    config.update(
        model_type="internlm", architectures=["InternLMForCausalLM"], bias=True,
        auto_map={"AutoConfig": "configuration_internlm.InternLMConfig"},
        rotary={"base": rope["rope_theta"], "type": rope["rope_type"]},
    )
    return tensors


def to_internlm2(config, tensors):
    old_rope(config)
    for field in ("attention_bias", "mlp_bias", "head_dim"):
        config.pop(field, None)
    config.update(
        model_type="internlm2", architectures=["InternLM2ForCausalLM"], bias=False,
        auto_map={"AutoConfig": "configuration_internlm2.InternLM2Config"},
    )
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    group, hidden = heads // kv_heads, config["hidden_size"]
    dim = hidden // heads
    plain = {
        "input_layernorm": "attention_norm", "self_attn.o_proj": "attention.wo", "post_attention_layernorm": "ffn_norm",
        "mlp.gate_proj": "feed_forward.w1", "mlp.up_proj": "feed_forward.w3", "mlp.down_proj": "feed_forward.w2",
    }
    out = {"model.tok_embeddings.weight": tensors["model.embed_tokens.weight"],
           "model.norm.weight": tensors["model.norm.weight"], "output.weight": tensors["lm_head.weight"]}
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        for old, new in plain.items():
            out[f"{prefix}{new}.weight"] = tensors[f"{prefix}{old}.weight"]
        q, k, v = (tensors[f"{prefix}self_attn.{name}_proj.weight"] for name in "qkv")
        fused = torch.cat([q.view(kv_heads, group, dim, hidden), k.view(kv_heads, 1, dim, hidden),
                           v.view(kv_heads, 1, dim, hidden)], dim=1)
        out[f"{prefix}attention.wqkv.weight"] = fused.reshape(-1, hidden).contiguous()
    return out


def to_internlm3(config, tensors):
    """The fields of the published modelling code; there `bias` is apart from `qkv_bias`."""
    old_rope(config)
    config.pop("attention_bias", None)
    config.pop("mlp_bias", None)
    config.update(model_type="internlm3", architectures=["InternLM3ForCausalLM"], qkv_bias=True, bias=False,
                  auto_map={"AutoConfig": "configuration_internlm3.InternLM3Config"})
    return {name: value for name, value in tensors.items() if not name.endswith("o_proj.bias")}


def to_old(config, tensors):
    old_rope(config)
    return tensors


T = transformers
# name: (config, stored type, shards, change of config and names)
cases = {
    "llama": (T.LlamaConfig(**shape), "f32", False, None),
    "llama-biases-sharded": (T.LlamaConfig(**shape, attention_bias=True, mlp_bias=True), "bf16", True, None),
    "llama-old-config-head-dim": (T.LlamaConfig(**shape, head_dim=12), "f16", False, to_old),
    "llama-linear": (T.LlamaConfig(**shape, rope_parameters=dict(rope_type="linear", factor=4.0, rope_theta=1e4)), "f32", False, None),
    "llama-dynamic": (T.LlamaConfig(**{**shape, "max_position_embeddings": 16},
                                    rope_parameters=dict(rope_type="dynamic", factor=2.0, rope_theta=1e4)), "f32", False, None),
    "llama3": (T.LlamaConfig(**small, rope_parameters=llama3, tie_word_embeddings=True), "bf16", False, to_old),
    "llama-yarn": (T.LlamaConfig(**shape, rope_parameters=yarn), "f32", False, None),
    "llama-yarn-mscale": (T.LlamaConfig(**shape, rope_parameters=dict(yarn, mscale=0.7, mscale_all_dim=0.4, beta_fast=16, beta_slow=2, truncate=False)), "f32", False, to_old),
    "qwen2": (T.Qwen2Config(**shape, rope_parameters=dict(rope_type="default", rope_theta=1e6)), "bf16", False, None),
    "qwen2-tied-sliding": (T.Qwen2Config(**shape, tie_word_embeddings=True, use_sliding_window=True, sliding_window=5, max_window_layers=1), "f16", True, None),
    "qwen2-yarn": (T.Qwen2Config(**shape, rope_parameters=yarn), "f32", False, to_old),
    "qwen3": (T.Qwen3Config(**small, head_dim=12, tie_word_embeddings=True), "bf16", False, None),
    "qwen3-biases": (T.Qwen3Config(**shape, head_dim=16, attention_bias=True), "f32", False, None),
    "qwen3-moe": (T.Qwen3MoeConfig(**small, head_dim=12, num_experts=6, num_experts_per_tok=2, moe_intermediate_size=10,
                                   norm_topk_prob=True, router_aux_loss_coef=0.5, output_router_logits=True), "bf16", False, None),
    "qwen3-moe-some-dense": (T.Qwen3MoeConfig(**shape, head_dim=8, num_experts=5, num_experts_per_tok=3, moe_intermediate_size=8,
                                              mlp_only_layers=[0], attention_bias=True, use_sliding_window=True, sliding_window=7,
                                              router_aux_loss_coef=0.01, output_router_logits=True), "f32", True, None),
    "mistral": (T.MistralConfig(**shape, sliding_window=6), "bf16", True, None),
    "mistral-full": (T.MistralConfig(**shape, sliding_window=None, head_dim=12), "f32", False, to_old),
    "internlm": (T.LlamaConfig(**{**shape, "num_key_value_heads": 4, "max_position_embeddings": 16}, attention_bias=True,
                               rope_parameters=dict(rope_type="dynamic", factor=1.0, rope_theta=1e4)), "f16", True, to_internlm),
    "internlm2": (T.LlamaConfig(**{**shape, "max_position_embeddings": 16},
                                rope_parameters=dict(rope_type="dynamic", factor=2.0, rope_theta=1e6)), "bf16", True, to_internlm2),
    "internlm3": (T.LlamaConfig(**shape, head_dim=12, attention_bias=True,
                                rope_parameters=dict(rope_type="dynamic", factor=6.0, rope_theta=5e7)), "bf16", False, to_internlm3),
}
if hasattr(T, "InternLM3Config"):
    cases["internlm3-transformers"] = (T.InternLM3Config(**shape, head_dim=12, attention_bias=True, mlp_bias=True), "f32", False, None)

dtypes = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}
for seed, (name, (config, dtype, sharded, change)) in enumerate(cases.items()):
    if wanted and name not in wanted:
        continue
    torch.manual_seed(seed)
    config._attn_implementation = "eager"
    config._experts_implementation = "eager"
    model = T.AutoModelForCausalLM.from_config(config).float().eval()
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            is_norm = "norm" in parameter_name
            parameter.copy_((torch.randn_like(parameter) * 0.2 + (1 if is_norm else 0)).to(dtypes[dtype]).float())
            if parameter_name.endswith("o_proj.bias") and change is to_internlm3:
                parameter.zero_()
    ids = torch.tensor([IDS])
    result = model(ids, labels=ids)
    result.loss.backward()
    logits = result.logits[0].detach()
    gradient_of = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    directory = Path(out_directory) / name
    directory.mkdir(parents=True, exist_ok=True)
    model.to(dtypes[dtype]).save_pretrained(directory, max_shard_size="20KB" if sharded and change is None else "1GB")
    if change is not None:
        weights = directory / "model.safetensors"
        settings = json.loads((directory / "config.json").read_text())
        tensors = change(settings, load_file(weights))
        (directory / "config.json").write_text(json.dumps(settings, indent=2))
        if sharded:
            weights.unlink()
            names, index = sorted(tensors), {}
            for shard in range(2):
                part = {key: tensors[key] for key in names[shard::2]}
                file = f"model-{shard + 1:05}-of-00002.safetensors"
                save_file(part, directory / file, metadata={"format": "pt"})
                index.update({key: file for key in part})
            (directory / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
        else:
            save_file(tensors, weights, metadata={"format": "pt"})
    # Gradients take the place of the weights to be saved under the same names.
    model.float()
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            parameter.copy_(gradient_of[parameter_name])
    model.save_pretrained(directory / "gradients")
    gradients = load_file(directory / "gradients" / "model.safetensors")
    if change is not None:
        gradients = change(json.loads((directory / "gradients" / "config.json").read_text()), gradients)
    save_file(gradients, directory / "gradients.safetensors", metadata={"format": "pt"})
    rows = [[round(value, 7) for value in row] for row in logits.tolist()]
    (directory / "expected.json").write_text(json.dumps({"transformers": T.__version__, "ids": IDS, "logits": rows, "loss": result.loss.item()}))
    print(name)
