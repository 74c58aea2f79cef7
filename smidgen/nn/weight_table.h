// How a family's tensors are called and laid out in files. A family is a table of rows; loading,
// writing and the check that no tensor is left over are the same for all.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "smidgen/io/model_files.h"
#include "smidgen/kernels/formats/weight_source.h"
#include "smidgen/nn/host.h"
#include "smidgen/nn/model.h"

namespace smidgen {

// "{}" stands for the number of the layer.
struct TensorRow {
  const char* hf;
  const char* gguf;
  enum class Layout {
    plain,
    // GGUF stores the rows of q and k of the llama architecture pair by pair ([head_dim / 2, 2] per
    // head) where HF has two halves ([2, head_dim / 2]); read in HF's order.
    rotated,
  } layout = Layout::plain;
};

// Reads tensors by their HF names from either kind of file and remembers which were taken.
class WeightReader {
 public:
  WeightReader(const ModelFiles& files, std::vector<TensorRow> table,
               std::vector<std::string> ignorable);

  bool contains(const std::string& hf_name) const;
  // [rows, columns]; a mismatch names both shapes. `heads` is needed for rotated rows.
  WeightSource source(const std::string& hf_name, int64_t rows, int64_t columns, int64_t heads = 0);
  Format stored_format(const std::string& hf_name) const;
  // Throws mismatch when the file holds tensors that nobody took, naming them.
  void finish() const;

 private:
  struct Location {
    std::string name;
    TensorRow::Layout layout = TensorRow::Layout::plain;
  };
  Location locate(const std::string& hf_name) const;
  const ModelFiles& files_;
  std::vector<TensorRow> table_;
  std::vector<std::string> ignorable_;
  std::set<std::string> taken_;
};

// The storage that `options` ask for a tensor that lies in the file as `stored`.
std::string storage_format(const LoadOptions& options, Format stored, Arithmetic arithmetic);
Arithmetic resolve_arithmetic(const LoadOptions& options);

}  // namespace smidgen
