// For tests: the tensors of a table as a model.
#pragma once

#include <atomic>
#include <utility>

#include "smidgen/delta/source.h"
#include "smidgen/io/dequantise.h"
#include "smidgen/io/tensor_store.h"

namespace smidgen {

class TableSource : public Source {
 public:
  TableSource(std::string label, std::shared_ptr<const TensorStore> table)
      : label_(std::move(label)), table_(std::move(table)) {
    for (const std::string& name : table_->names()) {
      const TensorView view = table_->view(name);
      tensors_.push_back({name, view.shape, view.format});
    }
  }

  std::string label() const override { return label_; }
  const std::vector<SourceTensor>& tensors() const override { return tensors_; }
  // Only whole rows of its own tensors, as Source says.
  void read(const SourceTensor& tensor, int64_t begin, std::span<float> out) const override {
    const auto count = static_cast<int64_t>(out.size());
    SMIDGEN_ASSERT(&tensor >= tensors_.data() && &tensor < tensors_.data() + tensors_.size());
    SMIDGEN_ASSERT(tensor.columns() > 0 && begin % tensor.columns() == 0 &&
                   count % tensor.columns() == 0);
    elements_read_ += count;
    to_f32_rows(table_->view(tensor.name), begin / tensor.columns(),
                (begin + count) / tensor.columns(), out);
  }
  std::optional<TensorView> stored(const SourceTensor& tensor) const override {
    return table_->view(tensor.name);
  }
  void release(const SourceTensor& tensor) const override { released_ += tensor.elements(); }
  const ModelFiles* files() const override { return nullptr; }
  Json config() const override { return {}; }

  int64_t elements_read() const { return elements_read_; }
  int64_t released() const { return released_; }

 private:
  std::string label_;
  std::shared_ptr<const TensorStore> table_;
  std::vector<SourceTensor> tensors_;
  mutable std::atomic<int64_t> elements_read_ = 0, released_ = 0;
};

}  // namespace smidgen
