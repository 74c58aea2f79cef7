// LoRA, low-rank adaptation (arXiv:2106.09685), and rank-stabilised LoRA (arXiv:2312.03732).
//
//   y += s (B A x' + b)     A [rank, in], B [out, rank], s = alpha / rank, or alpha / sqrt(rank)
//                           with rslora; b [out] with lora_bias; x' = dropout(x) while training
//   embedding: row t += s B A[:, t]     A [rank, vocabulary], B [width, rank]
//
// Defaults are those of HF PEFT 0.21.2 (tuners/lora), alpha = 8 and rank = 8, but the targets:
// every linear layer, where PEFT has a table per architecture. A and B are fp32 on any base, and
// their product runs in fp32. Differs from PEFT: a tied embedding and head that share one update
// (ensure_weight_tying) are one parameter with the sum of both gradients, where PEFT keeps two
// parameters over one memory; a dropped element is a function of seed, step, site and place.
#include <cmath>

#include <torch/torch.h>

#include "smidgen/base/schema.h"
#include "smidgen/methods/placement.h"
#include "smidgen/methods/registry.h"

namespace smidgen {

namespace {

struct LoraConfig {
  int64_t rank = 8;
  double alpha = 8;
  Placement placement;
  bool rslora = false;
  OrderedMap<int64_t> rank_pattern;
  OrderedMap<double> alpha_pattern;
  double dropout = 0;
  bool lora_bias = false;
  std::string init = "kaiming";
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
  fields(v, c.placement);
  v("rslora", c.rslora,
    {.help = "Scale by alpha / sqrt(rank) instead", .was = {"use_rslora"}, .peft = "use_rslora"});
  v("rank_pattern", c.rank_pattern,
    {.help =
         "Ranks of modules whose path ends with, or is matched by, the key; the first one counts",
     .min = 1,
     .max = 65536,
     .peft = "rank_pattern"});
  v("alpha_pattern", c.alpha_pattern, {.help = "The same for alpha", .peft = "alpha_pattern"});
  v("dropout", c.dropout,
    {.help = "Share of the update's inputs that training drops",
     .min = 0,
     .max = 0.999999,
     .was = {"lora_dropout"},
     .peft = "lora_dropout"});
  v("lora_bias", c.lora_bias, {.help = "Give B a bias of its own", .peft = "lora_bias"});
  v.choice("init", c.init, {"kaiming", "gaussian", "orthogonal", "random"},
           {.help = "How A and B start; all but random start as the base",
            .was = {"init_lora_weights"}});
}

// PEFT's extensions of LoRA, by the key that turns them on. They change what the tensors mean, so
// that none can be let through.
constexpr std::pair<const char*, const char*> kExtensions[] = {
    {"use_dora", "DoRA"},
    {"use_qalora", "QALoRA"},
    {"use_bdlora", "BD-LoRA"},
    {"alora_invocation_tokens", "activated LoRA"},
    {"arrow_config", "Arrow routing"},
    {"corda_config", "CorDA"},
    {"eva_config", "EVA"},
    {"kasa_config", "KaSA"},
    {"layer_replication", "layer replication"},
    {"loftq_config", "LoftQ"},
    {"lora_ga_config", "LoRA-GA"},
    {"megatron_config", "Megatron's parallel layers"},
    {"monteclora_config", "MonteCLoRA"},
    {"target_parameters", "LoRA on bare parameters"},
    {"velora_config", "VeLoRA"}};

bool says_nothing(const Json& value) {
  return value.is_null() || value == false || (value.is_structured() && value.empty()) ||
         (value.is_string() && value.get_ref<const std::string&>().empty());
}

double scale_of(double alpha, int64_t rank, bool rslora) {
  const auto r = static_cast<double>(rank);
  return alpha / (rslora ? std::sqrt(r) : r);
}

// PEFT's files hold whole numbers where whole numbers were given.
Json number(double value) {
  if (value == std::floor(value) && std::abs(value) < 1e15) return static_cast<int64_t>(value);
  return value;
}

class LoraAttachment : public Attachment {
 public:
  LoraAttachment(const Tensors& p, double scale, double dropout, std::string site,
                 std::shared_ptr<const DropoutClock> clock)
      : Attachment({.add = true}, p),
        scale_(scale),
        dropout_(dropout),
        site_(std::move(site)),
        clock_(std::move(clock)) {}

