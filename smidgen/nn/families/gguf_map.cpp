#include "smidgen/nn/families/gguf_map.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>

#include <torch/torch.h>

#include "smidgen/io/dequantise.h"

namespace smidgen {

namespace {

constexpr const char* kFreqs = "rope_freqs.weight";
constexpr const char* kShort = "rope_factors_short.weight";
constexpr const char* kLong = "rope_factors_long.weight";

// Where metadata come from: a file, or the pairs that are about to be written.
struct Words {
  std::function<Json(const std::string& key, KeyType type)> value;  // null when absent
  std::function<bool(const std::string& tensor)> has;
  std::function<std::vector<double>(const std::string& tensor)> numbers;
};

// The field that the family asks for as `word`, null when missing.
Json field(const Family& family, const Json& config, const std::string& word) {
  for (const ConfigKey& key : family.keys()) {
    if (key.name() != word) continue;
    for (const std::string& name : {key.config, word}) {
      const auto found = config.find(name);
      if (found != config.end()) return *found;
    }
    if (key.missing) return *key.missing;
  }
  return {};
}

int64_t head_width(const Family& family, const Json& config, const std::string& where) {
  const Json given = field(family, config, "head_dim");
  if (given.is_number_integer()) return given;
  const Json width = field(family, config, "hidden_size"),
             heads = field(family, config, "num_attention_heads");
  if (!heads.is_number_integer() || !width.is_number_integer() || heads.get<int64_t>() <= 0)
    throw Error(ErrorKind::format, str("attention.head_count is ", heads.dump()), where);
  return width.get<int64_t>() / heads.get<int64_t>();
}

// Meta's published numbers for Llama 3 where they give these factors; otherwise the factors
// themselves, as longrope with one set for every length.
Json scaling_of_factors(const std::vector<double>& factors, double theta, int64_t context) {
  const double largest = *std::max_element(factors.begin(), factors.end());
  RopeSpec plain{.theta = theta, .rotary = static_cast<int64_t>(2 * factors.size())};
  plain.original = context;
  RopeSpec meta = plain, given = plain;
  meta.type = "llama3", meta.factor = largest, meta.original = 8192;
  given.type = "longrope", given.short_factor = given.long_factor = factors;
  if (context > meta.original && largest > 1 && same_rotation(meta, given)) {
    return {{"rope_type", "llama3"},
            {"factor", largest},
            {"low_freq_factor", 1.0},
            {"high_freq_factor", 4.0},
            {"original_max_position_embeddings", meta.original}};
  }
  return {{"rope_type", "longrope"},
          {"short_factor", factors},
          {"long_factor", factors},
          {"attention_factor", 1.0},
          {"original_max_position_embeddings", context}};
}

double yarn_mscale(double factor) {
  return factor <= 1 ? 1 : 0.1 * std::log(factor) + 1;
}

Json scaling_of(const Words& words, const std::string& prefix, const Json& config, double theta,
                const std::string& where) {
  const auto number = [&](const char* key) {
    return words.value(str(prefix, "rope.scaling.", key), KeyType::number);
  };
  const int64_t context = config.value("max_position_embeddings", int64_t{0});
  const Json original =
      words.value(prefix + "rope.scaling.original_context_length", KeyType::integer);
  const Json attention = number("attn_factor");
  if (words.has(kFreqs)) return scaling_of_factors(words.numbers(kFreqs), theta, context);
  if (words.has(kLong) && words.has(kShort)) {
    Json group = {
        {"rope_type", "longrope"},
        {"short_factor", words.numbers(kShort)},
        {"long_factor", words.numbers(kLong)},
        {"original_max_position_embeddings", original.is_null() ? Json(context) : original}};
    if (!attention.is_null()) group["attention_factor"] = attention;
    return group;
  }
  const Json named = words.value(prefix + "rope.scaling.type", KeyType::word);
  const std::string type = named.is_string() ? named.get<std::string>() : "none";
  if (type == "none") return {};
  Json factor = number("factor");
  if (factor.is_null()) factor = 1.0;
  if (type == "linear") return {{"rope_type", "linear"}, {"factor", factor}};
  if (type == "yarn") {
    Json group = {
        {"rope_type", "yarn"},
        {"factor", factor},
        {"original_max_position_embeddings", original.is_null() ? Json(context) : original}};
    if (!attention.is_null())
      group["attention_factor"] = attention.get<double>() * yarn_mscale(factor.get<double>());
    for (const char* beta : {"beta_fast", "beta_slow"}) {
      const Json value = number(str("yarn_", beta).c_str());
      if (!value.is_null()) group[beta] = value;
    }
    return group;
  }
  throw Error(ErrorKind::unsupported, str("rope scaling '", type, "' cannot be run"), where);
}

Json config_from(const Family& family, const std::string& architecture, const Words& words,
                 const std::string& where) {
  const std::string prefix = architecture + ".";
  Json c;
  c["architectures"] = {family.model_class()};
  c["model_type"] = family.model_types().front();
  for (const ConfigKey& key : family.keys()) {
    if (c.contains(key.config) || key.type == KeyType::of_head) continue;
    Json value;
    if (key.type == KeyType::present || key.type == KeyType::absent) {
      value = words.has(key.gguf) == (key.type == KeyType::present);
    } else if (!key.gguf.empty()) {
      value = words.value(prefix + key.gguf, key.type);
    }
    if (value.is_null() && key.implied) {
      c[key.config] = key.implied(c);
      continue;
    }
    if (value.is_null() && key.missing) value = *key.missing;
    if (value.is_null() && key.needed)
      throw Error(ErrorKind::format, str("the metadata have no ", prefix, key.gguf), where);
    if (!value.is_null()) c[key.config] = std::move(value);
  }
  const Json theta = field(family, c, "rope_theta");
  for (const ConfigKey& key : family.keys()) {
    if (key.type != KeyType::of_head) continue;
    const int64_t whole = head_width(family, c, where);
    const Json part = words.value(prefix + key.gguf, KeyType::integer);
    if (!part.is_null() && (part != whole || key.missing))
      c[key.config] = part.get<double>() / static_cast<double>(whole);
  }
  if (theta.is_number()) {
    Json scaling = scaling_of(words, prefix, c, theta.get<double>(), where);
    if (!scaling.is_null()) c["rope_scaling"] = std::move(scaling);
  }
  return c;
}

GgufType type_of(KeyType type) {
  switch (type) {
    case KeyType::number:
      return GgufType::f32;
    case KeyType::boolean:
      return GgufType::boolean;
    case KeyType::word:
      return GgufType::string;
    default:
      return GgufType::u32;
  }
}

// The first rotation in GGUF's words.
void add_scaling(std::vector<GgufPair>& pairs, const std::string& prefix, const RopeSpec& rope) {
  // Some families have a field of their own for one of these.
  const auto add = [&](const char* key, GgufType type, Json value) {
    const std::string name = str(prefix, "rope.scaling.", key);
    std::erase_if(pairs, [&](const GgufPair& pair) { return pair.key == name; });
    pairs.push_back({name, type, std::move(value)});
  };
  if (rope.type == "dynamic") {
    throw Error(ErrorKind::unsupported, "GGUF has no words for rope scaling 'dynamic'",
                "rope_scaling");
  }
  if (rope.type == "longrope") {
    add("attn_factor", GgufType::f32, rope.attention_factor);
    add("original_context_length", GgufType::u32, rope.original);
  } else if (rope.type == "linear" || rope.type == "yarn") {
    add("type", GgufType::string, rope.type);
    add("factor", GgufType::f32, rope.factor);
  }
  if (rope.type == "yarn") {
    if (!rope.truncate)
      throw Error(ErrorKind::unsupported, "GGUF cannot say truncate: false of yarn",
                  "rope_scaling");
    add("original_context_length", GgufType::u32, rope.original);
    add("attn_factor", GgufType::f32, rope.attention_factor / yarn_mscale(rope.factor));
    add("yarn_beta_fast", GgufType::f32, rope.beta_fast);
    add("yarn_beta_slow", GgufType::f32, rope.beta_slow);
  }
}

// The tensors of factors by which rotary frequencies are divided.
std::map<std::string, std::vector<double>> factor_tensors(const std::vector<RopeSpec>& ropes) {
  if (ropes.empty()) return {};
  const RopeSpec& rope = ropes.front();
  if (rope.type == "longrope") {
    return {{kShort, rope.short_factor}, {kLong, rope.long_factor}};
  }
  if (rope.type != "llama3") return {};
  RopeSpec plain = rope;
  plain.type = "default";
  const at::Tensor factors =
      (inverse_frequencies(plain, 1) / inverse_frequencies(rope, 1)).to(at::kDouble);
  const double* first = factors.const_data_ptr<double>();
  return {{kFreqs, {first, first + factors.numel()}}};
}

// One GGUF tensor out of the HF tensors that it is made of.
ModelTensor stored(std::string name, const TensorPlace& place, std::vector<ModelTensor> parts,
                   int64_t head_dim) {
  const bool weight = name.ends_with(".weight");
  const Layout layout = place.row->layout;
  ModelTensor t{std::move(name), parts[0].shape, parts[0].stored, nullptr};
  if (place.expert >= 0) {
    const int64_t out = t.shape[0];
    t.shape.insert(t.shape.begin(), static_cast<int64_t>(parts.size()));
    t.rows = [parts, out](int64_t a, int64_t b) {
      std::vector<at::Tensor> blocks;
      for (int64_t e = a / out; e * out < b; ++e) {
        blocks.push_back(parts[static_cast<size_t>(e)].rows(std::max(a, e * out) - e * out,
                                                            std::min(b, (e + 1) * out) - e * out));
      }
      return at::cat(blocks, 0);
    };
    return t;
  }
  const ModelTensor& part = parts[0];
  t.rows = part.rows;
  if (layout == Layout::transposed && part.shape.size() == 2) {
    std::swap(t.shape[0], t.shape[1]);
    t.rows = [part](int64_t a, int64_t b) {
      return part.rows(0, part.shape[0]).narrow(1, a, b - a).t().contiguous();
    };
  } else if (layout == Layout::offset && weight) {
    t.rows = [part](int64_t a, int64_t b) { return part.rows(a, b) + 1; };
  }
  const std::vector<int64_t> order = gguf_row_order(layout, t.shape[0], head_dim);
  if (order.empty()) return t;
  std::vector<int64_t> inverse(order.size());
  for (size_t i = 0; i < order.size(); ++i)
    inverse[static_cast<size_t>(order[i])] = static_cast<int64_t>(i);
  // The rows of one head in the file are those of one head in memory.
  t.rows = [part, inverse, head_dim](int64_t a, int64_t b) {
    std::vector<at::Tensor> blocks;
    for (int64_t row = a, end; row < b; row = end) {
      end = std::min(b, (row / head_dim + 1) * head_dim);
      std::vector<int64_t> picked(inverse.begin() + row, inverse.begin() + end);
      const auto [first, last] = std::minmax_element(picked.begin(), picked.end());
      const int64_t low = *first, high = *last + 1;
      for (int64_t& r : picked) r -= low;
      blocks.push_back(part.rows(low, high).index_select(0, torch::tensor(picked, at::kLong)));
    }
    return at::cat(blocks, 0);
  };
  return t;
}

}  // namespace

Json config_of_gguf(const Family& family, const GgufFile& file) {
  const std::string architecture = file.get_string("general.architecture");
  Words words;
  words.has = [&](const std::string& tensor) { return file.contains(tensor); };
  words.numbers = [&](const std::string& tensor) {
    const TensorView view = file.view(tensor);
    if (view.shape.size() != 1 || view.shape[0] < 1 || view.shape[0] > 4096)
      throw Error(ErrorKind::format, str("tensor ", tensor, " has shape ", shape_str(view.shape)),
                  file.where());
    TensorView row = view;
    row.shape = {1, view.shape[0]};
    std::vector<float> values(static_cast<size_t>(view.shape[0]));
    to_f32_rows(row, 0, 1, values);
    return std::vector<double>(values.begin(), values.end());
  };
  words.value = [&](const std::string& key, KeyType type) -> Json {
    // The table has as many rows as the model has tokens, whatever a key says.
    if (key == architecture + ".vocab_size" && file.contains("token_embd.weight"))
      return file.view("token_embd.weight").shape.at(0);
    if (!file.find(key)) return {};
    switch (type) {
      case KeyType::number:
        return file.get_float(key);
      case KeyType::boolean:
        return file.get_bool(key);
      case KeyType::word:
        return file.get_string(key);
      default:
        return file.get_int(key);
    }
  };
  Json c = config_from(family, architecture, words, file.where());
  for (const char* token : {"bos", "eos", "padding"}) {
    const std::string key = str("tokenizer.ggml.", token, "_token_id");
    if (file.find(key))
      c[std::string(token) == "padding" ? "pad_token_id" : str(token, "_token_id")] =
          file.get_int(key);
  }
  return c;
}

std::vector<GgufPair> gguf_metadata(const Family& family, const Json& config) {
  if (family.gguf_architectures().empty()) {
    throw Error(ErrorKind::unsupported,
                str("GGUF has no architecture for ", family.model_types().front()), "config.json",
                "write a folder: --format hf");
  }
  const std::string architecture = family.gguf_architectures().front(), prefix = architecture + ".";
  const Json flat = with_flat_rope(config);
  std::vector<GgufPair> pairs{{"general.architecture", GgufType::string, architecture}};
  std::map<std::string, bool> tensors;
  const int64_t whole = head_width(family, flat, "config.json");
  for (const ConfigKey& key : family.keys()) {
    Json value = field(family, flat, key.name());
    if (key.type == KeyType::present || key.type == KeyType::absent) {
      tensors[key.gguf] = value.is_boolean() && value.get<bool>() == (key.type == KeyType::present);
      continue;
    }
    if (key.gguf.empty()) continue;
    if (key.type == KeyType::of_head)
      value = family.ropes(config).empty() ? whole : family.ropes(config).front().rotary;
    if (value.is_null() && key.name() == "head_dim") value = whole;
    if (value.is_null() && key.name() == "num_key_value_heads")
      value = field(family, flat, "num_attention_heads");
    if (!value.is_null()) pairs.push_back({prefix + key.gguf, type_of(key.type), std::move(value)});
  }
  const std::vector<RopeSpec> ropes = family.ropes(config);
  if (!ropes.empty()) add_scaling(pairs, prefix, ropes.front());
  const auto factors = factor_tensors(ropes);

  // Read back: what differs is what GGUF has no words for.
  Words words;
  words.has = [&](const std::string& t) {
    const auto found = tensors.find(t);
    return factors.contains(t) || (found != tensors.end() && found->second);
  };
  words.numbers = [&](const std::string& tensor) { return factors.at(tensor); };
  words.value = [&](const std::string& key, KeyType) -> Json {
    for (const GgufPair& pair : pairs) {
      if (pair.key == key) return pair.value;
    }
    return {};
  };
  const Json back = config_from(family, architecture, words, "config.json");
  if (family.same_model(config, back)) return pairs;
  std::vector<std::string> lost;
  for (const ConfigKey& key : family.keys()) {
    const Json said = field(family, flat, key.name());
    if (!said.is_null() && said != field(family, back, key.name())) lost.push_back(key.config);
  }
  throw Error(ErrorKind::unsupported,
              str("GGUF of architecture ", architecture,
                  " has no words for this configuration: ", join(lost)),
              "config.json");
}

std::vector<ModelTensor> gguf_tensors(const Family& family, const Model& model) {
  const int64_t head_dim = family.head_dim(model.config());
  std::vector<ModelTensor> all;
  std::map<std::string, size_t> made;  // by GGUF name
  std::vector<std::pair<TensorPlace, std::vector<ModelTensor>>> groups;
  std::vector<std::string> names;
  for (const ModelTensor& tensor : model.tensors()) {
    const size_t dot = tensor.name.rfind('.');
    const auto place = find_place(family.tensors(), tensor.name.substr(0, dot));
    SMIDGEN_ASSERT(place.has_value());
    const std::string name = place->gguf() + tensor.name.substr(dot);
    const auto [at, fresh] = made.emplace(name, groups.size());
    if (fresh) {
      groups.push_back({*place, {}});
      names.push_back(name);
    }
    groups[at->second].second.push_back(tensor);
  }
  for (size_t i = 0; i < groups.size(); ++i)
    all.push_back(stored(names[i], groups[i].first, groups[i].second, head_dim));
  for (const auto& [name, values] : factor_tensors(family.ropes(model.config()))) {
    const at::Tensor factors = torch::tensor(values, at::kFloat);
    all.push_back({name, {factors.numel()}, Format::f32, [factors](int64_t a, int64_t b) {
                     return factors.narrow(0, a, b - a);
                   }});
  }
  return all;
}

}  // namespace smidgen
