// One field of a family's configuration, in the words of config.json and of GGUF metadata. The same
// row reads either and writes either, so no family has code of its own for it.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "smidgen/base/json.h"

namespace smidgen {

enum class KeyType {
  integer,
  number,
  boolean,
  word,
  integers,  // a list; GGUF has none of these
  // A boolean that GGUF says by a tensor's presence or absence; `gguf` is the tensor's whole name.
  present,
  absent,
  // A share of head_dim in config.json (0.25), a number of dimensions in GGUF (16).
  of_head,
};

struct ConfigKey {
  std::string config;  // as config.json of this family spells it: "n_embd"
  std::string gguf;    // after the architecture: "embedding_length"; empty where GGUF cannot say it
  KeyType type = KeyType::integer;
  // What a missing or null field means. Nothing: the family derives it, or the field is needed.
  std::optional<Json> missing;
  bool needed = false;
  std::string word;  // how families ask for it where that is not `config`: "hidden_size"
  // What a GGUF file without the key means where that is not `missing`; it is given what the rows
  // above have found. Null is written as null: a field of which null has a meaning of its own.
  std::function<Json(const Json& config)> implied = nullptr;

  const std::string& name() const { return word.empty() ? config : word; }
};

using KeyTable = std::vector<ConfigKey>;

// Rows of a table. A family's own rows replace the common ones of the same name.
ConfigKey needed(std::string config, std::string gguf, std::string word = {});
ConfigKey derived(std::string config, std::string gguf, KeyType type = KeyType::integer);
ConfigKey integer_key(std::string config, std::string gguf, int64_t missing, std::string word = {});
ConfigKey number_key(std::string config, std::string gguf, double missing, std::string word = {});
ConfigKey flag_key(std::string config, std::string gguf, bool missing,
                   KeyType type = KeyType::boolean);
ConfigKey word_key(std::string config, std::string missing, std::string word = {});
// A number of which null means none: a window, a soft cap. GGUF leaves it out for none.
ConfigKey nullable(ConfigKey key);
KeyTable keys(KeyTable common, const KeyTable& own);
KeyTable without(KeyTable keys, const std::vector<std::string>& names);

// The fields that nearly every decoder has under the same words: sizes, norm, rotary base, tie.
KeyTable common_keys();

// `config` with rotary settings of either generation (rope_parameters of transformers 5; rope_theta
// and rope_scaling before) in the older words. Parameters per kind of layer (Gemma 3) become
// rope_theta and rope_scaling for full attention, rope_local_base_freq and rope_local_scaling for
// sliding attention. Where both generations stand, rope_scaling wins, as in transformers 5.23.0.
Json with_flat_rope(Json config);

}  // namespace smidgen