  at::Tensor add(const at::Tensor& x, const at::Tensor&, const Tensors& p) const override {
    const at::Tensor keep = mask(x);
    const at::Tensor y =
        at::linear(at::linear(keep.defined() ? x * keep : x, p[0]).mul(scale_), p[1]);
    return p.size() > 2 ? y + p[2] * scale_ : y;
  }

  std::optional<LowRankDelta> low_rank(const Tensors& p) const override {
    if (p.size() > 2 || (clock_ && clock_->on && dropout_ > 0)) return std::nullopt;
    return LowRankDelta{p[0], p[1], scale_};
  }
  Tensors low_rank_backward(const Tensors&, const at::Tensor& da,
                            const at::Tensor& db) const override {
    return {da, db};
  }

  // With h = A x' and u = s B^T dy: dB = s dy h^T, dA = u x'^T, dx = A^T u times the mask, db = s
  // dy, rows being tokens.
  Grads add_backward(const at::Tensor& x, const at::Tensor&, const Tensors& p,
                     const at::Tensor& dy) const override {
    const at::Tensor keep = mask(x);
    const at::Tensor input = keep.defined() ? x * keep : x;
    const at::Tensor u = at::matmul(dy, p[1]).mul_(scale_);
    Grads g;
    g.dx = at::matmul(u, p[0]);
    if (keep.defined()) g.dx.mul_(keep);
    g.parameters.resize(p.size());
    if (p[0].requires_grad()) g.parameters[0] = at::matmul(u.t(), input);
    if (p[1].requires_grad())
      g.parameters[1] = at::matmul(dy.t(), at::linear(input, p[0])).mul_(scale_);
    if (p.size() > 2 && p[2].requires_grad()) g.parameters[2] = dy.sum(0).mul_(scale_);
    return g;
  }

 private:
  at::Tensor mask(const at::Tensor& x) const {
    if (!clock_) return {};
    return dropout_mask(*clock_, dropout_, site_, x.size(0), x.size(1));
  }

  double scale_, dropout_;
  std::string site_;
  std::shared_ptr<const DropoutClock> clock_;
};

class LoraEmbedding : public Attachment {
 public:
  LoraEmbedding(const Tensors& p, double scale) : Attachment({.embed = true}, p), scale_(scale) {}
  at::Tensor embed(const at::Tensor& ids, const at::Tensor& y, const Tensors& p) const override {
    return y + at::linear(p[0].t().index_select(0, ids), p[1]).mul(scale_);
  }

 private:
  double scale_;
};

// The embedding's A and B at a head that is tied to it: what they add to W, they add here too.
class LoraTiedHead : public Attachment {
 public:
  LoraTiedHead(const Tensors& p, double scale) : Attachment({.add = true}, p), scale_(scale) {}
  at::Tensor add(const at::Tensor& x, const at::Tensor&, const Tensors& p) const override {
    return at::matmul(at::matmul(x, p[1]).mul(scale_), p[0]);
  }
  std::optional<LowRankDelta> low_rank(const Tensors& p) const override {
    return LowRankDelta{p[1].t(), p[0].t(), scale_};
  }
  Tensors low_rank_backward(const Tensors&, const at::Tensor& da,
                            const at::Tensor& db) const override {
    return {db.t(), da.t()};
  }

