// How a family's tensors are called and laid out in files. A family is a table of rows; loading,
// writing and the check that no tensor is left over are the same for all.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "smidgen/io/model_files.h"
#include "smidgen/kernels/formats/weight_source.h"
#include "smidgen/nn/host.h"
#include "smidgen/nn/model.h"

namespace smidgen {

// What a module is in the model: its shape and its place follow from this.
enum class Part {
  embedding,
  positions,
  norm,
  head,
  attention_norm,
  query,
  key,
  value,
  query_key_value,  // one module for the three
  query_norm,
  key_norm,
  attention_out,
  post_attention_norm,
  mlp_norm,
  gate,
  up,
  gate_up,  // one module for the two
  down,
  post_mlp_norm,
  router,
  expert_gate,
  expert_up,
  expert_down,
};

// How a file holds a tensor whose rows in memory are HF's, [out, in].
enum class Layout {
  plain,
  // GGUF stores the rows of q and k of the llama architecture pair by pair ([head_dim / 2, 2] per
  // head) where HF has two halves ([2, head_dim / 2]).
  rotated,
  // GGUF holds w + 1: the norms of Gemma multiply by 1 + w.
  offset,
  // HF holds [in, out] (GPT-2's Conv1D); GGUF is plain. Vectors are plain in both.
  transposed,
  // HF holds q, k and v of one head next to each other (GPT-NeoX), GGUF all q, all k, all v.
  interleaved,
};

// One module: HF's path and GGUF's stem, both without ".weight" and ".bias". The first "{}" stands
// for the layer, the second for the expert; a GGUF tensor of experts is [experts, out, in].
struct TensorRow {
  Part part;
  std::string hf, gguf;
  Layout layout = Layout::plain;
};

using TensorRows = std::vector<TensorRow>;

// A row with its numbers filled in.
struct TensorPlace {
  const TensorRow* row = nullptr;
  int64_t layer = -1, expert = -1;
  std::string hf() const;
  std::string gguf() const;
};

// The place of an HF module path ("model.layers.7.mlp.up_proj"), or nothing.
std::optional<TensorPlace> find_place(const TensorRows& rows, const std::string& hf_module);

// Row i in memory is row order[i] of the GGUF tensor. Empty where they are the same.
std::vector<int64_t> gguf_row_order(Layout layout, int64_t rows, int64_t head_dim);

// Reads tensors by their places from either kind of file and remembers which were taken.
class WeightReader {
 public:
  // `ignorable` are patterns of names that may be left over. `head_dim` is for rotated rows.
  WeightReader(const ModelFiles& files, TensorRows rows, std::vector<std::string> ignorable,
               int64_t head_dim);

  bool has(Part part) const { return row(part) != nullptr; }
  TensorPlace place(Part part, int64_t layer = -1, int64_t expert = -1) const;
  Layout layout(Part part) const { return row(part)->layout; }
  // [out, in] in memory order; a mismatch names both shapes.
  WeightSource weight(const TensorPlace& place, int64_t out, int64_t in);
  at::Tensor vector(const TensorPlace& place, std::string_view suffix, int64_t out);
  Format stored_format(const TensorPlace& place) const;
  // Throws mismatch when the file holds tensors that nobody took, naming them.
  void finish() const;

 private:
  const TensorRow* row(Part part) const;
  std::string name_of(const TensorPlace& place, std::string_view suffix) const;
  WeightSource read(const TensorPlace& place, std::string_view suffix, int64_t out, int64_t in);
  const ModelFiles& files_;
  TensorRows rows_;
  std::vector<std::string> ignorable_;
  int64_t head_dim_;
  std::set<std::string> taken_;
};

Arithmetic resolve_arithmetic(const LoadOptions& options);

}  // namespace smidgen
