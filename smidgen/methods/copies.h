// What is trained beside a method: values that stand in for the base's own, under the same names.
//
//   module copy   W' and b' of a module in place of W and b        PEFT's modules_to_save
//   bias          b' in place of b                                 PEFT's bias
//   token rows    rows w'_t in place of w_t, t in a list of ids    PEFT's trainable_token_indices
//
// Each starts as the base's values. None can be scaled: half a copy is not a copy.
// Source: huggingface/peft 0.21.2, utils/other.py, tuners/trainable_tokens/layer.py. Differs from
// it: the gradient of a padding token's row is not set to zero; a head's logits with token rows are
// x W^T + x (w'_t - w_t) in the columns t, where PEFT builds the whole W'.
#pragma once

#include <vector>

#include "smidgen/methods/placement.h"

namespace smidgen {

// The plans of everything that the placement trains beside the method. `own` is the method's plan:
// its linear sites keep their bias under another name. With `loading`, names that match nothing are
// left out; else they are usage errors with the nearest module.
std::vector<SitePlan> plan_copies(const std::vector<Site>& sites, const Placement& placement,
                                  const Plan& own, bool loading);

// A trained copy of one site's weight and bias. `owner` is the site whose parameters it uses: its
// own name, or that of the site that a tied one shares with.
SitePlan module_copy(const Site& site, const std::string& owner);

// A weight that comes with an adapter and is not trained: fp32 [out, in].
SitePlan fixed_weight(const Site& site, at::Tensor weight);

}  // namespace smidgen
