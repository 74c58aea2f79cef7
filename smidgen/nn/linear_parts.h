// What the linear host does at each of its sites, worked out before the product. Not for other
// files than the host's.
#pragma once

#include <vector>

#include <ATen/core/Tensor.h>

#include "smidgen/nn/host.h"

namespace smidgen {

// One site over one segment: a rectangle of the result, and the attachments that own it.
struct HostPart {
  size_t site;
  Segment segment;
  const std::vector<AttachmentPtr>* attachments;
  size_t first_parameter;  // in the flat list that the autograd function receives
  bool pre = false, post = false, add = false, scales_bias = false, needs_y0 = false;
  const Attachment* replacement = nullptr;  // of the weight
  const Attachment* own_bias = nullptr;     // in place of the base's
  // One for each attachment with an add hook, where all of them have this form and read the rows
  // of the host as they come: they ride on the base product.
  std::vector<LowRankDelta> low_rank;

  bool own_product() const { return pre || replacement != nullptr; }
  bool reads_input() const { return own_product() || add; }
  bool rides() const { return !low_rank.empty(); }
  // Nothing is left to do for it once the base product stands.
  bool finished_with_product() const {
    return !own_product() && !post && !needs_y0 && (!add || rides());
  }
};

std::vector<HostPart> parts_of(const LinearGroup& group, const Rows& rows);

// The parameters of all parts' attachments, one after the other: what autograd sees.
Tensors flat_parameters(const std::vector<HostPart>& parts);
// The slice of the flat list that belongs to attachment k of a part.
Tensors parameters_of(const HostPart& part, size_t k, const Tensors& all);
size_t index_of(const Attachment* wanted, const HostPart& part);

// x, pre_1(x), pre_2(pre_1(x)), ...
Tensors pre_chain(const HostPart& part, const at::Tensor& x, const Tensors& all);
// y, post_1(y), ...
Tensors post_chain(const HostPart& part, const at::Tensor& y, const Tensors& all);

// The bias of a part, fp32 [out]: an attachment's, else the base's, else undefined.
at::Tensor bias_of(const HostPart& part, const LinearGroup& group, const Tensors& all);

}  // namespace smidgen