 private:
  double scale_;
};

void fill(const Parameter& p, uint64_t seed, const std::string& stream,
          const std::function<double(const Rng&, uint64_t)>& draw) {
  const Rng rng(seed, "init", 0, stream);
  at::Tensor values = p.value().detach();
  float* out = values.mutable_data_ptr<float>();
  for (int64_t i = 0; i < values.numel(); ++i)
    out[i] = static_cast<float>(draw(rng, static_cast<uint64_t>(i)));
}

void fill_uniform(const Parameter& p, uint64_t seed, double bound) {
  fill(p, seed, p.spec().path(),
       [=](const Rng& rng, uint64_t i) { return (2 * rng.uniform(i) - 1) * bound; });
}

void fill_normal(const Parameter& p, uint64_t seed, double deviation) {
  fill(p, seed, p.spec().path(),
       [=](const Rng& rng, uint64_t i) { return deviation * rng.normal(i); });
}

at::Tensor normal(uint64_t seed, const std::string& stream, int64_t rows, int64_t columns) {
  at::Tensor values = at::empty({rows, columns}, at::kFloat);
  const Rng rng(seed, "init", 0, stream);
  float* out = values.mutable_data_ptr<float>();
  for (int64_t i = 0; i < values.numel(); ++i)
    out[i] = static_cast<float>(rng.normal(static_cast<uint64_t>(i)));
  return values;
}

// A and B in the spans of the odd and of the even rows of one orthogonal matrix, so that B A = 0
// but for rounding, and neither is zero (https://datta0.github.io/posts/rethink-lora-init/).
void fill_orthogonal(const Parameter& a, const Parameter& b, uint64_t seed) {
  const std::string path = a.spec().path();
  const int64_t rank = a.spec().shape[0], half = rank / 2;
  const at::Tensor q = std::get<0>(at::linalg_qr(normal(seed, path + " q", rank, rank)));
  const at::Tensor odd = q.slice(0, 0, rank, 2), even = q.slice(0, 1, rank, 2);
  const at::Tensor left = normal(seed, path, a.spec().shape[1], half);
  const at::Tensor right = normal(seed, b.spec().path(), b.spec().shape[0], half);
  a.value().detach().copy_(at::matmul(left, odd).t().div(10));
  b.value().detach().copy_(at::matmul(right, even).div(10));
}

class Lora : public Method {
 public:
  std::string summary() const override { return "Low-rank update of linear layers and embeddings"; }
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
    for (const Site* site : match(sites, c.placement, loading)) {
      const int64_t rank = by_pattern(c.rank_pattern, site->name, c.rank);
      const double alpha = by_pattern(c.alpha_pattern, site->name, c.alpha);
      SitePlan at{.site = *site,
                  .settings = {{"scale", scale_of(alpha, rank, c.rslora)}, {"dropout", c.dropout}}};
      if (site->kind == SiteKind::embedding) {
        if (c.lora_bias && !loading)
          throw Error(ErrorKind::usage,
                      str("an embedding has no bias, and ", site->name, " is one"), "lora_bias");
        at.parameters = {{site->name, "lora_embedding_A", {rank, site->out}},
                         {site->name, "lora_embedding_B", {site->in, rank}}};
      } else if (site->kind == SiteKind::linear) {
        if (c.init == "orthogonal" && rank % 2 != 0 && !loading)
          throw Error(ErrorKind::usage,
                      str("orthogonal needs an even rank, and that of ", site->name, " is ", rank),
                      "init");
        at.parameters = {{site->name, "lora_A.weight", {rank, site->in}},
                         {site->name, "lora_B.weight", {site->out, rank}}};
        if (c.lora_bias) at.parameters.push_back({site->name, "lora_B.bias", {site->out}});
      } else {
        throw Error(ErrorKind::unsupported,
                    str("lora attaches to linear layers and embeddings, and ", site->name, " is a ",
                        to_string(site->kind)),
                    "target", "modules_to_save trains a copy of it");
      }
      plan.sites.push_back(at);
    }
    add_tied_head(tied_head(sites, c.placement), plan);
    return plan;
  }

  void init(const SitePlan& site, const std::vector<Parameter*>& p, const BaseView&,
            const Json& config, uint64_t seed) const override {
    const auto c = read_config<LoraConfig>(config);
    if (site.site.kind == SiteKind::embedding) {
      if (c.init == "random") fill_normal(*p[0], seed, 1);
      fill_normal(*p[1], seed, 1);
      return;
    }
    const auto rank = static_cast<double>(p[0]->spec().shape[0]);
    const double in = 1 / std::sqrt(static_cast<double>(site.site.in));
    if (c.init == "orthogonal") return fill_orthogonal(*p[0], *p[1], seed);
    if (c.init == "gaussian") return fill_normal(*p[0], seed, 1 / rank);
    fill_uniform(*p[0], seed, in);  // Kaiming with a = sqrt 5
    if (c.init == "kaiming") return;
    for (size_t i = 1; i < p.size(); ++i) fill_uniform(*p[i], seed, 1 / std::sqrt(rank));
  }

  AttachmentPtr attach(const SitePlan& site, const Tensors& p, const BaseView&,
                       const AttachOptions& options) const override {
    const double scale = options.scale * site.settings.at("scale").get<double>();
    if (site.site.kind == SiteKind::embedding) return std::make_shared<LoraEmbedding>(p, scale);
    if (site.settings.contains("tied")) return std::make_shared<LoraTiedHead>(p, scale);
    return std::make_shared<LoraAttachment>(p, scale, site.settings.at("dropout").get<double>(),
                                            site.site.name, options.clock);
  }

  std::optional<Delta> delta(const SitePlan& site, const Tensors& p,
                             const BaseView&) const override {
    const auto scale = site.settings.at("scale").get<double>();
    // Over the table [vocabulary, width] an embedding's factors change places.
    if (site.site.kind == SiteKind::embedding || site.settings.contains("tied"))
      return LowRankDelta{p[1].detach().t(), p[0].detach().t(), scale};
    return LowRankDelta{p[0].detach(), p[1].detach(), scale};
  }

