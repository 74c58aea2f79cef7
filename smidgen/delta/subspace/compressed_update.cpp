#include <map>

#include <torch/torch.h>

#include "smidgen/base/error.h"
#include "smidgen/delta/subspace/update.h"
#include "smidgen/methods/stored_delta.h"

namespace smidgen {

namespace {

class CompressedUpdate : public Update {
 public:
  CompressedUpdate(std::string label, DeltaFiles delta)
      : label_(std::move(label)), delta_(std::move(delta)), left_out_(delta_.exact) {
    for (const DeltaTensor& tensor : delta_.tensors) place(tensor.name, tensor);
    for (const auto& [name, original] : delta_.copies) {
      if (const auto found = coded_.find(original); found != coded_.end()) {
        place(name, *found->second);
      } else {
        left_out_.push_back(name);
      }
    }
  }

  std::string label() const override { return label_; }
  const std::vector<UpdateTensor>& tensors() const override { return tensors_; }
  const std::vector<std::string>& left_out() const override { return left_out_; }
  bool low_rank() const override { return false; }

  std::optional<Delta> read(const std::string& name) const override {
    const auto found = coded_.find(name);
    if (found == coded_.end()) return std::nullopt;
    const DeltaTensor& tensor = *found->second;
    if (delta_.kind == DeltaKind::ternary && tensor.shape.size() == 2)
      return ternary_delta(delta_, tensor);
    const int64_t height = tensor.shape.empty() ? 1 : tensor.shape.front();
    at::Tensor values = at::empty({height, height ? tensor.elements() / height : 0}, at::kFloat);
    TensorDelta(delta_, tensor)
        .read(0, {values.mutable_data_ptr<float>(), static_cast<size_t>(values.numel())});
    return DenseDelta{values};
  }

 private:
  void place(const std::string& name, const DeltaTensor& tensor) {
    tensors_.push_back({name, tensor.shape});
    coded_.emplace(name, &tensor);
  }

  std::string label_;
  DeltaFiles delta_;
  std::vector<UpdateTensor> tensors_;
  std::map<std::string, const DeltaTensor*> coded_;
  std::vector<std::string> left_out_;
};

}  // namespace

std::shared_ptr<const Update> compressed_update(std::string label, DeltaFiles delta) {
  SMIDGEN_ASSERT(!delta.adapter);
  return std::make_shared<CompressedUpdate>(std::move(label), std::move(delta));
}

}  // namespace smidgen
