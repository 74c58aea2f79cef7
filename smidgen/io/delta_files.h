// A compressed delta as a folder: delta.json, delta.safetensors and a configuration, the adapter's
// own or, of a model, one that names kModelDeltaType.
//
//   delta.json         version, kind, of, codec, base, scale, and the tensors in the order of their
//                      codes: name, shape, dtype, bytes of the codes, kept values
//   delta.safetensors  "codes" U8, all tensors' codes end to end; "values" F32, kept values of a
//                      sparse delta; "exact.NAME", tensors that stay as they are
//
// kind ternary: difference = scale * (-1, 0 or +1). sparse: a kept value is what it was. values: a
// codec of values. docs/compress.md describes every key.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "smidgen/base/fs.h"
#include "smidgen/base/json.h"
#include "smidgen/io/codecs/blocks.h"
#include "smidgen/io/safetensors.h"

namespace smidgen {

constexpr int kDeltaVersion = 1;
// peft_type of a model's delta. Everything that takes an adapter takes it; PEFT refuses the word.
constexpr const char* kModelDeltaType = "SMIDGEN_DELTA";

enum class DeltaKind { ternary, sparse, values };
const char* to_string(DeltaKind kind);

struct DeltaTensor {
  std::string name;
  std::vector<int64_t> shape;
  Format format = Format::f32;  // of the whole tensor once it is restored
  int64_t kept = 0;             // values that are not zero
  double start = 0;             // what the difference is from where there is no base: 1 for IA3
  size_t begin = 0, bytes = 0;  // in the codes
  size_t first_value = 0;       // of a sparse one

  int64_t elements() const;
  int64_t columns() const { return shape.empty() ? 1 : shape.back(); }
};

struct DeltaFiles {
  fs::path path;
  Json json;  // delta.json
  DeltaKind kind = DeltaKind::ternary;
  const Codec* codec = nullptr;
  bool adapter = true;  // otherwise of a model, and a base is needed
  std::string base;     // digest; may be empty for an adapter
  float scale = 0;      // of a ternary one
  std::vector<DeltaTensor> tensors;
  std::vector<std::string> exact;             // without the prefix, in file order
  std::map<std::string, std::string> copies;  // tensor -> the one that it equals
  std::shared_ptr<const SafetensorsFile> file;

  Payload codes(const DeltaTensor& tensor) const;
  TensorView exact_tensor(const std::string& name) const { return file->view("exact." + name); }
  std::string where(const DeltaTensor& tensor) const;
};

bool is_delta(const fs::path& folder);

// Every count is checked against the file; the codes themselves are when they are decoded. Refused
// in words: a newer version, an unknown kind or codec, and a file that claims to unfold to more
// than kMostElementsPerByte times its size.
DeltaFiles read_delta(const fs::path& folder);
constexpr uint64_t kMostElementsPerByte = 1 << 13;  // at a density of 1e-4 it is about 5000

// The difference that one tensor's codes stand for. Reading is safe from several threads.
class TensorDelta {
 public:
  TensorDelta(const DeltaFiles& files, const DeltaTensor& tensor);

  // Elements [begin, begin + out.size()); whole rows of a values delta. Pieces that begin at
  // multiples of kSignBlock are decoded once.
  void read(int64_t begin, std::span<float> out) const;
  // Of ternary and sparse ones.
  const SignBlocks& signs() const { return *signs_; }

 private:
  const DeltaFiles& files_;
  const DeltaTensor& tensor_;
  std::unique_ptr<SignBlocks> signs_;
  std::vector<size_t> before_;  // kept values before each block of a sparse one
};

// An adapter's tensors as they were before, in the formats they had: start plus the difference.
// Each is decoded here; exact ones stay in the file. Throws resource where the machine has not the
// memory for them.
std::shared_ptr<const TensorStore> expand_adapter(const DeltaFiles& files);

struct DeltaContents {
  Json json;
  std::string codes;
  std::vector<float> values;                               // of a sparse one
  std::vector<NamedTensor> exact;                          // names without the prefix
  Json adapter_config, sidecar;                            // null where there is none
  std::vector<std::pair<std::string, std::string>> texts;  // files of a model: name, content
};

// The text of delta.json: a line for each tensor, so that long lists stay short.
std::string delta_json(const Json& json);

// The folder appears whole. Throws usage when it exists and is not empty.
void write_delta(const fs::path& folder, const DeltaContents& contents);

}  // namespace smidgen
