// What a merge method is: a few passes over pieces of a tensor that only count and add up, and one
// that writes. The engine (engine.h) cuts, reads, runs on all cores and writes; a method holds no
// buffers and never sees a whole tensor.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "smidgen/base/json.h"
#include "smidgen/base/registry.h"
#include "smidgen/io/tensor_view.h"

namespace smidgen {

// A setting of a method. Yes and no are 1 and 0.
struct MergeField {
  enum class Kind { number, integer, flag };
  enum class Scope {
    shared,  // one value for a tensor
    input,   // one for each input, the base too where the method merges it like any other
    other,   // one for each input but the base
  };
  std::string name;
  Kind kind = Kind::number;
  Scope scope = Scope::shared;
  std::optional<double> standard;  // without one a recipe must give it
  std::string help;
  bool late = false;  // read by emit alone: passes find the same whatever it is
};

// Numbers about the inputs of one tensor that come from elsewhere: importances of elements, or what
// a layer's inputs were like. Reading is safe from several threads.
class MergeStatistics {
 public:
  virtual ~MergeStatistics() = default;
  // Empty where this input has none for the tensor.
  virtual std::vector<int64_t> shape(size_t input) const = 0;
  virtual void read(size_t input, int64_t begin, std::span<float> out) const = 0;
};

// What is known of one output tensor before anything is read. Inputs are counted in the order of
// the recipe. A base that the method uses as such is not an input; one that it ignores is the last.
struct MergeTask {
  std::string tensor;
  std::vector<int64_t> shape;
  int64_t elements = 0, columns = 0;  // columns: the last dimension
  size_t inputs = 0;
  bool base = false;
  std::map<std::string, double> shared;
  std::vector<std::map<std::string, double>> by_input;
  uint64_t seed = 0;
  // What every step is computed in: fp32; bf16 or f16 where MergeTraits::narrow and the recipe asks
  // for mergekit's steps. Inputs come rounded to it, and emit rounds what it gives.
  Format arithmetic = Format::f32;
  bool as_mergekit = false;  // mergekit's steps, in fp32 too
  // Null unless the method asks for them (MergeTraits::statistics).
  std::shared_ptr<const MergeStatistics> statistics = {};

  double value(const std::string& name) const;
  double value(size_t input, const std::string& name) const;
  bool flag(const std::string& name) const { return value(name) != 0; }
};

// Consecutive elements of one tensor, fp32: whole rows unless a row is longer than kLongRow.
struct Chunk {
  const MergeTask* task = nullptr;
  int64_t begin = 0;  // of the first element, in the tensor
  int64_t count = 0;
  std::span<const float* const> inputs;  // the models' values
  const float* base = nullptr;           // null where the task has no base
  std::span<const float* const> deltas;  // inputs minus base; empty unless MergeTraits::deltas
  // Counters of the tile that this chunk belongs to. Chunks of a tile come in order, on one thread,
  // and the counters are zero before the first, in every pass anew.
  std::span<int64_t> cursors;
  int64_t tile = 0;

  int64_t rows() const { return count / task->columns; }
};

// What a counting pass collects. `sums` belong to one tile; they are kept apart and handed over in
// the order of tiles, so that no result depends on threads. `counts` are added up over all tiles.
struct PassSize {
  size_t sums = 0;    // doubles a tile
  size_t counts = 0;  // integers a tensor
};
struct Partial {
  std::span<double> sums;
  std::span<uint32_t> counts;
};

// The merge of one tensor. The engine asks pass_size(0), runs reduce(0, ...) over all chunks, calls
// finish(0, ...), asks pass_size(1), and so on until it gets nothing; then emit over all chunks.
class TensorMerge {
 public:
  virtual ~TensorMerge() = default;
  virtual std::optional<PassSize> pass_size(int pass) const;
  // Adds to `partial`. Runs on several threads at once.
  virtual void reduce(int pass, const Chunk& chunk, const Partial& partial) const;
  // `sums` are [tiles, PassSize::sums].
  virtual void finish(int pass, std::span<const double> sums, std::span<const uint64_t> counts);
  // After the passes and before the first emit, on one thread.
  virtual void prepare(const MergeTask&) {}
  virtual size_t cursors() const { return 0; }  // counters a tile
  // `out` holds chunk.count elements. Runs on several threads at once.
  virtual void emit(const Chunk& chunk, float* out) const = 0;
};

struct MergeTraits {
  enum class Base { ignored, optional, required };
  // What becomes of a tensor that only some models have (a head that others tie).
  enum class Missing { refuse, copy_single, copy_base, base_or_skip };
  Base base = Base::ignored;
  size_t least = 1;                  // inputs, the base not counted unless it is ignored
  std::optional<size_t> most;        // none: any number
  bool deltas = false;               // Chunk::deltas is filled
  bool random = false;               // draws random numbers
  bool narrow = false;               // follows MergeTask::arithmetic
  const char* statistics = nullptr;  // the kind of which every input needs a file: fisher, gram
  bool whole_model = false;  // passes run over the tensors of the whole model as one long one
  bool alone = false;        // prepare() must not run beside that of another tensor
  Missing missing = Missing::refuse;
};

class MergeMethod {
 public:
  virtual ~MergeMethod() = default;
  virtual std::string summary() const = 0;  // one line
  virtual std::string source() const = 0;   // paper
  virtual MergeTraits traits() const = 0;
  virtual std::vector<MergeField> fields() const = 0;
  // Throws usage, naming the tensor, for values that cannot be.
  virtual std::unique_ptr<TensorMerge> start(const MergeTask& task) const = 0;
  // The law by which a result can be checked: the one input, or task.inputs for the base, whose
  // values the result has with these settings, whatever the inputs are, but for rounding.
  virtual std::optional<size_t> same_as(const MergeTask&) const { return std::nullopt; }
};

void register_all(Registry<MergeMethod>& registry);  // written by the build
const Registry<MergeMethod>& merge_methods();

// The registry for the schema document: {name: {summary, source, base, fields}}, base being one of
// ignored, optional and required.
Json describe_merge_methods();

}  // namespace smidgen
