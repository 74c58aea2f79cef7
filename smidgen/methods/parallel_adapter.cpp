// The parallel adapter (He et al. 2021, arXiv 2110.04366): a bottleneck beside a whole module.
//
//   y += s (W2 drop(f(W1 x + b1)) + b2)      x what the module reads, y what it computes, before a
//                                            post norm and the residual stream
//
// Defaults are AdapterHub's (adapters 1.3.0, ParBnConfig with mam_adapter's init): beside the MLP,
// s = 4, f = relu, W1 Kaiming, W2 and biases 0, so that it starts as the base; only the bottleneck
// has a fixed 64 in place of half the width. Differs from it: x is what the MLP reads, which in a
// model with norms in front is the norm's output. PEFT has no such adapter: the type in the file is
// ours, and PEFT refuses it.
#include "smidgen/base/schema.h"
#include "smidgen/methods/bottleneck.h"
#include "smidgen/methods/placement.h"
#include "smidgen/methods/registry.h"

namespace smidgen {

namespace {

struct ParallelAdapterConfig {
  int64_t bottleneck = 64;
  std::string activation = "relu";
  double scale = 4;
  double dropout = 0;
  Placement placement{.target = {{"all-mlp"}},
                      .method = "parallel_adapter",
                      .target_help =
                          "Modules to attach to: all-mlp, all-attention, all-blocks, "
                          "their names, or re:PATTERN"};
};

template <class V>
void fields(V& v, ParallelAdapterConfig& c) {
  v("bottleneck", c.bottleneck,
    {.help = "Width between the two matrices of the adapter",
     .min = 1,
     .max = 65536,
     .peft = "bottleneck"});
  v.choice("activation", c.activation, activation_words(),
           {.help = "What the adapter applies between its matrices", .peft = "activation"});
  v("scale", c.scale, {.help = "The adapter's result is multiplied by this", .peft = "scale"});
  v("dropout", c.dropout,
    {.help = "Share of the bottleneck that training drops",
     .min = 0,
     .max = 0.999999,
     .peft = "dropout"});
  fields(v, c.placement);
}

class ParallelAdapter : public Method {
 public:
  std::string summary() const override {
    return "Bottleneck adapter beside each MLP, or beside other whole modules";
  }
  std::string source() const override { return "arXiv:2110.04366"; }
  std::string peft_type() const override { return "SMIDGEN_PARALLEL_ADAPTER"; }
  Capabilities capabilities() const override {
    return {.additive = true, .batchable = true, .starts_as_base = true, .modules = true};
  }
  std::string why_not_merged() const override {
    return "what it adds is not a linear function of the input, so that no change of weights is "
           "the same";
  }
  Json fields() const override { return describe<ParallelAdapterConfig>(); }

  Plan plan(const std::vector<Site>& sites, const Json& config, bool loading) const override {
    const auto c = read_config<ParallelAdapterConfig>(config);
    Plan plan;
    for (const Site* site : match(sites, c.placement, loading)) {
      if (site->kind == SiteKind::stack) {
        throw Error(
            ErrorKind::usage,
            str(site->name, " is the whole stack of blocks, which has no one input to adapt"),
            "target", "all-mlp, all-attention, all-blocks, or names of single modules");
      }
      plan.sites.push_back(
          {.site = *site,
           .parameters = bottleneck_parameters(site->name, site->in, c.bottleneck),
           .settings = {{"activation", c.activation}, {"scale", c.scale}, {"dropout", c.dropout}}});
    }
    return plan;
  }

  void init(const SitePlan&, const std::vector<Parameter*>& p, const BaseView&, const Json&,
            uint64_t seed) const override {
    init_as_base(p, seed);
  }

  AttachmentPtr attach(const SitePlan& site, const Tensors& p, const BaseView&,
                       const AttachOptions& options) const override {
    return parallel_bottleneck(p, form_of(site.settings), site.site.name, options.clock);
  }

  std::optional<Delta> delta(const SitePlan&, const Tensors&, const BaseView&) const override {
    return std::nullopt;
  }

  Json to_peft(const Json& config, const Plan& plan) const override {
    const auto c = read_config<ParallelAdapterConfig>(config);
    Json j = smidgen::to_peft(c);
    placement_to_peft(c.placement, plan, &j);
    return j;
  }

  Json from_peft(const Json& peft, const std::vector<Site>& sites,
                 const std::vector<std::string>& allow, const std::string& where) const override {
    std::vector<int64_t> head_tokens;
    const Json j = placement_from_peft(peft, sites, where, &head_tokens);
    auto c = smidgen::from_peft<ParallelAdapterConfig>(
        j, {.handled = adapter_keys(), .allow = allow, .where = where});
    c.placement.head_tokens = head_tokens;
    return write_config(c);
  }
};

}  // namespace

std::unique_ptr<const Method> make_parallel_adapter_method() {
  return std::make_unique<ParallelAdapter>();
}

}  // namespace smidgen
