// Full tuning: every tensor of the chosen modules is trained itself. The artefact is a model, not
// an adapter.
//
//   y = x W'^T     W' starts as the base's W, in fp32
//
// The base stays as it is beside W', so that the delta W' - W exists and a run can be undone.
#include <torch/torch.h>

#include "smidgen/base/schema.h"
#include "smidgen/methods/registry.h"

namespace smidgen {

namespace {

struct FullConfig {
  Targets target{{"re:.*"}};
  Targets exclude;
};

template <class V>
void fields(V& v, FullConfig& c) {
  v("target", c.target, {.help = "Modules to train: re:.* is all of them"});
  v("exclude", c.exclude, {.help = "Modules to leave frozen"});
}

class FullAttachment : public Attachment {
 public:
  FullAttachment(const Tensors& p, bool vector)
      : Attachment({.weight = true}, p), vector_(vector) {}
  at::Tensor weight(const Tensors& p) const override { return vector_ ? p[0].view({-1}) : p[0]; }
  Tensors weight_backward(const Tensors&, const at::Tensor& dweight) const override {
    return {dweight};
  }

 private:
  bool vector_;  // a norm's weight is used as [width]
};

class Full : public Method {
 public:
  std::string summary() const override { return "Every weight of the chosen modules, no adapter"; }
  std::string source() const override { return "-"; }
  std::string peft_type() const override { return ""; }
  Capabilities capabilities() const override {
    return {.mergeable = true,
            .linear = true,
            .batchable = true,
            .starts_as_base = true,
            .artefact = Artefact::model};
  }
  Json fields() const override { return describe<FullConfig>(); }

  Plan plan(const std::vector<Site>& sites, const Json& config, bool loading) const override {
    const auto c = read_config<FullConfig>(config);
    Plan plan;
    for (const Site* site : match(sites, c.target, c.exclude, !loading)) {
      // A tied site trains the tensor of its owner: one parameter, two places.
      const std::string owner = site->tied_to.empty() ? site->name : site->tied_to;
      plan.sites.push_back({*site, {{owner, "weight", {site->out, site->in}}}, Json::object()});
    }
    return plan;
  }

  void init(const SitePlan& site, const std::vector<Parameter*>& p, const BaseView& base,
            const Json&, uint64_t) const override {
    p[0]->value().detach().copy_(base.tile(0, site.site.out));
  }

  AttachmentPtr attach(const SitePlan& site, const Tensors& p) const override {
    return std::make_shared<FullAttachment>(p, site.site.kind == SiteKind::norm);
  }

  std::optional<Delta> delta(const SitePlan& site, const Tensors& p,
                             const BaseView& base) const override {
    return DenseDelta{p[0].detach() - base.tile(0, site.site.out)};
  }

  Json to_peft(const Json&, const Plan&) const override {
    throw Error(ErrorKind::unsupported, "full tuning makes a model, not an adapter");
  }
  Json from_peft(const Json&, const std::vector<std::string>&, const std::string& where,
                 Json*) const override {
    throw Error(ErrorKind::unsupported, "full tuning makes a model, not an adapter", where);
  }
};

}  // namespace

std::unique_ptr<const Method> make_full_method() {
  return std::make_unique<Full>();
}

}  // namespace smidgen
