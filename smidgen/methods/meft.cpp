#include "smidgen/methods/meft.h"

#include <algorithm>

#include <torch/torch.h>

#include "smidgen/base/schema.h"
#include "smidgen/methods/bottleneck.h"
#include "smidgen/methods/placement.h"
#include "smidgen/nn/reversible.h"
#include "smidgen/nn/stack.h"

namespace smidgen {

namespace {

using Parts = MeftVariant::Parts;

struct MeftConfig {
  int64_t bottleneck = 8;
  std::string activation = "gelu";
  double dropout = 0;
  double lambda = 0.1, beta = 1;
  std::string combine = "main";
  Reverse reverse = Reverse::exact;
  std::optional<int64_t> anchor_every;
  double tolerance = 1e-4;
  Placement placement;
};

template <class V>
void fields(V& v, MeftConfig& c) {
  v("bottleneck", c.bottleneck,
    {.help = "Width between the two matrices of an adapter",
     .min = 1,
     .max = 65536,
     .peft = "bottleneck"});
  v.choice("activation", c.activation, activation_words(),
           {.help = "What an adapter applies between its matrices", .peft = "activation"});
  v("dropout", c.dropout,
    {.help = "Share of the bottlenecks that training drops",
     .min = 0,
     .max = 0.999999,
     .peft = "dropout"});
  v("x1_factor", c.lambda,
    {.help = "lambda: share of the first stream that a layer keeps; the smaller, the nearer the "
             "start to the base",
     .min = 1e-6,
     .max = 1,
     .was = {"lambda"},
     .peft = "x1_factor"});
  v("x2_factor", c.beta,
    {.help = "beta: the same of the second stream", .min = 1e-6, .max = 1, .peft = "x2_factor"});
  v.choice("combine", c.combine, {"main", "average"},
           {.help = "What the model's head reads: the stream that stands for the base's, right for "
                    "a trained head; or the mean of both, as published, for a new one",
            .peft = "combine"});
  v.choice("reverse", c.reverse,
           {{"exact", Reverse::exact},
            {"fp64", Reverse::fp64},
            {"anchors", Reverse::anchors},
            {"cached", Reverse::cached}},
           {.help = "How the backward pass comes by activations: from streams that lose no bit; "
                    "from fp64 streams; from fp32 streams kept every few layers; by keeping them",
            .peft = "reverse"});
  v("anchor_every", c.anchor_every,
    {.help = "anchors: keep the streams after every so many layers; unset, as many as the factors "
             "allow for the tolerance",
     .min = 1,
     .peft = "anchor_every",
     .unit = "layers"});
  v("tolerance", c.tolerance,
    {.help = "Largest relative error of a reconstructed stream that training starts with",
     .min = 0,
     .peft = "tolerance"});
  fields_beside(v, c.placement);
}

// Missing values are those of `c`.
MeftConfig read_meft(const Json& values, MeftConfig c) {
  const Json checked = check_fields(describe(c), values, "method");
  schema::Reader v(checked);
  fields(v, c);
  return c;
}

Coupling coupling_of(const MeftConfig& c, Parts parts) {
  return {c.lambda, c.beta, parts != Parts::halves};
}

ReversePlan plan_of(const MeftConfig& c, const Coupling& coupling) {
  return {c.reverse, c.anchor_every.value_or(anchor_distance(coupling, c.tolerance))};
}

// Whether the adapter in G's place of the last layer reaches the head.
bool last_is_read(const MeftConfig& c, Parts parts) {
  return parts != Parts::block_first || c.combine != "main";
}

class MeftAttachment : public StackAttachment {
 public:
  MeftAttachment(const Tensors& p, MeftVariant variant, const MeftConfig& config,
                 std::vector<std::string> sites, std::shared_ptr<const DropoutClock> clock)
      : StackAttachment(p),
        variant_(std::move(variant)),
        config_(config),
        coupling_(coupling_of(config, variant_.parts)),
        plan_(plan_of(config, coupling_)),
        form_{activation_of(config.activation), 1, config.dropout},
        sites_(std::move(sites)),
        clock_(std::move(clock)) {}

  at::Tensor run(const Stack& stack, const at::Tensor& x, const MemoryPlan& memory) const override {
    check(stack.has_halves, stack.family, memory);
    const auto [x1, x2] = reversible(x, x, layers(stack), coupling_, plan_);
    if (config_.combine == "average") return (x1 + x2) * 0.5;
    return variant_.parts == Parts::block_second ? x1 : x2;
  }

