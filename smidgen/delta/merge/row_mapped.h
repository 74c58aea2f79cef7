// A model whose vocabulary tensors have other rows than its files: rows in another order, rows of
// other models, weighted sums of rows. Nothing is read before it is asked for.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "smidgen/delta/source.h"

namespace smidgen {

// weight * row `row` of part `part`.
struct RowShare {
  uint32_t part = 0;
  int32_t row = 0;
  float weight = 1;
};

// Where the rows of one tensor come from.
struct RowPlan {
  static constexpr int32_t kShares = -1;  // the sum of the row's shares; no share: zeros
  static constexpr int32_t kMean = -2;    // the mean of all rows that are not kMean
  std::vector<int32_t> rows;              // of part 0, or one of the above
  std::vector<uint32_t> first;            // [rows + 1] into `shares`; empty when there are none
  std::vector<RowShare> shares;

  int64_t size() const { return static_cast<int64_t>(rows.size()); }
  // Row i is row i of part 0, and there are `count` of them.
  bool is_identity(int64_t count) const;
};

// Rows lie along the first dimension; a bias has rows of one element.
struct MappedTensor {
  struct Part {
    std::shared_ptr<const Source> source;
    const SourceTensor* tensor = nullptr;  // of source->tensors()
  };
  SourceTensor shown;
  std::vector<Part> parts;
  std::shared_ptr<const RowPlan> plan;
};

// Every row is the sum, in fp32 and in the order of the shares. The mean's sums are doubles; it is
// made when a row first needs it, by one pass over the tensor.
class RowMapped : public Source {
 public:
  // A mapped tensor takes the place of the model's of that name; one that the model does not have
  // comes last. Throws mismatch where rows of the parts differ in length, or a share's row is
  // outside of its part.
  RowMapped(std::shared_ptr<const Source> model, std::vector<MappedTensor> mapped);
  ~RowMapped() override;

  std::string label() const override { return model_->label(); }
  const std::vector<SourceTensor>& tensors() const override { return tensors_; }
  void read(const SourceTensor& tensor, int64_t begin, std::span<float> out) const override;
  std::optional<TensorView> stored(const SourceTensor& tensor) const override;
  void release(const SourceTensor& tensor) const override;
  const ModelFiles* files() const override { return model_->files(); }
  Json config() const override { return model_->config(); }

  // SHA-256 of the plans: two runs with the same digest read the same rows of the same files.
  std::string row_digest() const;

 private:
  struct State;  // a mapped tensor with what was computed of it
  const State* find_state(const std::string& name) const;
  const SourceTensor& original(const SourceTensor& tensor) const;

  std::shared_ptr<const Source> model_;
  std::vector<SourceTensor> tensors_;  // the model's in its order, then new names
  std::map<std::string, std::unique_ptr<State>> states_;
};

}  // namespace smidgen
