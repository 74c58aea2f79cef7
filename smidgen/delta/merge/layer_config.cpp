#include "smidgen/delta/merge/layer_config.h"

#include <algorithm>

#include "smidgen/base/error.h"

namespace smidgen {

namespace {

enum class Side { main, encoder, decoder, vision, audio };

constexpr const char* kCounts[] = {"num_hidden_layers",  "n_layer",        "n_layers",
                                   "num_layers",         "encoder_layers", "decoder_layers",
                                   "num_decoder_layers", "depth",          "num_encoder_layers"};
constexpr const char* kByLayer[] = {"layer_types", "layers_block_type", "mlp_layer_types",
                                    "no_rope_layers", "attention_layers"};
constexpr const char* kLayers[] = {"mlp_only_layers", "moe_layers", "global_attn_idx",
                                   "full_attn_idxs"};

bool has(const std::string& text, const char* part) {
  return text.find(part) != text.npos;
}

Side side_of_prefix(const std::string& prefix) {
  if (has(prefix, "vision") || has(prefix, "visual")) return Side::vision;
  if (has(prefix, "audio")) return Side::audio;
  if (has(prefix, "decoder")) return Side::decoder;
  if (has(prefix, "encoder")) return Side::encoder;
  return Side::main;
}

Side side_of_key(const std::string& parent, const std::string& key) {
  if (has(parent, "vision")) return Side::vision;
  if (has(parent, "audio")) return Side::audio;
  if (has(key, "decoder")) return Side::decoder;
  if (has(key, "encoder")) return Side::encoder;
  return key == "depth" ? Side::vision : Side::main;
}

// Counts of `side` in one object; whether there was one.
bool set_counts(Json& object, const std::string& parent, Side side, const PlannedStack& stack) {
  bool set = false;
  for (const char* key : kCounts) {
    if (side_of_key(parent, key) != side || !object.contains(key)) continue;
    Json& value = object[key];
    if (!value.is_number_integer() || value != stack.before) continue;
    value = stack.layers.size();
    set = true;
  }
  if (!set) return false;
  for (const char* key : kByLayer) {
    if (!object.contains(key) || !object[key].is_array() ||
        object[key].size() != static_cast<size_t>(stack.before))
      continue;
    const Json before = object[key];
    object[key] = Json::array();
    for (const auto& origin : stack.layers)
      object[key].push_back(before[static_cast<size_t>(std::min(origin.layer, stack.before - 1))]);
  }
  for (const char* key : kLayers) {
    if (!object.contains(key) || !object[key].is_array()) continue;
    const Json before = object[key];
    object[key] = Json::array();
    for (size_t i = 0; i < stack.layers.size(); ++i) {
      if (std::find(before.begin(), before.end(), Json(stack.layers[i].layer)) != before.end())
        object[key].push_back(i);
    }
  }
  return true;
}

bool set_everywhere(Json& config, Side side, const PlannedStack& stack) {
  bool set = set_counts(config, "", side, stack);
  for (auto& [key, value] : config.items()) {
    if (value.is_object()) set = set_counts(value, key, side, stack) || set;
  }
  return set;
}

}  // namespace

void set_layers(Json& config, const PlannedStack& stack, const std::string& where) {
  bool kept = stack.layers.size() == static_cast<size_t>(stack.before);
  for (size_t i = 0; kept && i < stack.layers.size(); ++i)
    kept = stack.layers[i].layer == static_cast<int64_t>(i);
  if (kept) return;
  const Side side = side_of_prefix(stack.prefix);
  // An encoder alone has its count under the common name.
  if (config.is_object() &&
      (set_everywhere(config, side, stack) ||
       (side != Side::main && set_everywhere(config, Side::main, stack))))
    return;
  throw Error(ErrorKind::mismatch,
              str("no key counts the ", stack.before, " layers under ", stack.prefix), where,
              str("the result has ", stack.layers.size(),
                  "; known keys: ", join(std::vector<std::string>(std::begin(kCounts),
                                                                  std::end(kCounts)))));
}

}  // namespace smidgen
