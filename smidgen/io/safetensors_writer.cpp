#include <algorithm>
#include <array>
#include <unordered_map>
#include <unordered_set>

#include "smidgen/io/little_endian.h"
#include "smidgen/io/safetensors.h"
#include "smidgen/io/safetensors_header.h"

namespace smidgen {

namespace {

// The order of types in a file: the reference sorts by its enumeration, largest alignment first.
constexpr std::array kOrder = {
    Format::u64,     Format::i64,         Format::f64,         Format::c64,     Format::f32,
    Format::u32,     Format::i32,         Format::bf16,        Format::f16,     Format::u16,
    Format::i16,     Format::f8_e5m2fnuz, Format::f8_e4m3fnuz, Format::f8_e8m0, Format::f8_e4m3,
    Format::f8_e5m2, Format::i8,          Format::u8,          Format::f6_e3m2, Format::f6_e2m3,
    Format::f4,      Format::boolean};

size_t rank(Format format) {
  return static_cast<size_t>(std::find(kOrder.begin(), kOrder.end(), format) - kOrder.begin());
}

uint64_t bytes_of(const TensorSpec& tensor, const fs::path& path) {
  const FormatInfo& type = info(tensor.format);
  const std::string where = str(path.string(), ", tensor '", tensor.name, "'");
  if (type.safetensors.empty()) {
    throw Error(ErrorKind::unsupported, str("safetensors has no type for ", type.name), where,
                "dequantise it, or write a GGUF file");
  }
  const auto bytes = packed_bytes(tensor.format, tensor.shape);
  if (!bytes) {
    throw Error(ErrorKind::usage,
                str("the shape ", shape_str(tensor.shape), " cannot be stored as ", type.name),
                where);
  }
  return static_cast<uint64_t>(*bytes);
}

}  // namespace

SafetensorsLayout layout_safetensors(const fs::path& path, std::vector<TensorSpec> tensors,
                                     const Metadata& metadata) {
  SafetensorsLayout layout;
  std::sort(tensors.begin(), tensors.end(), [](const TensorSpec& a, const TensorSpec& b) {
    return std::pair(rank(a.format), std::string_view(a.name)) <
           std::pair(rank(b.format), std::string_view(b.name));
  });
  layout.order = std::move(tensors);
  std::unordered_set<std::string_view> seen;
  std::string text = "{";
  if (!metadata.empty()) {
    text += "\"__metadata__\":{";
    bool first = true;
    for (const auto& [key, value] : metadata) {
      text += str(first ? "" : ",", json_string(key), ":", json_string(value));
      first = false;
    }
    text += "}";
  }
  uint64_t at = 0;
  for (const TensorSpec& tensor : layout.order) {
    if (tensor.name == "__metadata__" || !seen.insert(tensor.name).second) {
      throw Error(ErrorKind::usage,
                  str("the tensor name '", tensor.name, "' is ",
                      tensor.name == "__metadata__" ? "reserved" : "given twice"),
                  path.string());
    }
    const uint64_t end = at + bytes_of(tensor, path);
    text += str(text.size() > 1 ? "," : "", json_string(tensor.name), ":{\"dtype\":\"",
                info(tensor.format).safetensors, "\",\"shape\":[", join(tensor.shape, ","),
                "],\"data_offsets\":[", at, ",", end, "]}");
    layout.offsets.push_back(at);
    at = end;
  }
  text += "}";
  text.resize((text.size() + 7) / 8 * 8, ' ');
  append_bytes<uint64_t>(layout.head, text.size());
  layout.head += text;
  for (uint64_t& offset : layout.offsets) offset += layout.head.size();
  layout.size = layout.head.size() + at;
  return layout;
}

SafetensorsWriter::SafetensorsWriter(const fs::path& path, std::vector<TensorSpec> tensors,
                                     const Metadata& metadata)
    : layout_(layout_safetensors(path, std::move(tensors), metadata)), file_(path) {
  file_.write(layout_.head);
  if (!order().empty()) missing_ = bytes_of(order()[0], path);
  skip_finished();
}

void SafetensorsWriter::skip_finished() {
  while (at_ < order().size() && missing_ == 0) {
    if (++at_ < order().size()) {
      missing_ = static_cast<uint64_t>(*packed_bytes(order()[at_].format, order()[at_].shape));
    }
  }
}

void SafetensorsWriter::append(const std::string& name, std::span<const std::byte> bytes) {
  if (bytes.empty()) return;  // a tensor without elements is already done
  SMIDGEN_ASSERT(at_ < order().size() && order()[at_].name == name && bytes.size() <= missing_);
  file_.write(bytes);
  missing_ -= bytes.size();
  skip_finished();
}

void SafetensorsWriter::commit() {
  SMIDGEN_ASSERT(at_ == order().size());
  file_.commit();
}

void write_safetensors(const fs::path& path, const std::vector<NamedTensor>& tensors,
                       const Metadata& metadata) {
  std::vector<TensorSpec> specs;
  std::unordered_map<std::string_view, std::span<const std::byte>> bytes;
  for (const NamedTensor& tensor : tensors) {
    specs.push_back({tensor.name, tensor.view.format, tensor.view.shape});
    const auto wanted = packed_bytes(tensor.view.format, tensor.view.shape);
    if (wanted && static_cast<uint64_t>(*wanted) != tensor.view.bytes.size()) {
      throw Error(
          ErrorKind::usage,
          str("the tensor has ", tensor.view.bytes.size(), " bytes, but ",
              info(tensor.view.format).name, " ", shape_str(tensor.view.shape), " takes ", *wanted),
          str(path.string(), ", tensor '", tensor.name, "'"));
    }
    bytes.emplace(tensor.name, tensor.view.bytes);
  }
  SafetensorsWriter writer(path, std::move(specs), metadata);
  for (const TensorSpec& tensor : writer.order()) writer.append(tensor.name, bytes.at(tensor.name));
  writer.commit();
}

}  // namespace smidgen
