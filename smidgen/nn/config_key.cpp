#include "smidgen/nn/config_key.h"

#include <algorithm>

namespace smidgen {

ConfigKey needed(std::string config, std::string gguf, std::string word) {
  return {std::move(config), std::move(gguf), KeyType::integer, {}, true, std::move(word), nullptr};
}

ConfigKey derived(std::string config, std::string gguf, KeyType type) {
  return {std::move(config), std::move(gguf), type, {}, false, {}, nullptr};
}

ConfigKey integer_key(std::string config, std::string gguf, int64_t missing, std::string word) {
  return {std::move(config), std::move(gguf), KeyType::integer, missing, false,
          std::move(word),   nullptr};
}

ConfigKey number_key(std::string config, std::string gguf, double missing, std::string word) {
  return {std::move(config), std::move(gguf), KeyType::number, missing, false,
          std::move(word),   nullptr};
}

ConfigKey flag_key(std::string config, std::string gguf, bool missing, KeyType type) {
  return {std::move(config), std::move(gguf), type, missing, false, {}, nullptr};
}

ConfigKey word_key(std::string config, std::string missing, std::string word) {
  return {std::move(config), {},     KeyType::word, std::move(missing), false,
          std::move(word),   nullptr};
}

ConfigKey nullable(ConfigKey key) {
  key.implied = [](const Json&) { return Json(nullptr); };
  return key;
}

KeyTable without(KeyTable keys, const std::vector<std::string>& names) {
  std::erase_if(keys, [&](const ConfigKey& k) {
    return std::find(names.begin(), names.end(), k.name()) != names.end();
  });
  return keys;
}

KeyTable keys(KeyTable common, const KeyTable& own) {
  for (const ConfigKey& key : own) {
    // Rows for a second GGUF key of one field (value_length) stand beside the first.
    const auto same = std::find_if(common.begin(), common.end(), [&](const ConfigKey& k) {
      return k.name() == key.name() && !key.gguf.ends_with("value_length");
    });
    if (same == common.end()) {
      common.push_back(key);
    } else {
      *same = key;
    }
  }
  return common;
}

KeyTable common_keys() {
  return {
      needed("vocab_size", "vocab_size"),
      needed("hidden_size", "embedding_length"),
      needed("intermediate_size", "feed_forward_length"),
      needed("num_hidden_layers", "block_count"),
      needed("num_attention_heads", "attention.head_count"),
      derived("num_key_value_heads", "attention.head_count_kv"),
      derived("head_dim", "attention.key_length"),
      derived("head_dim", "attention.value_length"),
      integer_key("max_position_embeddings", "context_length", 2048),
      number_key("rms_norm_eps", "attention.layer_norm_rms_epsilon", 1e-6),
      number_key("rope_theta", "rope.freq_base", 10000),
      derived("partial_rotary_factor", "rope.dimension_count", KeyType::of_head),
      flag_key("tie_word_embeddings", "output.weight", false, KeyType::absent),
      word_key("hidden_act", "silu"),
  };
}

namespace {

// One group of rotary parameters: its base goes to `theta`, the rest to `scaling`.
void flatten(Json group, Json& config, const char* theta, const char* scaling) {
  if (!group.is_object()) return;
  if (group.contains("rope_theta") && !group["rope_theta"].is_null())
    config[theta] = group["rope_theta"];
  group.erase("rope_theta");
  if (group.contains("partial_rotary_factor") && !group["partial_rotary_factor"].is_null())
    config["partial_rotary_factor"] = group["partial_rotary_factor"];
  group.erase("partial_rotary_factor");
  if (!config.contains(scaling) || config[scaling].is_null()) config[scaling] = std::move(group);
}

}  // namespace

Json with_flat_rope(Json config) {
  if (!config.is_object()) return config;
  const auto found = config.find("rope_parameters");
  const Json parameters = found == config.end() ? Json() : *found;
  if (found != config.end() && (parameters.is_object() || parameters.is_null()))
    config.erase("rope_parameters");
  if (parameters.is_object()) {
    const auto full = parameters.find("full_attention"),
               local = parameters.find("sliding_attention");
    if (full == parameters.end() && local == parameters.end()) {
      flatten(parameters, config, "rope_theta", "rope_scaling");
    } else {
      if (full != parameters.end()) flatten(*full, config, "rope_theta", "rope_scaling");
      if (local != parameters.end())
        flatten(*local, config, "rope_local_base_freq", "rope_local_scaling");
    }
  } else if (config.contains("rope_scaling") && config["rope_scaling"].is_object()) {
    // transformers 5 also reads whole rope_parameters under the older name.
    Json group = config["rope_scaling"];
    config.erase("rope_scaling");
    flatten(std::move(group), config, "rope_theta", "rope_scaling");
  }
  return config;
}

}  // namespace smidgen
