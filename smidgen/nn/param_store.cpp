#include "smidgen/nn/param_store.h"

#include <cmath>

#include <torch/torch.h>

#include "smidgen/base/error.h"
#include "smidgen/base/sha256.h"

namespace smidgen {

namespace {

int64_t elements(const std::vector<int64_t>& shape) {
  int64_t n = 1;
  for (const int64_t side : shape) n *= side;
  return n;
}

}  // namespace

void ParamStore::place(Parameter& p, at::Tensor value, at::Tensor grad, at::Tensor m,
                       at::Tensor v) {
  p.value_ = value.detach();  // a view that is a leaf of its own
  p.grad_ = grad;
  p.m_ = m;
  p.v_ = v;
  p.value_.requires_grad_(!p.frozen_);
  if (!p.frozen_) p.value_.mutable_grad() = grad;
}

std::vector<Parameter*> ParamStore::add(const std::vector<ParamSpec>& specs, bool planned) {
  int64_t total = 0;
  for (const ParamSpec& spec : specs) total += elements(spec.shape);
  Arena arena;
  for (at::Tensor* t : {&arena.value, &arena.grad, &arena.m, &arena.v})
    *t = at::zeros({total}, at::TensorOptions(at::kFloat).device(planned ? at::kMeta : at::kCPU));
  std::vector<Parameter*> added;
  int64_t offset = 0;
  for (const ParamSpec& spec : specs) {
    SMIDGEN_ASSERT(find_or_null(spec.path()) == nullptr);
    auto p = std::make_unique<Parameter>();
    p->spec_ = spec;
    p->active_ = p->rows();
    p->counts_.assign(static_cast<size_t>(p->rows()), 0);
    const int64_t n = elements(spec.shape);
    auto part = [&](const at::Tensor& flat) { return flat.narrow(0, offset, n).view(spec.shape); };
    place(*p, part(arena.value), part(arena.grad), part(arena.m), part(arena.v));
    offset += n;
    added.push_back(p.get());
    parameters_.push_back(std::move(p));
  }
  arenas_.push_back(std::move(arena));
  return added;
}

Parameter* ParamStore::find_or_null(const std::string& path) const {
  for (const auto& p : parameters_) {
    if (p->spec().path() == path) return p.get();
  }
  return nullptr;
}

Parameter& ParamStore::find(const std::string& path) const {
  if (Parameter* p = find_or_null(path)) return *p;
  std::vector<std::string> paths;
  for (const auto& p : parameters_) paths.push_back(p->spec().path());
  throw Error(ErrorKind::not_found, str("there is no trainable tensor '", path, "'"), "",
              did_you_mean(path, paths, str(paths.size(), " trainable tensors exist")));
}

int64_t ParamStore::trainable_elements() const {
  int64_t n = 0;
  for (const auto& p : parameters_) {
    if (!p->frozen_) n += p->size() / std::max<int64_t>(1, p->rows()) * p->active_;
  }
  return n;
}

void ParamStore::zero_grad() {
  for (Arena& arena : arenas_) arena.grad.zero_();
}

void ParamStore::scale_grad(double factor) {
  for (Arena& arena : arenas_) arena.grad.mul_(factor);
}

double ParamStore::grad_norm() const {
  double sum = 0;
  for (const auto& p : parameters_) {
    if (p->frozen_ || p->size() == 0) continue;
    sum += p->grad_.to(at::kDouble).square().sum().item<double>();
  }
  return std::sqrt(sum);
}

std::string ParamStore::digest() const {
  Sha256 hash;
  for (const auto& p : parameters_) {
    const std::string path = p->spec().path();
    hash.update(std::as_bytes(std::span(path.data(), path.size())));
    const at::Tensor values = p->value_.detach().contiguous();
    hash.update(std::as_bytes(
        std::span(values.const_data_ptr<float>(), static_cast<size_t>(values.numel()))));
  }
  return hash.hex();
}

void ParamStore::set_frozen(Parameter& p, bool frozen) {
  p.frozen_ = frozen;
  p.grad_.zero_();
  p.value_.mutable_grad() = frozen ? at::Tensor() : p.grad_;
  p.value_.requires_grad_(!frozen);
}

void ParamStore::set_active(Parameter& p, int64_t rows) {
  SMIDGEN_ASSERT(rows >= 0 && rows <= p.rows());
  p.active_ = rows;
}

void ParamStore::reshape_rows(Parameter& p, const std::vector<int64_t>& keep, int64_t fresh) {
  const at::Tensor index = at::tensor(keep, at::kLong);
  std::vector<int64_t> tail = p.spec_.shape;
  tail[0] = fresh;
  auto rebuilt = [&](const at::Tensor& old) {
    return at::cat({old.detach().index_select(0, index), at::zeros(tail, at::kFloat)}, 0)
        .contiguous();
  };
  Arena arena{rebuilt(p.value_), rebuilt(p.grad_), rebuilt(p.m_), rebuilt(p.v_)};
  std::vector<int64_t> counts;
  for (const int64_t row : keep) counts.push_back(p.counts_[static_cast<size_t>(row)]);
  counts.resize(keep.size() + static_cast<size_t>(fresh), 0);
  p.counts_ = std::move(counts);
  p.spec_.shape[0] = p.active_ = static_cast<int64_t>(keep.size()) + fresh;
  place(p, arena.value, arena.grad, arena.m, arena.v);
  arenas_.push_back(std::move(arena));
}

void ParamStore::count_step(Parameter& p) {
  for (int64_t row = 0; row < p.active_; ++row) ++p.counts_[static_cast<size_t>(row)];
}

void ParamStore::set_counts(Parameter& p, std::vector<int64_t> counts) {
  SMIDGEN_ASSERT(counts.size() == p.counts_.size());
  p.counts_ = std::move(counts);
}

}  // namespace smidgen
