// Hosts: the parts of a model that attachments hang on. A host keeps a table slot -> attachments
// for each of its sites; slot 0 is the bare base and stays empty. Those here own frozen weights;
// whole modules and the stack of blocks are hosts too (nn/module_host.h, nn/stack.h).
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "smidgen/kernels/formats/base_weight.h"
#include "smidgen/nn/attachment.h"
#include "smidgen/nn/batch.h"
#include "smidgen/nn/recompute.h"
#include "smidgen/nn/site.h"

namespace smidgen {

// The attachments of one site, by slot. Several at one slot apply in order.
class SlotTable {
 public:
  void attach(int slot, AttachmentPtr attachment);
  void detach(int slot);
  const std::vector<AttachmentPtr>& at(int slot) const;
  bool empty() const { return slots_.empty(); }

 private:
  std::map<int, std::vector<AttachmentPtr>> slots_;
};

// A place where a base weight lives: its frozen original and, while an adapter is merged, what
// stands in its place. Merging never writes into the original, so unmerging gives back its bits.
// Tied sites have a place each and one original between them: an adapter may move one of the two.
class HostedWeight {
 public:
  explicit HostedWeight(std::shared_ptr<const BaseWeight> original)
      : original_(std::move(original)) {}
  const BaseWeight& current() const { return merged_ ? *merged_ : *original_; }
  const BaseWeight& original() const { return *original_; }
  const std::shared_ptr<const BaseWeight>& shared_original() const { return original_; }
  const std::shared_ptr<const BaseWeight>& shared_merged() const { return merged_; }
  bool merged() const { return merged_ != nullptr; }
  void merge(std::shared_ptr<const BaseWeight> weight) { merged_ = std::move(weight); }
  void unmerge() { merged_.reset(); }

 private:
  std::shared_ptr<const BaseWeight> original_, merged_;
};

class Host {
 public:
  virtual ~Host() = default;
  const std::vector<Site>& sites() const { return sites_; }
  SlotTable& slots(size_t site) { return tables_[site]; }
  const SlotTable& slots(size_t site) const { return tables_[site]; }
  // True when any of `rows` sees an attachment.
  bool attached(const Rows& rows) const;
  // The parameters of every attachment that `rows` see, each once.
  Tensors parameters(const Rows& rows) const;

 protected:
  explicit Host(std::vector<Site> sites) : sites_(std::move(sites)), tables_(sites_.size()) {}

  std::vector<Site> sites_;
  std::vector<SlotTable> tables_;
};

class WeightHost : public Host {
 public:
  HostedWeight& weight() { return *weight_; }
  const HostedWeight& weight() const { return *weight_; }
  // Rows [begin, end) of the weight that belong to a site.
  virtual std::pair<int64_t, int64_t> weight_rows(size_t site) const;
  // fp32 [sum of out], or null; the merged one while an adapter is merged.
  const at::Tensor* bias() const {
    return merged_bias_.defined() ? &merged_bias_ : bias_.defined() ? &bias_ : nullptr;
  }
  at::Tensor original_bias(size_t site) const;  // fp32 [out], undefined where there is none
  void merge_bias(at::Tensor bias) { merged_bias_ = std::move(bias); }
  void unmerge_bias() { merged_bias_.reset(); }

 protected:
  WeightHost(std::vector<Site> sites, std::shared_ptr<HostedWeight> weight, at::Tensor bias = {})
      : Host(std::move(sites)), weight_(std::move(weight)), bias_(std::move(bias)) {}

  std::shared_ptr<HostedWeight> weight_;
  at::Tensor bias_, merged_bias_;
};

// Linear layers that share an input (q, k, v; gate, up). One weight [sum of out, in], one product
// for all rows.
//   forward: x [n, in] -> y [n, sum of out] in the base's product dtype, columns in the order of
//   the sites
class LinearGroup : public WeightHost {
 public:
  LinearGroup(std::vector<Site> sites, std::shared_ptr<HostedWeight> weight, at::Tensor bias);
  // Of x nothing is kept where the attachments need it and `remake` can make it again.
  at::Tensor forward(const at::Tensor& x, const Rows& rows, const Remake& remake = {}) const;
  // stream + scale forward(x), fp32 [n, sum of out]: the product goes into the stream before it is
  // rounded.
  at::Tensor add_to(const at::Tensor& stream, const at::Tensor& x, const Rows& rows,
                    double scale = 1, const Remake& remake = {}) const;

  std::pair<int64_t, int64_t> weight_rows(size_t site) const override {
    return {offsets_[site], offsets_[site + 1]};
  }
  int64_t in_features() const { return sites_.front().in; }
  int64_t out_features() const { return offsets_.back(); }

  // The plain composition that autograd differentiates: the oracle of forward().
  at::Tensor forward_ref(const at::Tensor& x, const Rows& rows) const;

 private:
  friend struct HostFunction;
  std::vector<int64_t> offsets_;  // of each site's columns
};

// Rows of a table [vocabulary, width] by token id.
class EmbeddingHost : public WeightHost {
 public:
  EmbeddingHost(Site site, std::shared_ptr<HostedWeight> weight)
      : WeightHost({std::move(site)}, std::move(weight)) {}
  at::Tensor forward(const at::Tensor& ids, const Rows& rows) const;
};

// y = x / sqrt(mean(x^2) + eps) * (offset + weight)  (RMSNorm, arXiv:1910.07467; Gemma's offset is
// 1). The weight is held as a matrix [width, 1], so that merging and files treat it like any other.
// Rows of k widths are k vectors, each normed by itself: the heads of q and k.
class NormHost : public WeightHost {
 public:
  NormHost(Site site, std::shared_ptr<HostedWeight> weight, double eps, double offset = 0,
           at::Tensor bias = {})
      : WeightHost({std::move(site)}, std::move(weight), std::move(bias)),
        eps_(eps),
        offset_(offset) {}
  // x [n, k width] -> [n, k width] of dtype `out`
  at::Tensor forward(const at::Tensor& x, const Rows& rows, at::ScalarType out = at::kFloat) const;
  // forward(x) and x, for a residual stream that goes on beside the norm. Where `kept` is given,
  // the backward pass reads it in place of x, and nothing else is kept.
  std::pair<at::Tensor, at::Tensor> fork(const at::Tensor& x, const Rows& rows, at::ScalarType out,
                                         const at::Tensor& kept = {}) const;

 protected:
  // x [m, width], weight and bias [width]; no bias is undefined
  virtual at::Tensor apply(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                           at::ScalarType out) const;
  virtual std::pair<at::Tensor, at::Tensor> apply_fork(const at::Tensor& x,
                                                       const at::Tensor& weight,
                                                       const at::Tensor& bias, at::ScalarType out,
                                                       const at::Tensor& kept) const;
  double eps_, offset_;
};

}  // namespace smidgen
