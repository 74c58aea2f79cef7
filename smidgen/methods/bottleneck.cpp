#include "smidgen/methods/bottleneck.h"

#include <cmath>

#include <torch/torch.h>

namespace smidgen {

namespace {

class Bottleneck : public Attachment {
 public:
  Bottleneck(Hooks hooks, const Tensors& p, const BottleneckForm& form, std::string site,
             std::shared_ptr<const DropoutClock> clock)
      : Attachment(hooks, p), form_(form), site_(std::move(site)), clock_(std::move(clock)) {}

  at::Tensor add(const at::Tensor& x, const at::Tensor&, const Tensors& p) const override {
    return bottleneck(x, p, 0, form_, site_, clock_.get());
  }
  at::Tensor post(const at::Tensor& y, const Tensors& p) const override {
    return y + bottleneck(y, p, 0, form_, site_, clock_.get());
  }

 private:
  BottleneckForm form_;
  std::string site_;
  std::shared_ptr<const DropoutClock> clock_;
};

void fill(const Parameter& p, uint64_t seed,
          const std::function<double(const Rng&, uint64_t)>& draw) {
  const Rng rng(seed, "init", 0, p.spec().path());
  at::Tensor values = p.value().detach();
  float* out = values.mutable_data_ptr<float>();
  for (int64_t i = 0; i < values.numel(); ++i)
    out[i] = static_cast<float>(draw(rng, static_cast<uint64_t>(i)));
}

}  // namespace

std::vector<ParamSpec> bottleneck_parameters(const std::string& site, int64_t width,
                                             int64_t bottleneck) {
  return {{site, "adapter_down.weight", {bottleneck, width}},
          {site, "adapter_down.bias", {bottleneck}},
          {site, "adapter_up.weight", {width, bottleneck}},
          {site, "adapter_up.bias", {width}}};
}

at::Tensor bottleneck(const at::Tensor& x, const Tensors& p, size_t first,
                      const BottleneckForm& form, const std::string& site,
                      const DropoutClock* clock) {
  at::Tensor h = activate(form.activation, at::linear(x, p[first], p[first + 1]));
  if (clock) {
    const at::Tensor keep = dropout_mask(*clock, form.dropout, site, h.size(0), h.size(1));
    if (keep.defined()) h = h * keep;
  }
  const at::Tensor y = at::linear(h, p[first + 2], p[first + 3]);
  return form.scale == 1 ? y : y * form.scale;
}

AttachmentPtr parallel_bottleneck(const Tensors& p, const BottleneckForm& form, std::string site,
                                  std::shared_ptr<const DropoutClock> clock) {
  return std::make_shared<Bottleneck>(Hooks{.add = true}, p, form, std::move(site),
                                      std::move(clock));
}

AttachmentPtr sequential_bottleneck(const Tensors& p, const BottleneckForm& form, std::string site,
                                    std::shared_ptr<const DropoutClock> clock) {
  return std::make_shared<Bottleneck>(Hooks{.post = true}, p, form, std::move(site),
                                      std::move(clock));
}

void init_normal(const std::vector<Parameter*>& parameters, double deviation, uint64_t seed) {
  for (const Parameter* p : parameters) {
    if (p->spec().shape.size() == 2)
      fill(*p, seed, [=](const Rng& rng, uint64_t i) { return deviation * rng.normal(i); });
  }
}

void init_as_base(const std::vector<Parameter*>& parameters, uint64_t seed) {
  for (size_t i = 0; i < parameters.size(); i += kBottleneckParts) {
    const double bound = 1 / std::sqrt(static_cast<double>(parameters[i]->spec().shape[1]));
    fill(*parameters[i], seed,
         [=](const Rng& rng, uint64_t k) { return (2 * rng.uniform(k) - 1) * bound; });
  }
}

BottleneckForm form_of(const Json& settings) {
  return {activation_of(settings.at("activation").get<std::string>()),
          settings.at("scale").get<double>(), settings.at("dropout").get<double>()};
}

}  // namespace smidgen
