#include "smidgen/io/gguf_writer.h"

#include <bit>

#include "smidgen/base/error.h"
#include "smidgen/io/gguf_types.h"

namespace smidgen {

namespace {

void append_text(std::string& out, std::string_view text) {
  append_bytes<uint64_t>(out, text.size());
  out += text;
}

uint64_t checked_bytes(const TensorSpec& tensor, std::set<std::string>& names,
                       const std::string& file) {
  const auto fail = [&](const std::string& message, std::string hint = {}) {
    throw Error(ErrorKind::usage, message, str(file, ", tensor '", tensor.name, "'"),
                std::move(hint));
  };
  if (tensor.name.empty() || tensor.name.size() > kGgufMaxName)
    fail(str("a tensor name has ", tensor.name.size(), " bytes, GGUF allows 1 to ", kGgufMaxName));
  if (!names.insert(tensor.name).second) fail("the tensor name is given twice");
  if (tensor.shape.size() > kGgufMaxDims)
    fail(str(tensor.shape.size(), " dimensions, GGUF allows ", kGgufMaxDims));
  if (!ggml_id(tensor.format)) fail(str("GGUF has no type for ", info(tensor.format).name));
  const auto bytes = packed_bytes(tensor.format, tensor.shape);
  if (!bytes) {
    fail(str("the shape ", shape_str(tensor.shape), " cannot be stored as ",
             info(tensor.format).name),
         str("its rows must be whole blocks of ", info(tensor.format).elements));
  }
  return static_cast<uint64_t>(*bytes);
}

}  // namespace

std::string& GgufMetadata::begin(const std::string& key, GgufType type) {
  if (key.empty() || !keys_.insert(key).second) {
    throw Error(ErrorKind::usage,
                key.empty() ? "an empty metadata key" : "the metadata key is given twice", key);
  }
  append_text(bytes_, key);
  append_bytes(bytes_, static_cast<uint32_t>(type));
  return bytes_;
}

std::string& GgufMetadata::begin_array(const std::string& key, GgufType element, uint64_t count) {
  begin(key, GgufType::array);
  append_bytes(bytes_, static_cast<uint32_t>(element));
  append_bytes(bytes_, count);
  return bytes_;
}

void GgufMetadata::add_string(const std::string& key, std::string_view value) {
  append_text(begin(key, GgufType::string), value);
}

void GgufMetadata::add_strings(const std::string& key, const std::vector<std::string>& values) {
  std::string& out = begin_array(key, GgufType::string, values.size());
  for (const std::string& value : values) append_text(out, value);
}

void GgufMetadata::copy(const std::string& key, const GgufValue& value) {
  const std::string_view bytes(reinterpret_cast<const char*>(value.bytes.data()),
                               value.bytes.size());
  if (value.type == GgufType::string) return add_string(key, bytes);
  (value.type == GgufType::array ? begin_array(key, value.element, value.count)
                                 : begin(key, value.type)) += bytes;
}

void GgufMetadata::set_alignment(uint32_t alignment) {
  if (!std::has_single_bit(alignment)) {
    throw Error(ErrorKind::usage, str("the alignment ", alignment, " is not a power of two"),
                "general.alignment");
  }
  add<uint32_t>("general.alignment", alignment);
  alignment_ = alignment;
}

GgufWriter::GgufWriter(const fs::path& path, const GgufMetadata& metadata,
                       std::vector<TensorSpec> tensors)
    : file_(path), order_(std::move(tensors)), alignment_(metadata.alignment()) {
  std::string header = "GGUF";
  append_bytes<uint32_t>(header, 3);
  append_bytes<uint64_t>(header, order_.size());
  append_bytes<uint64_t>(header, metadata.size());
  file_.write(header);
  file_.write(metadata.bytes());
  std::string table;
  std::set<std::string> names;
  uint64_t offset = 0;
  for (const TensorSpec& tensor : order_) {
    const uint64_t bytes = checked_bytes(tensor, names, path.string());
    append_text(table, tensor.name);
    append_bytes(table, static_cast<uint32_t>(tensor.shape.size()));
    for (size_t i = tensor.shape.size(); i-- > 0;)
      append_bytes(table, static_cast<uint64_t>(tensor.shape[i]));
    append_bytes(table, *ggml_id(tensor.format));
    append_bytes(table, offset);
    offset += (bytes + alignment_ - 1) / alignment_ * alignment_;
    sizes_.push_back(bytes);
  }
  file_.write(table);
  pad();
  if (!sizes_.empty()) missing_ = sizes_[0];
  finish_tensors();
}

void GgufWriter::pad() {
  const uint64_t over = file_.written() % alignment_;
  if (over) file_.write(std::string(alignment_ - over, '\0'));
}

void GgufWriter::finish_tensors() {
  while (at_ < order_.size() && missing_ == 0) {
    pad();
    if (++at_ < order_.size()) missing_ = sizes_[at_];
  }
}

void GgufWriter::append(const std::string& name, std::span<const std::byte> bytes) {
  if (bytes.empty()) return;  // a tensor without elements is already done
  SMIDGEN_ASSERT(at_ < order_.size() && order_[at_].name == name && bytes.size() <= missing_);
  file_.write(bytes);
  missing_ -= bytes.size();
  finish_tensors();
}

void GgufWriter::commit() {
  SMIDGEN_ASSERT(at_ == order_.size());
  file_.commit();
}

}  // namespace smidgen
