#include "smidgen/delta/subspace/subspace_checks_test.h"

#include <algorithm>

#include <torch/torch.h>

#include "smidgen/base/rng.h"

namespace smidgen {

namespace {

class MemorySource : public Source {
 public:
  MemorySource(std::string label, const std::vector<std::pair<std::string, at::Tensor>>& tensors,
               Json config)
      : label_(std::move(label)), config_(std::move(config)) {
    for (const auto& [name, values] : tensors) {
      tensors_.push_back({name, values.sizes().vec(), Format::f32});
      values_[name] = values.to(at::kFloat).contiguous();
    }
  }
  std::string label() const override { return label_; }
  const std::vector<SourceTensor>& tensors() const override { return tensors_; }
  void read(const SourceTensor& tensor, int64_t begin, std::span<float> out) const override {
    std::copy_n(values_.at(tensor.name).const_data_ptr<float>() + begin, out.size(), out.data());
  }
  std::optional<TensorView> stored(const SourceTensor& tensor) const override {
    const at::Tensor& values = values_.at(tensor.name);
    return TensorView{tensor.stored,
                      tensor.shape,
                      {reinterpret_cast<const std::byte*>(values.const_data_ptr<float>()),
                       static_cast<size_t>(values.nbytes())}};
  }
  void release(const SourceTensor&) const override {}
  const ModelFiles* files() const override { return nullptr; }
  Json config() const override { return config_; }

 private:
  std::string label_;
  Json config_;
  std::vector<SourceTensor> tensors_;
  std::map<std::string, at::Tensor> values_;
};

class FactorUpdate : public Update {
 public:
  FactorUpdate(std::string label, std::map<std::string, LowRankDelta> deltas)
      : label_(std::move(label)), deltas_(std::move(deltas)) {
    for (const auto& [name, delta] : deltas_)
      tensors_.push_back({name, {delta.b.size(0), delta.a.size(1)}});
  }
  std::string label() const override { return label_; }
  const std::vector<UpdateTensor>& tensors() const override { return tensors_; }
  const std::vector<std::string>& left_out() const override { return none_; }
  bool low_rank() const override { return true; }
  std::optional<Delta> read(const std::string& name) const override {
    const auto found = deltas_.find(name);
    if (found == deltas_.end()) return std::nullopt;
    return found->second;
  }

 private:
  std::string label_;
  std::map<std::string, LowRankDelta> deltas_;
  std::vector<UpdateTensor> tensors_;
  std::vector<std::string> none_;
};

}  // namespace

at::Tensor normal_matrix(int64_t rows, int64_t columns, uint64_t seed) {
  const Rng rng(seed, "test");
  at::Tensor out = at::empty({rows, columns}, at::kDouble);
  double* value = out.mutable_data_ptr<double>();
  for (int64_t i = 0; i < out.numel(); ++i) value[i] = rng.normal(static_cast<uint64_t>(i));
  return out;
}

at::Tensor orthonormal_columns(int64_t rows, int64_t columns, uint64_t seed) {
  return std::get<0>(at::linalg_qr(normal_matrix(rows, columns, seed), "reduced"));
}

std::shared_ptr<const Source> memory_source(
    std::string label, const std::vector<std::pair<std::string, at::Tensor>>& tensors,
    Json config) {
  return std::make_shared<MemorySource>(std::move(label), tensors, std::move(config));
}

std::shared_ptr<const Update> update_of(
    std::string label, const std::vector<std::pair<std::string, at::Tensor>>& tensors) {
  auto zeros = tensors;
  for (auto& [name, values] : zeros) values = at::zeros_like(values);
  return model_update(memory_source(std::move(label), tensors), memory_source("base", zeros));
}

std::shared_ptr<const Update> update_of_factors(std::string label,
                                                std::map<std::string, LowRankDelta> deltas) {
  return std::make_shared<FactorUpdate>(std::move(label), std::move(deltas));
}

at::Tensor projector(const at::Tensor& q) {
  return at::mm(q, q.t());
}

double largest(const at::Tensor& t) {
  return t.numel() ? t.abs().max().item<double>() : 0;
}

}  // namespace smidgen
