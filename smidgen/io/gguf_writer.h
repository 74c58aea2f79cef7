// GGUF version 3, written. Equal metadata and tensors in equal order give the bytes of PyPI gguf
// 0.19.0's GGUFWriter.
#pragma once

#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "smidgen/base/fs.h"
#include "smidgen/io/gguf.h"
#include "smidgen/io/little_endian.h"
#include "smidgen/io/safetensors.h"

namespace smidgen {

template <class Number>
constexpr GgufType gguf_type() {
  if constexpr (std::is_same_v<Number, bool>) return GgufType::boolean;
  if constexpr (std::is_same_v<Number, uint8_t>) return GgufType::u8;
  if constexpr (std::is_same_v<Number, int8_t>) return GgufType::i8;
  if constexpr (std::is_same_v<Number, uint16_t>) return GgufType::u16;
  if constexpr (std::is_same_v<Number, int16_t>) return GgufType::i16;
  if constexpr (std::is_same_v<Number, uint32_t>) return GgufType::u32;
  if constexpr (std::is_same_v<Number, int32_t>) return GgufType::i32;
  if constexpr (std::is_same_v<Number, uint64_t>) return GgufType::u64;
  if constexpr (std::is_same_v<Number, int64_t>) return GgufType::i64;
  if constexpr (std::is_same_v<Number, float>) return GgufType::f32;
  if constexpr (std::is_same_v<Number, double>) return GgufType::f64;
}

// Keys and values in the order in which they were added. A key that is empty or given twice: Error
// usage.
class GgufMetadata {
 public:
  // The type of the value is the C++ type, so it is named: add<uint32_t>("llama.block_count", 30).
  template <class Number>
  void add(const std::string& key, std::type_identity_t<Number> value) {
    append_bytes(begin(key, gguf_type<Number>()), value);
  }
  template <class Number>
  void add_array(const std::string& key, const std::vector<Number>& values) {
    static_assert(!std::is_same_v<Number, bool>, "std::vector<bool> has no elements to point at");
    std::string& out = begin_array(key, gguf_type<Number>(), values.size());
    for (const Number value : values) append_bytes(out, value);
  }
  void add_string(const std::string& key, std::string_view value);
  void add_strings(const std::string& key, const std::vector<std::string>& values);
  // A value of an open file, as it is.
  void copy(const std::string& key, const GgufValue& value);

  bool contains(const std::string& key) const { return keys_.count(key) != 0; }
  size_t size() const { return keys_.size(); }
  const std::string& bytes() const { return bytes_; }  // as they lie in the file
  uint32_t alignment() const { return alignment_; }
  // Adds general.alignment, a power of two; the default, 32, needs no key.
  void set_alignment(uint32_t alignment);

 private:
  std::string& begin(const std::string& key, GgufType type);
  std::string& begin_array(const std::string& key, GgufType element, uint64_t count);
  std::set<std::string> keys_;
  std::string bytes_;
  uint32_t alignment_ = 32;
};

// Written piece by piece, so that tensors never lie in memory together: declare all, then append
// each one's bytes in order. The file appears at commit(). Error usage for a name that is empty,
// longer than 63 bytes or given twice, more than 4 dimensions, a format that GGUF has not, and rows
// that are not whole blocks.
class GgufWriter {
 public:
  GgufWriter(const fs::path& path, const GgufMetadata& metadata, std::vector<TensorSpec> tensors);

  const std::vector<TensorSpec>& order() const { return order_; }
  // The next bytes of tensor `name`, in pieces of any size. Out of turn or too many: assertion.
  void append(const std::string& name, std::span<const std::byte> bytes);
  void commit();

 private:
  void finish_tensors();
  void pad();
  AtomicFile file_;
  std::vector<TensorSpec> order_;
  std::vector<uint64_t> sizes_;
  uint64_t alignment_;
  size_t at_ = 0;         // the tensor under way
  uint64_t missing_ = 0;  // bytes it still needs
};

}  // namespace smidgen
