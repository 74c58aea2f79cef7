#include "smidgen/convert/gguf_file.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <iomanip>
#include <map>

#include <torch/torch.h>

#include "smidgen/base/error.h"
#include "smidgen/base/log.h"
#include "smidgen/convert/gguf_vocabulary.h"
#include "smidgen/io/gguf_writer.h"
#include "smidgen/io/quantise.h"
#include "smidgen/nn/families/gguf_map.h"

namespace smidgen {

namespace {

constexpr int64_t kBlock = int64_t{1} << 22;  // elements that are in memory at once

struct FileType {
  const char* dtype;
  Format format;
  uint32_t id;  // general.file_type
};

constexpr FileType kTypes[] = {{"fp32", Format::f32, 0},  {"fp16", Format::f16, 1},
                               {"q4_0", Format::q4_0, 2}, {"q4_1", Format::q4_1, 3},
                               {"q8_0", Format::q8_0, 7}, {"bf16", Format::bf16, 32}};

const FileType& type_named(const std::string& dtype) {
  for (const FileType& type : kTypes) {
    if (type.dtype == dtype) return type;
  }
  throw Error(ErrorKind::usage, str("dtype_out '", dtype, "' is not a format of GGUF files"),
              "dtype_out", "native, fp32, bf16, fp16, q8_0, q4_0, q4_1");
}

// The plain 16-bit format that all matrices of the files have, else fp32.
const FileType& native_type(const ModelFiles& files) {
  std::optional<Format> only;
  for (const std::string& name : files.tensors->names()) {
    const TensorView view = files.tensors->view(name);
    if (view.shape.size() < 2) continue;
    if (only && *only != view.format) return type_named("fp32");
    only = view.format;
  }
  return type_named(only == Format::bf16 ? "bf16" : only == Format::f16 ? "fp16" : "fp32");
}

bool stays_fp32(const ModelTensor& tensor) {
  const std::string& name = tensor.name;
  return tensor.shape.size() < 2 || !name.ends_with(".weight") || name.ends_with("_norm.weight") ||
         name.find("ffn_gate_inp") != std::string::npos || name.starts_with("position_embd");
}

Format format_of(const ModelTensor& tensor, Format wanted) {
  if (stays_fp32(tensor)) return Format::f32;
  return packed_bytes(wanted, tensor.shape) ? wanted : Format::f16;
}

int64_t count(const std::vector<int64_t>& shape) {
  int64_t product = 1;
  for (const int64_t size : shape) product *= size;
  return product;
}

void add_value(GgufMetadata& m, const GgufPair& pair) {
  switch (pair.type) {
    case GgufType::u32:
      return m.add<uint32_t>(pair.key, pair.value.get<uint32_t>());
    case GgufType::i32:
      return m.add<int32_t>(pair.key, pair.value.get<int32_t>());
    case GgufType::f32:
      return m.add<float>(pair.key, pair.value.get<float>());
    case GgufType::boolean:
      return m.add<bool>(pair.key, pair.value.get<bool>());
    case GgufType::string:
      return m.add_string(pair.key, pair.value.get<std::string>());
    case GgufType::array:
      if (!pair.value.empty() && pair.value[0].is_number_float())
        return m.add_array(pair.key, pair.value.get<std::vector<float>>());
      return m.add_array(pair.key, pair.value.get<std::vector<int32_t>>());
    default:
      SMIDGEN_ASSERT(!"a type that families do not write");
  }
}

std::string name_of(const ModelFiles& files) {
  if (files.gguf) return files.gguf->get_string("general.name", files.path.stem().string());
  const fs::path path = fs::absolute(files.path).lexically_normal();
  return (path.filename().empty() ? path.parent_path() : path).filename().string();
}

GgufMetadata metadata_of(const Model& model, const ModelFiles& files, const FileType& type,
                         int64_t parameters) {
  std::vector<GgufPair> pairs =
      gguf_metadata(family_of(model.config(), files.path.string()), model.config());
  GgufMetadata m;
  const auto architecture = std::find_if(pairs.begin(), pairs.end(), [](const GgufPair& pair) {
    return pair.key == "general.architecture";
  });
  SMIDGEN_ASSERT(architecture != pairs.end());
  add_value(m, *architecture);
  pairs.erase(architecture);
  m.add_string("general.type", "model");
  m.add_string("general.name", name_of(files));
  m.add_string("general.size_label", size_label(parameters));
  for (const GgufPair& pair : pairs) add_value(m, pair);
  m.add<uint32_t>("general.file_type", type.id);
  m.add<uint32_t>("general.quantization_version", 2);
  add_vocabulary(m, files, model.vocabulary());
  return m;
}

void append(GgufWriter& writer, const ModelTensor& tensor, Format format) {
  const int64_t columns = tensor.shape.empty() ? 1 : tensor.shape.back();
  const bool vector = tensor.shape.size() < 2;
  const int64_t width = vector ? 1 : columns;
  const int64_t rows =
      vector ? count(tensor.shape) : count(tensor.shape) / std::max<int64_t>(1, width);
  const int64_t step = std::max<int64_t>(1, kBlock / std::max<int64_t>(1, width));
  std::vector<std::byte> bytes;
  for (int64_t row = 0; row < rows; row += step) {
    const at::Tensor values =
        tensor.rows(row, std::min(rows, row + step)).to(at::kFloat).contiguous();
    const std::span<const float> in(values.const_data_ptr<float>(),
                                    static_cast<size_t>(values.numel()));
    const FormatInfo& type = info(format);
    bytes.resize(in.size() / static_cast<size_t>(type.elements) * static_cast<size_t>(type.bytes));
    from_f32(format, in, bytes, tensor.name);
    writer.append(tensor.name, bytes);
  }
}

}  // namespace

std::string size_label(int64_t parameters) {
  const auto number = static_cast<double>(parameters);
  const std::pair<double, char> scales[] = {{1e12, 'T'}, {1e9, 'B'}, {1e6, 'M'}, {0, 'K'}};
  for (const auto& [least, letter] : scales) {
    if (number <= least && least > 0) continue;
    const double scaled = number / (least > 0 ? least : 1e3);
    // At least two digits that say something.
    const std::string whole = str(static_cast<int64_t>(std::nearbyint(scaled)));
    const size_t digits = whole == "0" ? 0 : whole.size();
    std::ostringstream text;
    text << std::fixed << std::setprecision(digits < 2 ? static_cast<int>(2 - digits) : 0) << scaled
         << letter;
    return text.str();
  }
  SMIDGEN_ASSERT(!"the last scale takes every number");
}

void check_new_file(const fs::path& out) {
  if (out.empty() || out.filename().empty())
    throw Error(ErrorKind::usage, "no file to write to is given", "out", "name it X.gguf");
  if (!path_exists(out)) return;
  std::error_code ignored;
  throw Error(ErrorKind::usage,
              fs::is_directory(out, ignored)
                  ? "a GGUF model is a file, and there is a folder of that name"
                  : "the file exists",
              out.string(), "choose another name, or remove it first");
}

void write_gguf_file(const Model& model, const ModelFiles& files, const fs::path& out,
                     const GgufFileOptions& options) {
  check_new_file(out);
  torch::NoGradGuard no_grad;
  const FileType& type = options.dtype == "native" ? native_type(files) : type_named(options.dtype);
  const std::vector<ModelTensor> tensors =
      gguf_tensors(family_of(model.config(), files.path.string()), model);
  std::vector<TensorSpec> specs;
  std::map<std::string, const ModelTensor*> by_name;
  int64_t parameters = 0, fell_back = 0;
  for (const ModelTensor& tensor : tensors) {
    specs.push_back({tensor.name, format_of(tensor, type.format), tensor.shape});
    fell_back += !stays_fp32(tensor) && specs.back().format != type.format;
    by_name[tensor.name] = &tensor;
    parameters += count(tensor.shape);
  }
  if (fell_back > 0) {
    log_note(fell_back, " matrices have rows that are not whole blocks of ",
             info(type.format).elements, " and are written as fp16");
  }
  if (out.has_parent_path()) make_folder(out.parent_path());
  GgufWriter writer(out, metadata_of(model, files, type, parameters), std::move(specs));
  for (const TensorSpec& spec : writer.order()) append(writer, *by_name.at(spec.name), spec.format);
  writer.commit();
}

}  // namespace smidgen
