"""Every decoder family as data: a tiny configuration with nothing at its default, and one change for each field.

A new family adds one entry. `base` and `flips` are arguments of the configuration class of transformers. A flip keeps
the weights, and the reference must move under it (tests/parity/test_families.py). `more` are whole cases of their own:
settings that need other weights, or that stand beside a flip.
"""

SIZES = {"vocab_size": 0, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 4, "max_position_embeddings": 128}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}
IDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 4.0,
    "low_freq_factor": 1.5,
    "high_freq_factor": 3.0,
    "original_max_position_embeddings": 48,
}
YARN = {"rope_type": "yarn", "rope_theta": 500.0, "factor": 4.0, "original_max_position_embeddings": 24}
YARN |= {"beta_fast": 4.0, "beta_slow": 0.5}
LINEAR = {"rope_type": "linear", "rope_theta": 500.0, "factor": 3.0}
DYNAMIC = {"rope_type": "dynamic", "rope_theta": 500.0, "factor": 3.0}


def longrope(pairs: int, original: int) -> dict:
    short, long = [1 + 0.2 * i for i in range(pairs)], [2 + 1.5 * i for i in range(pairs)]
    sizes = {"original_max_position_embeddings": original, "rope_theta": 500.0}
    return {"rope_type": "longrope", "short_factor": short, "long_factor": long, "factor": 128 / original, **sizes}


ROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}}
COMMON = SIZES | HEADS | IDS | ROPE | {"rms_norm_eps": 1e-2, "hidden_act": "gelu"}
FLIPS = {
    "eps": {"rms_norm_eps": 1e-5},
    "theta": {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}},
    "act": {"hidden_act": "silu"},
    "layers": {"num_hidden_layers": 3},
}
HEAD_FLIP = {"heads": {"num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 8}}
PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
GGUF = {"hidden_act": "silu"}  # GGUF has no word for it
FULL, SLIDE = "full_attention", "sliding_attention"
BIAS = {"attention bias": {"attention_bias": True}}
BIASES = BIAS | {"mlp bias": {"mlp_bias": True}}
GEMMA_TYPES = [SLIDE, FULL, SLIDE, FULL]
GEMMA3_ROPE = {
    "full_attention": {"rope_type": "linear", "rope_theta": 900.0, "factor": 2.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 70.0},
}

FAMILIES = {
    "llama": {
        "model": "Llama",
        "base": COMMON | {"head_dim": 16, "tie_word_embeddings": True},
        "flips": FLIPS | HEAD_FLIP,
        "more": BIASES
        | {
            "untied": {"tie_word_embeddings": False},
            "linear": {"rope_parameters": LINEAR},
            "dynamic": {"rope_parameters": DYNAMIC, "max_position_embeddings": 40},
            "llama3": {"rope_parameters": LLAMA3},
            "yarn": {"rope_parameters": YARN},
            "yarn scaled": {"rope_parameters": YARN | {"truncate": False, "mscale": 2.0, "mscale_all_dim": 0.5}},
            "longrope short": {"rope_parameters": longrope(8, 100)},
            "longrope long": {"rope_parameters": longrope(8, 30)},
        },
        "targets": PROJECTIONS,
        "gguf": GGUF,
    },
    "mistral": {
        "model": "Mistral",
        "base": COMMON | {"head_dim": 16, "sliding_window": 7},
        "flips": FLIPS | HEAD_FLIP | {"window": {"sliding_window": 9}, "no window": {"sliding_window": None}},
        "targets": PROJECTIONS,
        "gguf": GGUF,
    },
    "smollm3": {
        "model": "SmolLM3",
        "base": COMMON
        | {
            "hidden_size": 64,
            "no_rope_layer_interval": 2,
            "use_sliding_window": True,
            "sliding_window": 6,
            "tie_word_embeddings": False,
        },
        "flips": FLIPS
        | {
            "interval": {"no_rope_layer_interval": 3},
            "turning layers": {"no_rope_layers": [0, 1, 1, 1]},
            "window": {"sliding_window": 9},
            "no window": {"use_sliding_window": False},
            "types": {"layer_types": [SLIDE, FULL, FULL, FULL]},
        },
        "more": BIASES,
        "targets": PROJECTIONS,
        "gguf": GGUF | {"no_rope_layer_interval": 4, "use_sliding_window": False, "sliding_window": None},
    },
    "qwen2": {
        "model": "Qwen2",
        "base": COMMON | {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 2},
        "flips": FLIPS
        | {
            "window": {"sliding_window": 9},
            "no window": {"use_sliding_window": False},
            "first layer": {"max_window_layers": 1},
            "types": {"layer_types": [SLIDE, FULL, FULL, FULL]},
        },
        "more": {"yarn": {"rope_parameters": YARN}},
        "targets": PROJECTIONS,
        "gguf": GGUF | {"use_sliding_window": False, "sliding_window": None},
    },
    "qwen3": {
        "model": "Qwen3",
        "base": COMMON | {"head_dim": 16, "use_sliding_window": True, "sliding_window": 6, "max_window_layers": 2},
        "flips": FLIPS
        | {
            "window": {"sliding_window": 9},
            "no window": {"use_sliding_window": False},
            "first layer": {"max_window_layers": 1},
            "types": {"layer_types": [SLIDE, FULL, FULL, FULL]},
        },
        "more": BIAS,
        "targets": PROJECTIONS,
        "gguf": GGUF | {"use_sliding_window": False, "sliding_window": None},
    },
    "qwen3_moe": {
        "model": "Qwen3Moe",
        "base": COMMON
        | {
            "head_dim": 16,
            "num_experts": 6,
            "num_experts_per_tok": 3,
            "moe_intermediate_size": 24,
            "mlp_only_layers": [1],
            "norm_topk_prob": False,
            "use_sliding_window": True,
            "sliding_window": 6,
        },
        "flips": FLIPS
        | {
            "window": {"sliding_window": 9},
            "no window": {"use_sliding_window": False},
            "experts": {"num_experts_per_tok": 2},
            "sum": {"norm_topk_prob": True},
        },
        "more": BIAS | {"every other": {"decoder_sparse_step": 2, "mlp_only_layers": []}},
        "targets": PROJECTIONS[:4],
        "gguf": GGUF | {"mlp_only_layers": [], "norm_topk_prob": True, "use_sliding_window": False, "sliding_window": None},
    },
    "mixtral": {
        "model": "Mixtral",
        "base": COMMON | {"head_dim": 16, "num_local_experts": 5, "num_experts_per_tok": 3, "sliding_window": 7},
        "flips": FLIPS | {"window": {"sliding_window": 9}, "experts": {"num_experts_per_tok": 2}},
        "targets": PROJECTIONS[:4],
        "gguf": GGUF | {"sliding_window": None},
    },
    "gemma": {
        "model": "Gemma",
        "base": COMMON | {"head_dim": 16, "hidden_act": "relu"},
        "flips": FLIPS | HEAD_FLIP,
        "more": BIAS | {"first releases": {"hidden_act": "gelu"}, "tanh": {"hidden_act": "gelu_pytorch_tanh"}},
        "targets": PROJECTIONS,
        "gguf": {"hidden_act": "gelu_pytorch_tanh"},
    },
    "gemma2": {
        "model": "Gemma2",
        "base": COMMON
        | {
            "head_dim": 16,
            "hidden_activation": "relu",
            "query_pre_attn_scalar": 5,
            "sliding_window": 6,
            "attn_logit_softcapping": 2.0,
            "final_logit_softcapping": 3.0,
            "layer_types": [FULL, SLIDE, SLIDE, FULL],
        },
        "flips": {k: v for k, v in FLIPS.items() if k in ("eps", "theta")}
        | {
            "act": {"hidden_activation": "gelu_pytorch_tanh"},
            "scalar": {"query_pre_attn_scalar": 9},
            "window": {"sliding_window": 9},
            "types": {"layer_types": GEMMA_TYPES},
            "scores": {"attn_logit_softcapping": None},
            "logits": {"final_logit_softcapping": 30.0},
        },
        "more": BIAS | {"no caps": {"attn_logit_softcapping": None, "final_logit_softcapping": None}},
        "targets": PROJECTIONS,
        "gguf": {"hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 16, "layer_types": None},
    },
    "gemma3": {
        "model": "Gemma3",
        "config": "Gemma3TextConfig",
        "base": COMMON
        | {
            "head_dim": 16,
            "hidden_activation": "relu",
            "query_pre_attn_scalar": 5,
            "sliding_window": 6,
            "final_logit_softcapping": 3.0,
            "layer_types": [FULL, SLIDE, SLIDE, FULL],
            "rope_parameters": GEMMA3_ROPE,
        },
        "flips": {
            "eps": {"rms_norm_eps": 1e-5},
            "act": {"hidden_activation": "gelu_pytorch_tanh"},
            "scalar": {"query_pre_attn_scalar": 9},
            "window": {"sliding_window": 9},
            "types": {"layer_types": GEMMA_TYPES},
            "logits": {"final_logit_softcapping": 30.0},
            "local base": {
                "rope_parameters": GEMMA3_ROPE
                | {"sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}
            },
            "global base": {
                "rope_parameters": GEMMA3_ROPE
                | {"full_attention": {"rope_type": "linear", "rope_theta": 90000.0, "factor": 2.0}}
            },
            "global factor": {
                "rope_parameters": GEMMA3_ROPE
                | {"full_attention": {"rope_type": "linear", "rope_theta": 900.0, "factor": 8.0}}
            },
        },
        "more": BIAS,
        "targets": PROJECTIONS,
        "gguf": {
            "hidden_activation": "gelu_pytorch_tanh",
            "query_pre_attn_scalar": 16,
            "layer_types": None,
            "num_hidden_layers": 7,
        },
    },
    "phi3": {
        "model": "Phi3",
        "base": COMMON
        | {
            "hidden_size": 64,
            "sliding_window": 9,
            "original_max_position_embeddings": 32,
            "rope_parameters": longrope(6, 32) | {"partial_rotary_factor": 0.75},
        },
        "flips": {
            "eps": {"rms_norm_eps": 1e-5},
            "act": {"hidden_act": "silu"},
            "window": {"sliding_window": 11},
            "original": {"original_max_position_embeddings": 100},
            "theta": {"rope_parameters": longrope(6, 32) | {"partial_rotary_factor": 0.75, "rope_theta": 9000.0}},
            "share": {"rope_parameters": longrope(8, 32) | {"partial_rotary_factor": 1.0}},
        },
        "more": {
            "plain": {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 0.5}}
        },
        "targets": ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"],
        "gguf": GGUF,
    },
    "olmo2": {
        "model": "Olmo2",
        "base": COMMON | {"hidden_size": 64},
        "flips": FLIPS,
        "more": BIAS,
        "targets": PROJECTIONS,
        "gguf": GGUF,
    },
    "granite": {
        "model": "Granite",
        "base": COMMON
        | {
            "hidden_size": 64,
            "embedding_multiplier": 1.7,
            "residual_multiplier": 0.6,
            "attention_multiplier": 0.4,
            "logits_scaling": 1.4,
        },
        "flips": FLIPS
        | {
            "embedding": {"embedding_multiplier": 1.0},
            "residual": {"residual_multiplier": 1.0},
            "attention": {"attention_multiplier": 0.25},
            "logits": {"logits_scaling": 1.0},
        },
        "more": BIASES,
        "targets": PROJECTIONS,
        "gguf": GGUF,
    },
    "gpt2": {
        "model": "GPT2",
        "class": "GPT2LMHeadModel",
        "base": {
            "vocab_size": 0,
            "n_embd": 48,
            "n_layer": 4,
            "n_head": 4,
            "n_inner": 80,
            "n_positions": 128,
            "activation_function": "relu",
            "layer_norm_epsilon": 1e-2,
            "scale_attn_by_inverse_layer_idx": True,
            "scale_attn_weights": False,
        }
        | IDS,
        "flips": {
            "eps": {"layer_norm_epsilon": 1e-5},
            "act": {"activation_function": "gelu_new"},
            "heads": {"n_head": 8},
            "layers": {"n_layer": 3},
            "by layer": {"scale_attn_by_inverse_layer_idx": False},
            "scaled": {"scale_attn_weights": True},
        },
        "more": {"usual": {"activation_function": "gelu_new", "scale_attn_by_inverse_layer_idx": False}},
        "targets": ["c_attn", "attn.c_proj", "c_fc", "mlp.c_proj"],
        "gguf": {
            "activation_function": "gelu_new",
            "scale_attn_by_inverse_layer_idx": False,
            "scale_attn_weights": True,
        },
    },
    "gpt_neox": {
        "model": "GPTNeoX",
        "base": {
            "hidden_size": 64,
            "layer_norm_eps": 1e-2,
            "hidden_act": "relu",
            "rope_parameters": {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 0.5},
            **{k: v for k, v in (SIZES | IDS).items() if k != "hidden_size"},
            "num_attention_heads": 4,
        },
        "flips": {
            "eps": {"layer_norm_eps": 1e-5},
            "act": {"hidden_act": "gelu"},
            "heads": {"num_attention_heads": 8},
            "layers": {"num_hidden_layers": 3},
            "theta": {"rope_parameters": {"rope_type": "default", "rope_theta": 9000.0, "partial_rotary_factor": 0.5}},
            "share": {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 0.25}},
            "parallel": {"use_parallel_residual": False},
        },
        "more": {"in turn": {"use_parallel_residual": False}, "no bias": {"attention_bias": False}},
        "targets": ["query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"],
        "gguf": {"hidden_act": "gelu"},
    },
}
