// Full tuning: every tensor of the chosen modules is trained itself. The artefact is a model, not
// an adapter.
//
//   y = x W'^T + b'     W' and b' start as the base's W and b, in fp32
//
// The base stays as it is beside W', so that the delta W' - W exists and a run can be undone.
#include "smidgen/base/schema.h"
#include "smidgen/methods/copies.h"
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
      plan.sites.push_back(module_copy(*site, site->tied_to.empty() ? site->name : site->tied_to));
    }
    return plan;
  }

  // Every site is a module copy, which does the rest.
  void init(const SitePlan&, const std::vector<Parameter*>&, const BaseView&, const Json&,
            uint64_t) const override {
    SMIDGEN_ASSERT(!"full tuning has no part of its own");
  }
  AttachmentPtr attach(const SitePlan&, const Tensors&, const BaseView&,
                       const AttachOptions&) const override {
    SMIDGEN_ASSERT(!"full tuning has no part of its own");
  }
  std::optional<Delta> delta(const SitePlan&, const Tensors&, const BaseView&) const override {
    SMIDGEN_ASSERT(!"full tuning has no part of its own");
  }

  Json to_peft(const Json&, const Plan&) const override {
    throw Error(ErrorKind::unsupported, "full tuning makes a model, not an adapter");
  }
  Json from_peft(const Json&, const std::vector<Site>&, const std::vector<std::string>&,
                 const std::string& where) const override {
    throw Error(ErrorKind::unsupported, "full tuning makes a model, not an adapter", where);
  }
};

}  // namespace

std::unique_ptr<const Method> make_full_method() {
  return std::make_unique<Full>();
}

}  // namespace smidgen
