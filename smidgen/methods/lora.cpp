// LoRA, low-rank adaptation (arXiv:2106.09685), and rank-stabilised LoRA (arXiv:2312.03732).
//
//   y += s B A x     A [rank, in], B [out, rank], s = alpha / rank, or alpha / sqrt(rank) with
//   rslora
//
// Starts as the base: A is uniform in +-1/sqrt(in) (Kaiming with a = sqrt 5), B is zero.
// Defaults are those of HF PEFT 0.21.2 (tuners/lora), alpha = 8 and rank = 8, but the targets:
// every linear layer, where PEFT has a table per architecture. A and B are fp32 on any base, and
// their product runs in fp32.
#include <algorithm>
#include <cmath>
#include <set>

#include <torch/torch.h>

#include "smidgen/base/schema.h"
#include "smidgen/methods/registry.h"

namespace smidgen {

namespace {

struct LoraConfig {
  int64_t rank = 8;
  double alpha = 8;
  Targets target{{"all-linear"}};
  Targets exclude;
  bool rslora = false;
};

template <class V>
void fields(V& v, LoraConfig& c) {
  v("rank", c.rank,
    {.help = "Inner dimension of the update",
     .min = 1,
     .max = 65536,
     .was = {"r", "lora_rank"},
     .peft = "r"});
  v("alpha", c.alpha,
    {.help = "The update is scaled by alpha / rank", .was = {"lora_alpha"}, .peft = "lora_alpha"});
  v("target", c.target,
    {.help = "Modules to attach to: all-linear, names, or re:PATTERN",
     .was = {"target_modules"},
     .peft = "target_modules"});
  v("exclude", c.exclude,
    {.help = "Modules to leave out, in the same forms",
     .was = {"exclude_modules"},
     .peft = "exclude_modules"});
  v("rslora", c.rslora,
    {.help = "Scale by alpha / sqrt(rank) instead", .was = {"use_rslora"}, .peft = "use_rslora"});
}

class LoraAttachment : public Attachment {
 public:
  LoraAttachment(const Tensors& p, double scale) : Attachment({.add = true}, p), scale_(scale) {}

  at::Tensor add(const at::Tensor& x, const at::Tensor&, const Tensors& p) const override {
    return at::linear(at::linear(x, p[0]).mul(scale_), p[1]);
  }

  // With h = A x and u = s B^T dy: dB = s dy h^T, dA = u x^T, dx = A^T u, rows being tokens.
  Grads add_backward(const at::Tensor& x, const at::Tensor&, const Tensors& p,
                     const at::Tensor& dy) const override {
    const at::Tensor u = at::matmul(dy, p[1]).mul_(scale_);
    Grads g;
    g.dx = at::matmul(u, p[0]);
    g.parameters.resize(2);
    if (p[0].requires_grad()) g.parameters[0] = at::matmul(u.t(), x);
    if (p[1].requires_grad())
      g.parameters[1] = at::matmul(dy.t(), at::linear(x, p[0])).mul_(scale_);
    return g;
  }

 private:
  double scale_;
};

double scale_of(const LoraConfig& c) {
  const auto rank = static_cast<double>(c.rank);
  return c.alpha / (c.rslora ? std::sqrt(rank) : rank);
}

class Lora : public Method {
 public:
  std::string summary() const override { return "Low-rank update of linear layers"; }
  std::string source() const override { return "arXiv:2106.09685"; }
  std::string peft_type() const override { return "LORA"; }
  Capabilities capabilities() const override {
    return {.additive = true,
            .mergeable = true,
            .linear = true,
            .batchable = true,
            .starts_as_base = true};
  }
  Json fields() const override { return describe<LoraConfig>(); }

  Plan plan(const std::vector<Site>& sites, const Json& config, bool loading) const override {
    const auto c = read_config<LoraConfig>(config);
    Plan plan;
    for (const Site* site : match(sites, c.target, c.exclude, !loading)) {
      if (site->kind != SiteKind::linear) {
        throw Error(ErrorKind::unsupported,
                    str("lora attaches to linear layers, and ", site->name, " is a ",
                        to_string(site->kind)),
                    "target");
      }
      plan.sites.push_back({*site,
                            {{site->name, "lora_A.weight", {c.rank, site->in}},
                             {site->name, "lora_B.weight", {site->out, c.rank}}},
                            {{"scale", scale_of(c)}}});
    }
    return plan;
  }

  void init(const SitePlan& site, const std::vector<Parameter*>& p, const BaseView&, const Json&,
            uint64_t seed) const override {
    const Rng rng(seed, "init", 0, p[0]->spec().path());
    const double bound = 1.0 / std::sqrt(static_cast<double>(site.site.in));
    at::Tensor a = p[0]->value().detach();
    float* values = a.mutable_data_ptr<float>();
    for (int64_t i = 0; i < a.numel(); ++i) {
      values[i] = static_cast<float>((2 * rng.uniform(static_cast<uint64_t>(i)) - 1) * bound);
    }
  }