  PassMemory memory(const StackMemory& stack, const MemoryPlan& memory) const override {
    check(stack.has_halves, stack.family, memory);
    const int64_t n = stack.rows, inner = 4 * n * config_.bottleneck, wide = 4 * n * stack.width;
    const PassMemory adapter{wide + 3 * inner, 2 * wide + 3 * inner, 4 * wide + 6 * inner};
    const std::vector<PassMemory> adapters(stack.blocks.size(), adapter);
    const bool first = variant_.parts != Parts::block_second;
    // Halves of a block hold no more than it does.
    const std::vector<PassMemory> none(stack.blocks.size());
    const auto& other = variant_.parts == Parts::halves ? none : adapters;
    return reversible_memory(first ? stack.blocks : other, first ? other : stack.blocks, coupling_,
                             plan_, n * stack.width);
  }

  Json examine(const Stack& stack, const at::Tensor& x) const override {
    const Reconstruction found = reconstruct(x, x, layers(stack), coupling_, plan_);
    Json facts = {{"reconstruction_error", found.worst()},
                  {"reconstruction_errors", found.errors},
                  {"tolerance", config_.tolerance}};
    if (config_.reverse == Reverse::anchors) facts["anchor_every"] = plan_.anchor_every;
    if (found.worst() <= config_.tolerance) return facts;
    // The longest way back on which every layer stayed within the tolerance.
    int64_t most = static_cast<int64_t>(found.errors.size());
    for (size_t n = 0; n < found.errors.size(); ++n) {
      if (!(found.errors[n] <= config_.tolerance)) most = std::min(most, found.distance[n] - 1);
    }
    const bool divides = whole_divisor(config_.lambda) && whole_divisor(config_.beta);
    throw Error(ErrorKind::usage,
                str("the reversed layers differ from what they were by ", found.worst(),
                    " of their size, and the tolerance is ", config_.tolerance,
                    ": gradients of the lower layers would be noise"),
                "reverse",
                str("what works: ", divides ? "reverse: exact; " : "", "reverse: cached",
                    most > 0 ? str("; reverse: anchors with anchor_every: ", most) : "",
                    "; a larger x1_factor or x2_factor"));
  }

 private:
  void check(bool has_halves, const std::string& family, const MemoryPlan& memory) const {
    if (variant_.parts == Parts::halves && !has_halves) {
      throw Error(ErrorKind::unsupported,
                  str("blocks of ", family, " run attention and MLP side by side, and ",
                      variant_.name, " needs one after the other"),
                  "method", "meft1 and meft2 take whole blocks");
    }
    if (memory.mode == MemoryMode::checkpoint && config_.reverse != Reverse::cached) {
      throw Error(ErrorKind::usage,
                  "memory: checkpoint keeps the inputs of blocks, which reversing makes again: "
                  "only one of the two",
                  "memory", "reverse: cached goes with it, memory: fast or lean with the others");
    }
  }

  std::vector<ReversibleLayer> layers(const Stack& stack) const {
    std::vector<ReversibleLayer> all;
    for (size_t n = 0; n < stack.blocks.size(); ++n) {
      const BlockStretches& block = stack.blocks[n];
      ReversibleLayer layer{.f = block.attention, .g = block.mlp, .leaves = block.leaves};
      if (variant_.parts != Parts::halves) {
        layer.f = block.whole;
        layer.g = adapter(n, layer.leaves);
        if (variant_.parts == Parts::block_second) std::swap(layer.f, layer.g);
      }
      all.push_back(std::move(layer));
    }
    return all;
  }

  // The adapter that stands by itself in layer n; null where it would reach nothing.
  Stretch adapter(size_t n, Tensors& leaves) const {
    if (n >= sites_.size()) return nullptr;
    const size_t first = kBottleneckParts * n;
    const Tensors& p = parameters();
    leaves.insert(leaves.end(), p.begin() + static_cast<long>(first),
                  p.begin() + static_cast<long>(first + kBottleneckParts));
    // By value: the backward pass may outlive the attachment.
    return [p, first, form = form_, site = sites_[n], clock = clock_](const at::Tensor& x) {
      return bottleneck(x, p, first, form, site, clock.get());
    };
  }

  MeftVariant variant_;
  MeftConfig config_;
  Coupling coupling_;
  ReversePlan plan_;
  BottleneckForm form_;
  std::vector<std::string> sites_;  // blocks with an adapter of their own
  std::shared_ptr<const DropoutClock> clock_;
};

class Meft : public Method {
 public:
  explicit Meft(MeftVariant variant) : variant_(std::move(variant)) {}

