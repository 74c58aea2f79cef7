// safetensors: 8 bytes of little-endian header length, a JSON header, one packed buffer.
// Source: huggingface/safetensors (README.md, safetensors/src/tensor.rs). Files written here equal
// the Python library's byte for byte (with more than one metadata key its order is random, ours is
// sorted).
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "smidgen/base/fs.h"
#include "smidgen/io/tensor_store.h"

namespace smidgen {

using Metadata = std::map<std::string, std::string>;

// An open file. Every tensor's place is checked when the file is opened: sorted offsets tile the
// buffer from 0 to its end without hole or overlap, sizes equal shape times format, no name occurs
// twice. Errors are `format` and name the file, the byte offset and the tensor. Differs from the
// reference, which takes all of these in silence: a repeated name, an unknown field of a tensor
// entry, an entry written as an array, and blanks before the first brace are refused.
class SafetensorsFile : public TensorStore {
 public:
  explicit SafetensorsFile(const fs::path& path);

  const Metadata& metadata() const { return metadata_; }
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
  MappedFile file_;
  TensorTable table_;
  Metadata metadata_;
};

// A sharded checkpoint by its index (model.safetensors.index.json). Names in `weight_map` must be
// plain file names beside the index, every tensor must be in the file that the index names, and no
// file may hold one that the index does not name.
std::shared_ptr<TensorStore> open_sharded(const fs::path& index_json);

struct NamedTensor {
  std::string name;
  TensorView view;
};

// Atomic. Order in the file: format by descending alignment as the reference has it, then name
// bytewise.
void write_safetensors(const fs::path& path, const std::vector<NamedTensor>& tensors,
                       const Metadata& metadata = {{"format", "pt"}});

struct TensorSpec {
  std::string name;
  Format format = Format::f32;
  std::vector<int64_t> shape;
};

// What a file of these tensors is: its first bytes, and where each tensor's bytes go.
struct SafetensorsLayout {
  std::vector<TensorSpec> order;  // as they lie in the file
  std::vector<uint64_t> offsets;  // of the tensors of `order`, in the file
  std::string head;               // the length of the header, and the header
  uint64_t size = 0;              // of the whole file
};

// Throws unsupported for a format that safetensors does not have, usage for a name that is reserved
// or given twice and for a shape that cannot be. `path` is for messages.
SafetensorsLayout layout_safetensors(const fs::path& path, std::vector<TensorSpec> tensors,
                                     const Metadata& metadata = {{"format", "pt"}});

// The same file written piece by piece, for tensors that never lie in memory together: declare all,
// then append each tensor's bytes in order(). The file appears at commit().
class SafetensorsWriter {
 public:
  SafetensorsWriter(const fs::path& path, std::vector<TensorSpec> tensors,
                    const Metadata& metadata = {{"format", "pt"}});

  const std::vector<TensorSpec>& order() const { return layout_.order; }
  // The next bytes of tensor `name`, in pieces of any size. Out of turn or too many: assertion.
  void append(const std::string& name, std::span<const std::byte> bytes);
  void commit();

 private:
  void skip_finished();
  SafetensorsLayout layout_;
  AtomicFile file_;
  size_t at_ = 0;         // the tensor under way
  uint64_t missing_ = 0;  // bytes it still needs
};

}  // namespace smidgen
