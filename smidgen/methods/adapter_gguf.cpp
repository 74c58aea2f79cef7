#include "smidgen/methods/adapter_gguf.h"

#include <algorithm>
#include <cstring>

#include "smidgen/base/error.h"
#include "smidgen/io/dequantise.h"
#include "smidgen/io/owned_tensors.h"
#include "smidgen/nn/families/gguf_map.h"

namespace smidgen {

namespace {

constexpr const char* kA = ".weight.lora_a";
constexpr const char* kB = ".weight.lora_b";

// "blk.7.attn_q" against "blk.{}.attn_q": the layer, -1 for a pattern without one.
std::optional<int64_t> layer_in(const std::string& pattern, const std::string& name) {
  const size_t hole = pattern.find("{}");
  if (hole == std::string::npos) return pattern == name ? std::optional<int64_t>(-1) : std::nullopt;
  const std::string head = pattern.substr(0, hole), tail = pattern.substr(hole + 2);
  if (!name.starts_with(head) || !name.ends_with(tail) || name.size() <= head.size() + tail.size())
    return {};
  const std::string digits = name.substr(head.size(), name.size() - head.size() - tail.size());
  if (digits.size() > 6 || digits.find_first_not_of("0123456789") != std::string::npos) return {};
  return std::stoll(digits);
}

TensorPlace place_of(const Family& family, const std::string& stem, const std::string& where) {
  std::vector<std::string> known;
  for (const TensorRow& row : family.tensors()) {
    if (const auto layer = layer_in(row.gguf, stem)) {
      if (row.hf.find("{}") != row.hf.rfind("{}"))
        throw Error(ErrorKind::unsupported, "a LoRA of experts cannot be read yet", where);
      return {&row, *layer};
    }
    known.push_back(row.gguf);
  }
  throw Error(ErrorKind::mismatch, str("the base has no module '", stem, "'"), where,
              did_you_mean(stem, known));
}

void require_lora(const GgufFile& file, const std::string& architecture) {
  const std::string where = file.where();
  if (file.get_string("general.type", "model") != "adapter") {
    throw Error(ErrorKind::mismatch, "this is a model, and an adapter is needed", where);
  }
  const std::string type = file.get_string("adapter.type");
  if (type != "lora" || file.find("adapter.alora.invocation_tokens")) {
    throw Error(ErrorKind::unsupported,
                type == "lora" ? "an activated LoRA (adapter.alora.invocation_tokens)"
                               : str("a GGUF adapter of type '", type, "'"),
                where, "lora can be read");
  }
  const std::string own = file.get_string("general.architecture");
  if (own != architecture) {
    throw Error(
        ErrorKind::mismatch,
        str("the adapter is for the architecture '", own, "', the base is '", architecture, "'"),
        where);
  }
}

std::string architecture_of(const Family& family, const ModelFiles& base, const Json& config) {
  if (base.gguf) return base.gguf->get_string("general.architecture");
  for (const GgufPair& pair : gguf_metadata(family, config)) {
    if (pair.key == "general.architecture") return pair.value.get<std::string>();
  }
  SMIDGEN_ASSERT(!"a family without an architecture");
}

std::vector<float> numbers(const TensorView& view) {
  std::vector<float> values(static_cast<size_t>(view.elements()));
  to_f32(view, values);
  return values;
}

// rows[i] = in[order[i]]; an empty order is the identity.
void put_rows(const std::vector<float>& in, const std::vector<int64_t>& order, int64_t width,
              std::span<std::byte> out) {
  const auto size = static_cast<size_t>(width) * sizeof(float);
  for (size_t i = 0; i < out.size() / std::max<size_t>(size, 1); ++i) {
    const auto from = order.empty() ? i : static_cast<size_t>(order[i]);
    std::memcpy(out.data() + i * size, in.data() + from * static_cast<size_t>(width), size);
  }
}

void put(OwnedTensors& tensors, const TensorPlace& place, TensorView a, TensorView b,
         int64_t head_dim) {
  const std::string stem = "base_model.model." + place.hf();
  if (place.row->part == Part::embedding) {
    const std::vector<float> va = numbers(a), vb = numbers(b);
    transpose({Format::f32, a.shape, std::as_bytes(std::span(va))},
              tensors.make(stem + ".lora_embedding_A", Format::f32, {a.shape[1], a.shape[0]}));
    put_rows(vb, {}, b.shape[1], tensors.make(stem + ".lora_embedding_B", Format::f32, b.shape));
    return;
  }
  put_rows(numbers(a), {}, a.shape[1], tensors.make(stem + ".lora_A.weight", Format::f32, a.shape));
  put_rows(numbers(b), gguf_row_order(place.row->layout, b.shape[0], head_dim), b.shape[1],
           tensors.make(stem + ".lora_B.weight", Format::f32, b.shape));
}

struct Pair {
  std::optional<TensorView> a, b;
};

std::map<std::string, Pair> pairs_of(const GgufFile& file) {
  std::map<std::string, Pair> pairs;
  for (const std::string& name : file.names()) {
    const bool a = name.ends_with(kA), b = name.ends_with(kB);
    const TensorView view = file.view(name);
    const std::string where = str(file.where(), ", tensor '", name, "'");
    if (!a && !b)
      throw Error(ErrorKind::unsupported, "the tensor is neither a lora_a nor a lora_b", where);
    if (view.shape.size() != 2) {
      throw Error(ErrorKind::unsupported, str("the matrix has the shape ", shape_str(view.shape)),
                  where, "a LoRA of experts cannot be read yet");
    }
    Pair& pair = pairs[name.substr(0, name.size() - std::string_view(kA).size())];
    (a ? pair.a : pair.b) = view;
  }
  return pairs;
}

int64_t rank_of(const std::string& stem, const Pair& pair, bool embedding,
                const std::string& where) {
  const std::string place = str(where, ", module '", stem, "'");
  if (!pair.a || !pair.b)
    throw Error(ErrorKind::mismatch, str("there is no ", pair.a ? "lora_b" : "lora_a"), place);
  const int64_t rank = pair.a->shape[embedding ? 1 : 0];
  if (pair.b->shape[1] != rank || rank < 1) {
    throw Error(ErrorKind::mismatch,
                str("lora_a is ", shape_str(pair.a->shape), " and lora_b ",
                    shape_str(pair.b->shape), ", which do not meet"),
                place);
  }
  return rank;
}

}  // namespace

AdapterFiles read_gguf_adapter(const fs::path& path, const ModelFiles& base) {
  const auto file = std::make_shared<GgufFile>(path);
  const Family& family = family_of(base);
  const Json config = base.gguf ? config_of_gguf(family, *base.gguf) : base.config;
  require_lora(*file, architecture_of(family, base, config));
  const int64_t head_dim = family.head_dim(config);
  const double alpha = file->get_float("adapter.lora.alpha");
  auto tensors = std::make_shared<OwnedTensors>(path.string());
  Json modules = Json::array(), ranks = Json::object(), alphas = Json::object();
  int64_t largest = 0;
  for (const auto& [stem, pair] : pairs_of(*file)) {
    const std::string where = str(path.string(), ", module '", stem, "'");
    const TensorPlace place = place_of(family, stem, where);
    const int64_t rank = rank_of(stem, pair, place.row->part == Part::embedding, path.string());
    put(*tensors, place, *pair.a, *pair.b, head_dim);
    const std::string module = place.hf();
    modules.push_back(module);
    ranks[module] = rank;
    largest = std::max(largest, rank);
  }
  if (modules.empty())
    throw Error(ErrorKind::format, "the adapter holds no tensors", path.string());
  AdapterFiles adapter;
  adapter.path = path;
  adapter.config = {{"peft_type", "LORA"},
                    {"r", largest},
                    {"lora_alpha", alpha == 0 ? static_cast<double>(largest) : alpha},
                    {"target_modules", std::move(modules)}};
  // Patterns are for the modules of another rank.
  for (auto at = ranks.begin(); at != ranks.end();) {
    if (at.value() == largest) {
      at = ranks.erase(at);
      continue;
    }
    if (alpha == 0) alphas[at.key()] = at.value();
    ++at;
  }
  if (!ranks.empty()) adapter.config["rank_pattern"] = std::move(ranks);
  if (!alphas.empty()) adapter.config["alpha_pattern"] = std::move(alphas);
  adapter.tensors = std::move(tensors);
  return adapter;
}

}  // namespace smidgen