  std::string summary() const override {
    switch (variant_.parts) {
      case Parts::block_first:
        return "Reversible network of two streams: blocks into one, adapters into the other";
      case Parts::block_second:
        return "Reversible network of two streams: adapters first, blocks second";
      case Parts::halves:
        return "Reversible network of two streams: attention into one, MLPs into the other";
    }
    return {};
  }
  std::string source() const override { return "arXiv:2306.00477"; }
  std::string peft_type() const override {
    return str("SMIDGEN_MEFT", variant_.name.substr(variant_.name.size() - 1));
  }
  Capabilities capabilities() const override { return {.modules = true}; }
  std::string why_not_merged() const override {
    return "it keeps two streams through the blocks, which no change of the base's weights does";
  }
  Json fields() const override { return describe(defaults()); }

  Plan plan(const std::vector<Site>& sites, const Json& config, bool) const override {
    const auto c = read(config);
    if (c.reverse == Reverse::exact)
      check_exact(coupling_of(c, variant_.parts), "reverse: anchors takes any");
    if (c.anchor_every && c.reverse != Reverse::anchors)
      throw Error(ErrorKind::usage, "anchor_every is set, and there are no anchors", "anchor_every",
                  "it belongs to reverse: anchors");
    const Json form = {{"activation", c.activation}, {"scale", 1.0}, {"dropout", c.dropout}};
    Plan plan;
    SitePlan stack{.settings = {{"config", write_config(c)}, {"sites", Json::array()}}};
    for (const Site& site : sites) {
      const bool attention = site.kind == SiteKind::attention && variant_.parts == Parts::halves;
      if (site.kind == SiteKind::mlp || attention) {
        plan.sites.push_back({.site = site,
                              .parameters = bottleneck_parameters(site.name, site.in, c.bottleneck),
                              .settings = form});
      } else if (site.kind == SiteKind::block && variant_.parts != Parts::halves) {
        for (ParamSpec& spec : bottleneck_parameters(site.name, site.in, c.bottleneck))
          stack.parameters.push_back(std::move(spec));
        stack.settings["sites"].push_back(site.name);
      } else if (site.kind == SiteKind::stack) {
        stack.site = site;
      }
    }
    if (!stack.settings["sites"].empty() && !last_is_read(c, variant_.parts)) {
      stack.parameters.resize(stack.parameters.size() - kBottleneckParts);
      stack.settings["sites"].erase(stack.settings["sites"].size() - 1);
    }
    plan.sites.push_back(std::move(stack));
    return plan;
  }

  void init(const SitePlan&, const std::vector<Parameter*>& p, const BaseView&, const Json&,
            uint64_t seed) const override {
    init_normal(p, 0.02, seed);
  }

  AttachmentPtr attach(const SitePlan& site, const Tensors& p, const BaseView&,
                       const AttachOptions& options) const override {
    const Json& s = site.settings;
    switch (site.site.kind) {
      case SiteKind::stack:
        return std::make_shared<MeftAttachment>(p, variant_, read(s.at("config")),
                                                s.at("sites").get<std::vector<std::string>>(),
                                                options.clock);
      case SiteKind::attention:
        return sequential_bottleneck(p, form_of(s), site.site.name, options.clock);
      default:
        return parallel_bottleneck(p, form_of(s), site.site.name, options.clock);
    }
  }

  std::optional<Delta> delta(const SitePlan&, const Tensors&, const BaseView&) const override {
    return std::nullopt;
  }

  Json to_peft(const Json& config, const Plan& plan) const override {
    const auto c = read(config);
    Json j = peft_keys(fields(), write_config(c));
    Json placed = Json::object();
    placement_to_peft(c.placement, plan, &placed);
    for (const char* key : {"bias", "modules_to_save", "trainable_token_indices"}) {
      if (placed.contains(key)) j[key] = placed[key];
    }
    return j;
  }

  Json from_peft(const Json& peft, const std::vector<Site>& sites,
                 const std::vector<std::string>& allow, const std::string& where) const override {
    std::vector<int64_t> head_tokens;
    const Json j = placement_from_peft(peft, sites, where, &head_tokens);
    auto c = read(peft_values(
        fields(), j, {.handled = adapter_keys(), .allow = allow, .where = where}, nullptr));
    c.placement.head_tokens = head_tokens;
    return write_config(c);
  }

 private:
  MeftConfig defaults() const {
    MeftConfig c;
    c.lambda = variant_.lambda;
    c.beta = variant_.beta;
    c.placement.method = variant_.name;
    return c;
  }
  MeftConfig read(const Json& config) const { return read_meft(config, defaults()); }

  MeftVariant variant_;
};

}  // namespace

std::unique_ptr<const Method> make_meft(MeftVariant variant) {
  return std::make_unique<Meft>(std::move(variant));
}

}  // namespace smidgen