  AttachmentPtr attach(const SitePlan& site, const Tensors& p) const override {
    return std::make_shared<LoraAttachment>(p, site.settings.at("scale").get<double>());
  }

  std::optional<Delta> delta(const SitePlan& site, const Tensors& p,
                             const BaseView&) const override {
    return LowRankDelta{p[0].detach(), p[1].detach(), site.settings.at("scale").get<double>()};
  }

  Json to_peft(const Json& config, const Plan& plan) const override {
    const auto c = read_config<LoraConfig>(config);
    Json j = smidgen::to_peft(c);
    if (c.alpha == std::floor(c.alpha) && std::abs(c.alpha) < 1e15)
      j["lora_alpha"] = static_cast<int64_t>(c.alpha);
    j["target_modules"] = peft_targets(c.target, plan);
    j["exclude_modules"] = c.exclude.empty() ? Json(nullptr) : peft_targets(c.exclude, {});
    // The rest of what PEFT 0.21.2 writes, each at its default: readers that insist on a key find
    // it.
    for (const char* key : {"alpha_pattern", "rank_pattern", "loftq_config"})
      j[key] = Json::object();
    for (const char* key :
         {"alora_invocation_tokens", "arrow_config", "corda_config", "eva_config", "kasa_config",
          "layer_replication", "layers_pattern", "layers_to_transform", "lora_ga_config",
          "megatron_config", "modules_to_save", "monteclora_config", "target_parameters",
          "trainable_token_indices", "use_bdlora", "velora_config"}) {
      j[key] = nullptr;
    }
    for (const char* key :
         {"ensure_weight_tying", "fan_in_fan_out", "lora_bias", "use_dora", "use_qalora"})
      j[key] = false;
    // How the base lies in its file (GPT-2's Conv1D); the adapter's own matrices do not turn.
    j["fan_in_fan_out"] = std::any_of(plan.sites.begin(), plan.sites.end(),
                                      [](const SitePlan& s) { return s.site.transposed; });
    j["megatron_core"] = "megatron.core";
    j["qalora_group_size"] = 16;
    j["bias"] = "none";
    j["init_lora_weights"] = true;
    j["lora_dropout"] = 0.0;
    return j;
  }

  Json from_peft(const Json& peft, const std::vector<std::string>& allow, const std::string& where,
                 Json* kept) const override {
    Json j = peft;
    const auto refuse = [&](const std::string& key, const std::string& why) {
      throw Error(ErrorKind::unsupported, str(key, " is ", peft.at(key).dump(), ": ", why), where);
    };
    if (j.contains("bias") && j["bias"] != "none")
      refuse("bias", "trained biases cannot be read yet");
    // How the values were initialised matters no more, unless the base was changed along with them.
    if (j.contains("init_lora_weights") && j["init_lora_weights"].is_string()) {
      const std::string init = j["init_lora_weights"];
      if (init != "gaussian" && init != "orthogonal")
        refuse("init_lora_weights", "the adapter belongs to a changed base");
    }
    // Of no meaning once trained, or meaningless without the extension that they configure.
    for (const char* key : {"bias", "fan_in_fan_out", "init_lora_weights", "lora_dropout",
                            "megatron_core", "qalora_group_size"})
      j.erase(key);
    if (j.contains("exclude_modules") && j["exclude_modules"].is_null()) j.erase("exclude_modules");
    return write_config(smidgen::from_peft<LoraConfig>(
        j, {.handled = adapter_keys(), .allow = allow, .where = where}, kept));
  }

 private:
  // PEFT stores what its word matched, so that a reader needs no rule: leaf names where they say
  // the same, else paths.
  static Json peft_targets(const Targets& targets, const Plan& plan) {
    if (targets.items.size() == 1 && targets.items[0].starts_with("re:"))
      return targets.items[0].substr(3);
    std::set<std::string> names;
    bool patterns = false;
    for (const std::string& item : targets.items) {
      if (item == "all-linear" || item.starts_with("re:")) {
        patterns = true;
      } else {
        names.insert(item);
      }
    }
    if (patterns) {
      for (const SitePlan& site : plan.sites)
        names.insert(site.site.name.substr(site.site.name.rfind('.') + 1));
    }
    return Json(std::vector<std::string>(names.begin(), names.end()));
  }
};

}  // namespace

std::unique_ptr<const Method> make_lora_method() {
  return std::make_unique<Lora>();
}

}  // namespace smidgen
