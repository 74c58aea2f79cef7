// GGUF version 2 and 3, little-endian. Source: ggml-org/ggml (docs/gguf.md, src/gguf.cpp).
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "smidgen/base/fs.h"
#include "smidgen/io/tensor_store.h"

namespace smidgen {

enum class GgufType : uint32_t {
  u8,
  i8,
  u16,
  i16,
  u32,
  i32,
  f32,
  boolean,
  string,
  array,
  u64,
  i64,
  f64
};
std::string_view to_string(GgufType type);

// A metadata value as it lies in the file. Scalars: `bytes` is the number or the text. Arrays:
// `element` and `count` say what `bytes` holds, strings each with their 8-byte length in front;
// nothing is copied.
struct GgufValue {
  GgufType type = GgufType::u32;
  GgufType element = GgufType::u32;
  uint64_t count = 0;
  std::span<const std::byte> bytes;
  uint64_t offset = 0;  // of the value in the file
};

// An open file; everything is checked before the constructor returns, and nothing is allocated on
// the word of a count that the rest of the file could not hold. Errors are `format` with file and
// byte offset. Tensor names are GGUF's own ("blk.0.attn_q.weight"); shapes are in HF order, slowest
// dimension first: [out, in].
class GgufFile : public TensorStore {
 public:
  explicit GgufFile(const fs::path& path);

  uint32_t version() const { return version_; }
  uint64_t alignment() const { return alignment_; }
  const std::vector<std::string>& keys() const { return keys_; }  // in file order
  const GgufValue* find(const std::string& key) const;            // null when absent

  // Typed reads. Absent key: not_found with the nearest keys; wrong type: format with both types.
  // Integers of any width and sign are accepted where an integer is asked, integers also where a
  // float is asked.
  int64_t get_int(const std::string& key) const;
  double get_float(const std::string& key) const;
  bool get_bool(const std::string& key) const;
  std::string get_string(const std::string& key) const;
  std::vector<std::string_view> get_strings(const std::string& key) const;  // views into the file
  std::vector<int64_t> get_ints(const std::string& key) const;
  std::vector<float> get_floats(const std::string& key) const;
  // The same with a value for an absent key; a wrong type is still an error.
  int64_t get_int(const std::string& key, int64_t absent) const;
  double get_float(const std::string& key, double absent) const;
  bool get_bool(const std::string& key, bool absent) const;
  std::string get_string(const std::string& key, const std::string& absent) const;

  const std::vector<std::string>& names() const override { return table_.names(); }
  bool contains(const std::string& name) const override { return table_.contains(name); }
  TensorView view(const std::string& name) const override { return table_.view(name); }
  std::string where() const override { return table_.where(); }
  void release(std::span<const std::byte> bytes) const override { file_.release(bytes); }
  void read(std::span<const std::byte> bytes, std::byte* out) const override {
    file_.read(bytes, out);
  }
  const MappedFile& file() const { return file_; }

 private:
  const GgufValue& require(const std::string& key) const;
  MappedFile file_;
  TensorTable table_;
  uint32_t version_ = 0;
  uint64_t alignment_ = 32;
  std::vector<std::string> keys_;
  std::unordered_map<std::string, GgufValue> values_;
};

}  // namespace smidgen
