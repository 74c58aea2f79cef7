#include "smidgen/convert/gguf_adapter.h"

#include <torch/torch.h>

#include "smidgen/base/error.h"
#include "smidgen/convert/gguf_file.h"
#include "smidgen/io/gguf_writer.h"
#include "smidgen/io/quantise.h"
#include "smidgen/nn/families/gguf_map.h"

namespace smidgen {

namespace {

constexpr const char* kA = ".weight.lora_a";
constexpr const char* kB = ".weight.lora_b";

struct WrittenPair {
  std::string stem;
  at::Tensor a, b;  // as they lie in the file
  double alpha = 0;
};

WrittenPair written_pair(const Family& family, int64_t head_dim, const std::string& site,
                         const Delta& delta) {
  const auto* low = std::get_if<LowRankDelta>(&delta);
  if (!low) {
    throw Error(ErrorKind::unsupported,
                "a GGUF adapter holds low-rank pairs, and this delta is dense", site,
                "merge it into the base: --format gguf");
  }
  const auto place = find_place(family.tensors(), site);
  if (!place || place->expert >= 0)
    throw Error(ErrorKind::unsupported, "GGUF has no name for a LoRA of this module", site);
  WrittenPair pair{place->gguf(), low->a, low->b, low->scale * static_cast<double>(low->a.size(0))};
  if (place->row->part == Part::embedding) {
    pair.a = low->b;
    pair.b = low->a.t();
    return pair;
  }
  const std::vector<int64_t> order = gguf_row_order(place->row->layout, low->b.size(0), head_dim);
  if (order.empty()) return pair;
  // Row i in memory is row order[i] of the file.
  pair.b = at::empty_like(low->b);
  pair.b.index_copy_(0, at::tensor(order, at::kLong), low->b);
  return pair;
}

void append(GgufWriter& writer, const TensorSpec& spec, const at::Tensor& tensor) {
  const at::Tensor values = tensor.to(at::kFloat).contiguous();
  std::vector<std::byte> bytes(static_cast<size_t>(*packed_bytes(spec.format, spec.shape)));
  from_f32(spec.format, {values.const_data_ptr<float>(), static_cast<size_t>(values.numel())},
           bytes, spec.name);
  writer.append(spec.name, bytes);
}

}  // namespace

void write_gguf_adapter(const Model& model, const std::map<std::string, Delta>& deltas,
                        const fs::path& out, const std::string& dtype) {
  check_new_file(out);
  torch::NoGradGuard no_grad;
  const std::map<std::string, std::pair<Format, uint32_t>> types = {{"native", {Format::f32, 0}},
                                                                    {"fp32", {Format::f32, 0}},
                                                                    {"fp16", {Format::f16, 1}},
                                                                    {"q8_0", {Format::q8_0, 7}},
                                                                    {"bf16", {Format::bf16, 32}}};
  const auto type = types.find(dtype);
  if (type == types.end()) {
    throw Error(ErrorKind::usage, str("a GGUF adapter is not written as ", dtype), "dtype_out",
                "native, fp32, bf16, fp16, q8_0");
  }
  const Family& family = family_of(model.config(), "config.json");
  const int64_t head_dim = family.head_dim(model.config());
  std::vector<WrittenPair> pairs;
  for (const auto& [site, delta] : deltas)
    pairs.push_back(written_pair(family, head_dim, site, delta));
  if (pairs.empty()) throw Error(ErrorKind::usage, "there is no adapter to write", "adapter");
  // 0 would mean a scale of 1.
  const double alpha = pairs.front().alpha == 0 ? 1 : pairs.front().alpha;
  std::vector<TensorSpec> specs;
  std::map<std::string, at::Tensor> values;
  const auto declare = [&](const std::string& name, const at::Tensor& tensor) {
    const std::vector<int64_t> shape = tensor.sizes().vec();
    const bool fits = packed_bytes(type->second.first, shape).has_value();
    specs.push_back({name, fits ? type->second.first : Format::f16, shape});
    values[name] = tensor;
  };
  for (const WrittenPair& pair : pairs) {
    declare(pair.stem + kA, pair.a);
    declare(pair.stem + kB, pair.alpha == alpha ? pair.b : pair.b * (pair.alpha / alpha));
  }
  GgufMetadata m;
  for (const GgufPair& pair : gguf_metadata(family, model.config())) {
    if (pair.key == "general.architecture") m.add_string(pair.key, pair.value.get<std::string>());
  }
  m.add_string("general.type", "adapter");
  m.add_string("adapter.type", "lora");
  m.add_string("general.name", out.stem().string());
  m.add<uint32_t>("general.file_type", type->second.second);
  m.add<uint32_t>("general.quantization_version", 2);
  m.add<float>("adapter.lora.alpha", static_cast<float>(alpha));
  if (out.has_parent_path()) make_folder(out.parent_path());
  GgufWriter writer(out, m, std::move(specs));
  for (const TensorSpec& spec : writer.order()) append(writer, spec, values.at(spec.name));
  writer.commit();
}

}  // namespace smidgen