  at::Tensor bias_delta(const SitePlan& site, const Tensors& p, const BaseView&) const override {
    if (p.size() < 3) return {};
    return p[2].detach() * site.settings.at("scale").get<double>();
  }

  Json to_peft(const Json& config, const Plan& plan) const override {
    auto c = read_config<LoraConfig>(config);
    c.rank_pattern = order_free(c.rank_pattern, plan);
    c.alpha_pattern = order_free(c.alpha_pattern, plan);
    Json j = smidgen::to_peft(c);
    placement_to_peft(c.placement, plan, &j);
    j["lora_alpha"] = number(c.alpha);
    for (const auto& [key, alpha] : c.alpha_pattern) j["alpha_pattern"][key] = number(alpha);
    if (c.init == "kaiming") {
      j["init_lora_weights"] = true;
    } else {
      j["init_lora_weights"] = c.init == "random" ? Json(false) : Json(c.init);
    }
    // The rest of what PEFT 0.21.2 writes, each at its default: readers that insist on a key find
    // it.
    for (const auto& [key, name] : kExtensions) j[key] = nullptr;
    j["loftq_config"] = Json::object();
    for (const char* key : {"fan_in_fan_out", "use_dora", "use_qalora"}) j[key] = false;
    for (const SitePlan& site : plan.sites) {
      if (site.site.transposed) j["fan_in_fan_out"] = true;
    }
    j["megatron_core"] = "megatron.core";
    j["qalora_group_size"] = 16;
    return j;
  }

  Json from_peft(const Json& peft, const std::vector<Site>& sites,
                 const std::vector<std::string>& allow, const std::string& where) const override {
    std::vector<int64_t> head_tokens;
    Json j = placement_from_peft(peft, sites, where, &head_tokens);
    for (const auto& [key, name] : kExtensions) {
      if (!j.contains(key)) continue;
      // PEFT ignores LoftQ's settings unless the values were made by it, which the next check sees.
      if (!says_nothing(j[key]) && std::string_view(key) != "loftq_config") {
        throw Error(ErrorKind::unsupported,
                    str("[", key, "] is ", j[key].dump().substr(0, 60), ": ", name,
                        " is not something this build can do"),
                    where);
      }
      j.erase(key);
    }
    const std::string init = init_of(j, where);
    // Of no meaning once trained, or meaningless without the extension that they configure. Whether
    // the base stores its weights transposed shows in the base itself.
    for (const char* key :
         {"init_lora_weights", "megatron_core", "qalora_group_size", "fan_in_fan_out"})
      j.erase(key);
    if (j.contains("exclude_modules") && j["exclude_modules"].is_null()) j.erase("exclude_modules");
    auto c = smidgen::from_peft<LoraConfig>(
        j, {.handled = adapter_keys(), .allow = allow, .where = where});
    c.init = init;
    c.placement.head_tokens = head_tokens;
    return write_config(c);
  }

 private:
  // How the values were initialised matters no more once they are read, unless the base was changed
  // along with them.
  static std::string init_of(const Json& j, const std::string& where) {
    if (!j.contains("init_lora_weights")) return "kaiming";
    const Json& value = j["init_lora_weights"];
    if (value.is_boolean()) return value.get<bool>() ? "kaiming" : "random";
    if (value.is_null()) return "random";
    if (value == "gaussian" || value == "orthogonal") return value;
    throw Error(ErrorKind::unsupported,
                str("[init_lora_weights] is ", value.dump(),
                    ": such an adapter belongs to a base "
                    "that was changed with it, or to another method"),
                where, "readable: true, false, gaussian, orthogonal");
  }

  // The head of a tied pair that shares its embedding's update.
  static void add_tied_head(const Site* head, Plan& plan) {
    if (!head) return;
    for (const SitePlan& site : plan.sites) {
      if (site.site.name != head->tied_to) continue;
      SitePlan shared = site;
      shared.site = *head;
      shared.settings["tied"] = true;
      shared.aliases = {{head->name + ".lora_A.weight", 1, true},
                        {head->name + ".lora_B.weight", 0, true}};
      plan.sites.push_back(shared);
      return;
    }
  }
};

}  // namespace

std::unique_ptr<const Method> make_lora_method() {
  return std::make_unique<Lora>();
}

}  // namespace smidgen
