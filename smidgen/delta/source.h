// A model as named tensors that are read piece by piece: what merging, compressing and comparing
// take. A folder, a GGUF file and a base with adapters look the same from here.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "smidgen/base/json.h"
#include "smidgen/io/model_files.h"
#include "smidgen/io/tensor_view.h"

namespace smidgen {

struct SourceTensor {
  std::string name;  // HF's, also for GGUF files
  std::vector<int64_t> shape;
  Format stored = Format::f32;

  int64_t elements() const;
  int64_t columns() const;  // the last dimension; 1 for a scalar
};

// Reading is safe from several threads.
class Source {
 public:
  virtual ~Source();

  // As the user named it.
  virtual std::string label() const = 0;
  // In the order of the files. A tied weight comes once.
  virtual const std::vector<SourceTensor>& tensors() const = 0;
  // Elements [begin, begin + out.size()) in C order as fp32. `begin` and the size are whole rows
  // unless a row is longer than kLongRow.
  virtual void read(const SourceTensor& tensor, int64_t begin, std::span<float> out) const = 0;
  // The bytes of a tensor that lies in a file as it is; nothing where it is computed.
  virtual std::optional<TensorView> stored(const SourceTensor& tensor) const = 0;
  // Lets go of what using stored() has brought into memory. read() leaves nothing there.
  virtual void release(const SourceTensor& tensor) const = 0;
  // Tokenizer, digest and so on; null for tensors that belong to no model.
  virtual const ModelFiles* files() const = 0;
  virtual Json config() const { return nullptr; }  // HF's config.json, also for GGUF files

  const SourceTensor* find(const std::string& name) const;  // null when there is none
};

constexpr int64_t kLongRow = int64_t{1} << 20;

// `spec` as open_model takes it: folder, GGUF file or BASE+ADAPTER[+ADAPTER]. A folder's tensors
// are taken by the names in its files, whether or not the family is known; a GGUF file and a base
// with adapters need a family.
std::shared_ptr<const Source> open_source(const std::string& spec, bool allow_other_base = false);

}  // namespace smidgen
