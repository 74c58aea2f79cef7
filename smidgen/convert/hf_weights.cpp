#include "smidgen/convert/hf_weights.h"

#include <map>

#include <torch/torch.h>

#include "smidgen/base/error.h"
#include "smidgen/io/safetensors.h"
#include "smidgen/io/sharded_writer.h"

namespace smidgen {

namespace {

constexpr int64_t kBlock = int64_t{1} << 20;  // elements that are in memory at once

at::ScalarType scalar_of(Format format) {
  switch (format) {
    case Format::f32:
      return at::kFloat;
    case Format::bf16:
      return at::kBFloat16;
    case Format::f16:
      return at::kHalf;
    default:
      SMIDGEN_ASSERT(!"a format that is not written");
  }
}

int64_t bytes_of(const ModelTensor& tensor, Format format) {
  const auto bytes = packed_bytes(format, tensor.shape);
  SMIDGEN_ASSERT(bytes.has_value());
  return *bytes;
}

void append(SafetensorsWriter& writer, const ModelTensor& tensor, Format format) {
  const int64_t rows = tensor.shape.at(0), columns = tensor.shape.size() > 1 ? tensor.shape[1] : 1;
  const int64_t step = std::max<int64_t>(1, kBlock / std::max<int64_t>(1, columns));
  for (int64_t row = 0; row < rows; row += step) {
    const at::Tensor exact = tensor.rows(row, std::min(rows, row + step)).contiguous();
    const at::Tensor values = exact.to(scalar_of(format));
    if (format == Format::f16 && !values.isfinite().all().item<bool>() &&
        exact.isfinite().all().item<bool>()) {
      throw Error(ErrorKind::data,
                  str("tensor ", tensor.name, " holds values that fp16 cannot (above 65504)"),
                  tensor.name, "write bf16 or fp32");
    }
    const auto* bytes = static_cast<const std::byte*>(values.const_data_ptr());
    writer.append(tensor.name, {bytes, static_cast<size_t>(values.nbytes())});
  }
}

struct Shard {
  std::vector<const ModelTensor*> tensors;
  int64_t bytes = 0;
};

void write_shard(const fs::path& path, const Shard& shard,
                 const std::map<std::string, Format>& formats) {
  std::vector<TensorSpec> specs;
  std::map<std::string, const ModelTensor*> by_name;
  for (const ModelTensor* tensor : shard.tensors) {
    specs.push_back({tensor->name, formats.at(tensor->name), tensor->shape});
    by_name[tensor->name] = tensor;
  }
  SafetensorsWriter writer(path, std::move(specs));
  for (const TensorSpec& spec : writer.order()) append(writer, *by_name.at(spec.name), spec.format);
  writer.commit();
}

}  // namespace

Format written_format(const ModelTensor& tensor, const ModelFiles& files,
                      const std::string& dtype) {
  if (dtype == "fp32") return Format::f32;
  if (dtype == "bf16") return Format::bf16;
  if (dtype == "fp16") return Format::f16;
  if (dtype != "native")
    throw Error(ErrorKind::usage,
                str("dtype_out '", dtype, "' is not a format of Hugging Face folders"), "dtype_out",
                "native, fp32, bf16, fp16; block formats belong to GGUF files: --format gguf");
  // GGUF has other names for its tensors, and a head that was tied has none.
  const Format stored = files.tensors->contains(tensor.name)
                            ? files.tensors->view(tensor.name).format
                            : tensor.stored;
  return stored == Format::bf16 || stored == Format::f16 ? stored : Format::f32;
}

void write_hf_weights(const Model& model, const ModelFiles& files, const fs::path& folder,
                      const HfFolderOptions& options) {
  torch::NoGradGuard no_grad;
  const std::vector<ModelTensor> tensors = model.tensors();
  std::map<std::string, Format> formats;
  std::vector<Shard> shards(1);
  int64_t total = 0;
  for (const ModelTensor& tensor : tensors) {
    const Format format = formats[tensor.name] = written_format(tensor, files, options.dtype);
    const int64_t bytes = bytes_of(tensor, format);
    if (!shards.back().tensors.empty() && shards.back().bytes + bytes > options.shard_bytes)
      shards.emplace_back();
    shards.back().tensors.push_back(&tensor);
    shards.back().bytes += bytes;
    total += bytes;
  }
  if (shards.size() == 1) return write_shard(folder / "model.safetensors", shards.front(), formats);
  std::map<std::string, std::string> places;
  for (size_t i = 0; i < shards.size(); ++i) {
    const std::string name = shard_name(i + 1, shards.size());
    write_shard(folder / name, shards[i], formats);
    for (const ModelTensor* tensor : shards[i].tensors) places[tensor->name] = name;
  }
  Json index = {{"metadata", {{"total_size", total}}}, {"weight_map", Json::object()}};
  for (const auto& [tensor, file] : places) index["weight_map"][tensor] = file;
  write_file(folder / "model.safetensors.index.json", index.dump(2) + "\n");
}

}  // namespace smidgen
