// A family of decoders is this struct, filled in: one short file each.
#pragma once

#include <functional>

#include "smidgen/nn/decoder.h"
#include "smidgen/nn/families/registry.h"

namespace smidgen {

struct DecoderFamily {
  std::string summary;
  std::vector<std::string> model_types;
  std::string model_class;  // config.json "architectures"
  std::vector<std::string> gguf_architectures;
  std::string gguf_marker;
  KeyTable keys;
  TensorRows tensors;
  // Fields of config.json that change nothing here, and patterns of tensors that may be left over.
  std::vector<std::string> ignorable_keys, ignorable_tensors;
  DecoderSpec (*spec)(ConfigReader&);
};

std::unique_ptr<const Family> decoder_family(DecoderFamily family);

// What most families share, to be put together.

// Sizes, activation and tie by the names of common_keys(); one plain block per layer.
DecoderSpec common_spec(ConfigReader& config);
// The same with RMSNorm's eps and one rotation for all layers.
DecoderSpec rotary_spec(ConfigReader& config);
// Layers that config.json says slide over `window` keys: by layer_types when given, otherwise those
// for which `slides` is true.
void set_windows(DecoderSpec& spec, ConfigReader& config, int64_t window,
                 const std::function<bool(int64_t)>& slides);
// Qwen's windows: over layers from max_window_layers on, where use_sliding_window is set.
KeyTable upper_window_keys();
void set_upper_windows(DecoderSpec& spec, ConfigReader& config);

// What Gemma 2 and 3 share. GGUF has no word for query_pre_attn_scalar: it is head_dim, but
// width / heads in the largest model, which is known by its number of layers.
KeyTable gemma_keys(int64_t largest_layers);
void gemma_spec(DecoderSpec& spec, ConfigReader& config);
TensorRows gemma_norm_rows();

// Modules under the names that Llama gave them and most others kept. `norms` adds to every norm's
// weight in GGUF.
TensorRows ends(Layout norms = Layout::plain);  // embedding, last norm, head
TensorRows attention_rows(Layout qk = Layout::plain);
TensorRows pre_norm_rows(Layout norms = Layout::plain);
TensorRows gated_mlp_rows();
TensorRows head_norm_rows(Layout norms = Layout::plain);  // query_norm, key_norm
// A router and its experts: `leaves` are gate, up and down below `experts`.
TensorRows expert_rows(const std::string& router, const std::string& experts,
                       const std::vector<std::string>& leaves);
TensorRows join(std::initializer_list<TensorRows> parts);

}  // namespace smidgen
