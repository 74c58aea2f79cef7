#include "smidgen/nn/linear_parts.h"

#include <torch/torch.h>

#include "smidgen/base/error.h"

namespace smidgen {
namespace {

std::vector<LowRankDelta> low_rank_of(const HostPart& part) {
  std::vector<LowRankDelta> factors;
  if (part.own_product() || part.needs_y0) return factors;
  for (const AttachmentPtr& a : *part.attachments) {
    if (!a->hooks().add) continue;
    auto one = a->low_rank(a->parameters());
    if (!one) return {};
    factors.push_back(std::move(*one));
  }
  return factors;
}

}  // namespace

std::vector<HostPart> parts_of(const LinearGroup& group, const Rows& rows) {
  std::vector<HostPart> parts;
  size_t parameters = 0;
  for (size_t site = 0; site < group.sites().size(); ++site) {
    for (const Segment& segment : rows.segments) {
      const auto& attachments = group.slots(site).at(segment.slot);
      HostPart part{site, segment, &attachments, parameters};
      for (const AttachmentPtr& a : attachments) {
        part.pre |= a->hooks().pre;
        part.post |= a->hooks().post;
        part.add |= a->hooks().add;
        part.needs_y0 |= a->hooks().add_needs_y0;
        part.scales_bias |= a->hooks().scales_bias;
        if (a->hooks().weight) part.replacement = a.get();
        if (a->hooks().bias) part.own_bias = a.get();
        parameters += a->parameters().size();
      }
      part.low_rank = low_rank_of(part);
      parts.push_back(std::move(part));
    }
  }
  return parts;
}

Tensors flat_parameters(const std::vector<HostPart>& parts) {
  Tensors all;
  for (const HostPart& part : parts) {
    for (const AttachmentPtr& a : *part.attachments) {
      all.insert(all.end(), a->parameters().begin(), a->parameters().end());
    }
  }
  return all;
}

Tensors parameters_of(const HostPart& part, size_t k, const Tensors& all) {
  size_t begin = part.first_parameter;
  for (size_t i = 0; i < k; ++i) begin += (*part.attachments)[i]->parameters().size();
  const size_t count = (*part.attachments)[k]->parameters().size();
  return Tensors(all.begin() + static_cast<long>(begin),
                 all.begin() + static_cast<long>(begin + count));
}

Tensors pre_chain(const HostPart& part, const at::Tensor& x, const Tensors& all) {
  Tensors chain{x};
  for (size_t k = 0; k < part.attachments->size(); ++k) {
    const Attachment& a = *(*part.attachments)[k];
    if (a.hooks().pre) chain.push_back(a.pre(chain.back(), parameters_of(part, k, all)));
  }
  return chain;
}

Tensors post_chain(const HostPart& part, const at::Tensor& y, const Tensors& all) {
  Tensors chain{y};
  for (size_t k = 0; k < part.attachments->size(); ++k) {
    const Attachment& a = *(*part.attachments)[k];
    if (a.hooks().post) chain.push_back(a.post(chain.back(), parameters_of(part, k, all)));
  }
  return chain;
}

size_t index_of(const Attachment* wanted, const HostPart& part) {
  for (size_t k = 0; k < part.attachments->size(); ++k) {
    if ((*part.attachments)[k].get() == wanted) return k;
  }
  SMIDGEN_ASSERT(!"not an attachment of this part");
}

at::Tensor bias_of(const HostPart& part, const LinearGroup& group, const Tensors& all) {
  if (part.own_bias)
    return part.own_bias->bias(parameters_of(part, index_of(part.own_bias, part), all));
  if (!group.bias()) return {};
  const auto [col0, col1] = group.weight_rows(part.site);
  return group.bias()->narrow(0, col0, col1 - col0);
}

}  // namespace smidgen
