// The bottleneck adapter, which several methods put in several places:
//
//   g(x) = s (W2 drop(f(W1 x + b1)) + b2)      W1 [b, d], b1 [b], W2 [d, b], b2 [d], fp32
//
// d being the width and b that of the bottleneck (Houlsby et al. 2019, arXiv 1902.00751). drop is
// dropout, in training only. Tensors are named as AdapterHub names the two halves.
#pragma once

#include <memory>
#include <string>

#include "smidgen/methods/method.h"
#include "smidgen/nn/activations.h"

namespace smidgen {

struct BottleneckForm {
  Activation activation = Activation::gelu;
  double scale = 1;
  double dropout = 0;
};

constexpr size_t kBottleneckParts = 4;

// W1, b1, W2, b2 of an adapter at `site`: "SITE.adapter_down.weight" and so on.
std::vector<ParamSpec> bottleneck_parameters(const std::string& site, int64_t width,
                                             int64_t bottleneck);

// g of the rows of x, fp32 [n, d], with the four at p[first] and after. `site` is where dropout's
// masks fall.
at::Tensor bottleneck(const at::Tensor& x, const Tensors& p, size_t first,
                      const BottleneckForm& form, const std::string& site,
                      const DropoutClock* clock);

// y += g(x), x being what the module reads.
AttachmentPtr parallel_bottleneck(const Tensors& p, const BottleneckForm& form, std::string site,
                                  std::shared_ptr<const DropoutClock> clock);
// y += g(y), y being what the module makes.
AttachmentPtr sequential_bottleneck(const Tensors& p, const BottleneckForm& form, std::string site,
                                    std::shared_ptr<const DropoutClock> clock);

// Matrices N(0, deviation^2), biases 0.
void init_normal(const std::vector<Parameter*>& p, double deviation, uint64_t seed);
// W1 uniform within 1 / sqrt(d), which is Kaiming's with a = sqrt 5; everything else 0, so that the
// adapter starts as nothing.
void init_as_base(const std::vector<Parameter*>& p, uint64_t seed);

// Of a plan's settings: {activation, scale, dropout}.
BottleneckForm form_of(const Json& settings);

}  // namespace smidgen
