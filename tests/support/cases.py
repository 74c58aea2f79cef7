"""What several files of the parity tests vary."""

import tiny

IDS = [1, 17, 300, 5, 5, 81, 240, 9, 33, 2, 120, 64, 7, 7, 200, 301, 15, 90, 44, 3] * 4  # 80 positions

# Every field of config.json that the family reads and that equal weights allow to change.
FLIPS = {
    "rms_norm_eps": {"rms_norm_eps": 1e-5},
    "rope_theta": {"rope_theta": 10000.0},
    "heads": {"num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 16},
    "layers": {"num_hidden_layers": 2},
    "act": {"hidden_act": "gelu"},
    "rope_type": {"rope_scaling": tiny.LLAMA3_ROPE},
    "rope_linear": {"rope_scaling": {"rope_type": "linear", "factor": 2.0}},
}
ROPE_FLIPS = {
    "factor": {"factor": 8.0},
    "low_freq_factor": {"low_freq_factor": 1.0},
    "high_freq_factor": {"high_freq_factor": 4.0},
    "original_max_position_embeddings": {"original_max_position_embeddings": 96},
}
