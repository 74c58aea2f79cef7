#include "smidgen/methods/copies.h"

#include <algorithm>
#include <set>

#include <torch/torch.h>

namespace smidgen {

namespace {

at::Tensor whole(const SitePlan& site, const BaseView& base) {
  return base.tile(0, site.site.out);
}

// ---- a weight, with or without a bias, in place of the base's

// How a parameter lies beside the weight [out, in]: a norm's is [out], that of a layer whose files
// hold it transposed is [in, out].
at::Tensor as_weight(const Site& site, const at::Tensor& parameter) {
  return site.transposed ? parameter.t() : parameter;
}

class CopyAttachment : public Attachment {
 public:
  CopyAttachment(Hooks hooks, const Tensors& p, const Site& site)
      : Attachment(hooks, p), site_(site) {}
  at::Tensor weight(const Tensors& p) const override { return as_weight(site_, p[0]); }
  at::Tensor bias(const Tensors& p) const override { return p.back(); }
  Tensors weight_backward(const Tensors& p, const at::Tensor& dweight) const override {
    Tensors grads(p.size());
    grads[0] = site_.transposed ? dweight.t() : dweight;
    return grads;
  }
  Tensors bias_backward(const Tensors& p, const at::Tensor& dbias) const override {
    Tensors grads(p.size());
    grads.back() = dbias;
    return grads;
  }

 private:
  Site site_;
};

class ModuleCopy : public SitePart {
 public:
  void init(const SitePlan& site, const std::vector<Parameter*>& p, const BaseView& base,
            const Json&, uint64_t) const override {
    const at::Tensor before = whole(site, base);
    p[0]->value().detach().copy_(site.site.transposed ? before.t()
                                                      : before.view(p[0]->spec().shape));
    if (p.size() > 1) p[1]->value().detach().copy_(base.bias());
  }
  AttachmentPtr attach(const SitePlan& site, const Tensors& p, const BaseView&,
                       const AttachOptions&) const override {
    return std::make_shared<CopyAttachment>(Hooks{.weight = true, .bias = p.size() > 1}, p,
                                            site.site);
  }
  std::optional<Delta> delta(const SitePlan& site, const Tensors& p,
                             const BaseView& base) const override {
    const at::Tensor before = whole(site, base);
    return DenseDelta{as_weight(site.site, p[0].detach()).reshape(before.sizes()) - before};
  }
  at::Tensor bias_delta(const SitePlan&, const Tensors& p, const BaseView& base) const override {
    return p.size() > 1 ? p[1].detach() - base.bias() : at::Tensor();
  }
};

class BiasCopy : public SitePart {
 public:
  void init(const SitePlan&, const std::vector<Parameter*>& p, const BaseView& base, const Json&,
            uint64_t) const override {
    p[0]->value().detach().copy_(base.bias());
  }
  AttachmentPtr attach(const SitePlan& site, const Tensors& p, const BaseView&,
                       const AttachOptions&) const override {
    return std::make_shared<CopyAttachment>(Hooks{.bias = true}, p, site.site);
  }
  std::optional<Delta> delta(const SitePlan&, const Tensors&, const BaseView&) const override {
    return std::nullopt;
  }
  at::Tensor bias_delta(const SitePlan&, const Tensors& p, const BaseView& base) const override {
    return p[0].detach() - base.bias();
  }
};

// ---- a weight that the adapter brings along

class FixedAttachment : public Attachment {
 public:
  FixedAttachment(at::Tensor weight) : Attachment({.weight = true}, {}), weight_(weight) {}
  at::Tensor weight(const Tensors&) const override { return weight_; }
  Tensors weight_backward(const Tensors&, const at::Tensor&) const override { return {}; }

 private:
  at::Tensor weight_;
};

class FixedWeight : public SitePart {
 public:
  void init(const SitePlan&, const std::vector<Parameter*>&, const BaseView&, const Json&,
            uint64_t) const override {}
  AttachmentPtr attach(const SitePlan& site, const Tensors&, const BaseView&,
                       const AttachOptions&) const override {
    return std::make_shared<FixedAttachment>(site.constants[0]);
  }
  std::optional<Delta> delta(const SitePlan& site, const Tensors&,
                             const BaseView& base) const override {
    return DenseDelta{site.constants[0] - whole(site, base)};
  }
};

// ---- rows of an embedding, and the same rows of a head

class TokenEmbedding : public Attachment {
 public:
  TokenEmbedding(const Tensors& p, at::Tensor row_of_id)
      : Attachment({.embed = true}, p), row_of_id_(std::move(row_of_id)) {}
  at::Tensor embed(const at::Tensor& ids, const at::Tensor& y, const Tensors& p) const override {
    const at::Tensor row = row_of_id_.index_select(0, ids);
    const at::Tensor own = p[0].index_select(0, row.clamp_min(0)).to(y.scalar_type());
    return at::where(row.ge(0).unsqueeze(1), own, y);
  }

 private:
  at::Tensor row_of_id_;  // int64 [vocabulary], -1 for a token that is not trained
};

class TokenHead : public Attachment {
 public:
  TokenHead(const Tensors& p, at::Tensor ids, at::Tensor before, int64_t vocabulary)
      : Attachment({.add = true}, p),
        ids_(std::move(ids)),
        before_(std::move(before)),
        vocabulary_(vocabulary) {}
  at::Tensor add(const at::Tensor& x, const at::Tensor&, const Tensors& p) const override {
    const at::Tensor columns = at::linear(x, p[0] - before_);
    return at::zeros({x.size(0), vocabulary_}, columns.options()).index_copy(1, ids_, columns);
  }

 private:
  at::Tensor ids_, before_;
  int64_t vocabulary_;
};

at::Tensor ids_of(const SitePlan& site) {
  const auto ids = site.settings.at("tokens").get<std::vector<int64_t>>();
  return at::tensor(ids, at::kLong);
}

at::Tensor rows_before(const SitePlan& site, const BaseView& base) {
  const auto ids = site.settings.at("tokens").get<std::vector<int64_t>>();
  Tensors rows;
  for (const int64_t id : ids) rows.push_back(base.tile(id, id + 1));
  return at::cat(rows, 0);
}

class TokenRows : public SitePart {
 public:
  void init(const SitePlan& site, const std::vector<Parameter*>& p, const BaseView& base,
            const Json&, uint64_t) const override {
    p[0]->value().detach().copy_(rows_before(site, base));
  }
  AttachmentPtr attach(const SitePlan& site, const Tensors& p, const BaseView& base,
                       const AttachOptions&) const override {
    const at::Tensor ids = ids_of(site);
    if (site.site.kind == SiteKind::linear)
      return std::make_shared<TokenHead>(p, ids, rows_before(site, base), site.site.out);
    at::Tensor row_of_id = at::full({site.site.out}, -1, at::kLong);
    row_of_id.index_copy_(0, ids, at::arange(ids.size(0), at::kLong));
    return std::make_shared<TokenEmbedding>(p, row_of_id);
  }
  std::optional<Delta> delta(const SitePlan& site, const Tensors& p,
                             const BaseView& base) const override {
    return RowsDelta{ids_of(site), p[0].detach() - rows_before(site, base), site.site.out};
  }
};

const ModuleCopy kModuleCopy;
const BiasCopy kBiasCopy;
const FixedWeight kFixedWeight;
const TokenRows kTokenRows;

// ---- plans

// PEFT's rule for finding what modules_to_save names: a module whose path ends with the word, dot
// or not; everything in it is copied.
bool saves(const std::string& word, const std::string& path) {
  for (size_t end = path.find('.');; end = path.find('.', end + 1)) {
    if (path.substr(0, end).ends_with(word)) return true;
    if (end == std::string::npos) return false;
  }
}

std::vector<std::string> module_names(const std::vector<Site>& sites) {
  std::set<std::string> names;
  for (const Site& site : sites) {
    std::string rest = site.name;
    while (!rest.empty()) {
      const size_t dot = rest.rfind('.');
      names.insert(dot == std::string::npos ? rest : rest.substr(dot + 1));
      rest = dot == std::string::npos ? std::string() : rest.substr(0, dot);
    }
  }
  std::erase_if(names, [](const std::string& name) {
    return name.find_first_not_of("0123456789") == std::string::npos;
  });
  return {names.begin(), names.end()};
}

void plan_modules(const std::vector<Site>& sites, const Placement& p, bool loading,
                  std::vector<SitePlan>& plans) {
  std::set<const Site*> copied;
  for (const std::string& word : p.modules_to_save) {
    bool found = false;
    for (const Site& site : sites) {
      if (!saves(word, site.name)) continue;
      found = true;
      copied.insert(&site);
    }
    if (!found && !loading) {
      const std::vector<std::string> known = module_names(sites);
      throw Error(ErrorKind::usage, str("module '", word, "' is not in the model"),
                  "modules_to_save",
                  did_you_mean(word, known, str("its modules are named ", join(known))));
    }
  }
  // A tied pair of which one is copied shares one copy where that is asked for.
  const Site* head = tied_head(sites, p);
  const Site* embedding = input_embedding(sites);
  const bool share = head && (copied.contains(head) || copied.contains(embedding));
  if (share) copied.insert({head, embedding});
  for (const Site& site : sites) {
    if (!copied.contains(&site)) continue;
    const bool second = share && &site == head;
    plans.push_back(module_copy(site, second ? embedding->name : site.name));
    if (second) plans.back().aliases = {{site.name + ".weight", 0}};
  }
}

void plan_biases(const std::vector<Site>& sites, const Placement& p, const Plan& own,
                 std::vector<SitePlan>& plans) {
  if (p.bias == "none") return;
  std::set<std::string> taken, copied;
  for (const SitePlan& site : own.sites) taken.insert(site.site.name);
  for (const SitePlan& site : plans) copied.insert(site.site.name);
  // Of a whole module every bias in it.
  const auto in_taken = [&](const std::string& path) {
    for (size_t end = path.size(); end != std::string::npos && end > 0;
         end = path.rfind('.', end - 1)) {
      if (taken.contains(path.substr(0, end))) return true;
    }
    return false;
  };
  for (const Site& site : sites) {
    if (!site.bias || copied.contains(site.name)) continue;
    if (p.bias != "all" && !in_taken(site.name)) continue;
    SitePlan plan{.site = site, .part = &kBiasCopy};
    plan.parameters = {
        {site.name, taken.contains(site.name) ? "base_layer.bias" : "bias", {site.out}}};
    plans.push_back(plan);
  }
}

void plan_tokens(const std::vector<Site>& sites, const Placement& p, const Plan& own,
                 std::vector<SitePlan>& plans) {
  if (p.tokens.empty() && p.head_tokens.empty()) return;
  const Site* embedding = input_embedding(sites);
  const Site* head = output_head(sites);
  const auto plan = [&](const Site* site, const std::vector<int64_t>& ids, const std::string& key,
                        const std::string& owner) {
    if (!site) throw Error(ErrorKind::usage, "the model has no such module", key);
    for (const auto& list : {std::cref(plans), std::cref(own.sites)}) {
      for (const SitePlan& other : list.get()) {
        if (other.site.name == site->name && !other.settings.contains("tokens")) {
          throw Error(ErrorKind::usage,
                      str(site->name,
                          " is adapted or copied as a whole, so single rows of it "
                          "cannot be trained beside that"),
                      key, "leave out one of the two");
        }
      }
    }
    std::set<int64_t> seen;
    for (const int64_t id : ids) {
      if (id >= site->out || id < 0)
        throw Error(ErrorKind::usage,
                    str("token id ", id, " is outside the vocabulary of ", site->out), key);
      if (!seen.insert(id).second)
        throw Error(ErrorKind::usage, str("token id ", id, " is named twice"), key);
    }
    SitePlan rows{.site = *site, .settings = {{"tokens", ids}}, .part = &kTokenRows};
    rows.parameters = {{owner,
                        "token_adapter.trainable_tokens_delta",
                        {static_cast<int64_t>(ids.size()), site->in}}};
    plans.push_back(rows);
  };
  const bool tied = head && !head->tied_to.empty();
  if (tied && !p.head_tokens.empty() && p.ensure_weight_tying && p.head_tokens != p.tokens) {
    throw Error(ErrorKind::usage,
                "ensure_weight_tying is on, and the tied embedding and head name different tokens",
                "head_tokens", "name the same, or turn ensure_weight_tying off");
  }
  if (!p.tokens.empty()) plan(embedding, p.tokens, "tokens", embedding ? embedding->name : "");
  if (!p.head_tokens.empty() && !(tied && p.head_tokens == p.tokens)) {
    plan(head, p.head_tokens, "head_tokens", head ? head->name : "");
  } else if (tied && !p.tokens.empty()) {
    plan(head, p.tokens, "tokens", embedding->name);
  }
}

}  // namespace

SitePlan module_copy(const Site& site, const std::string& owner) {
  SitePlan plan{.site = site, .part = &kModuleCopy};
  std::vector<int64_t> shape{site.out, site.in};
  if (site.kind == SiteKind::norm) shape = {site.out};
  if (site.transposed) shape = {site.in, site.out};
  plan.parameters = {{owner, "weight", shape}};
  if (site.bias) plan.parameters.push_back({site.name, "bias", {site.out}});
  return plan;
}

SitePlan fixed_weight(const Site& site, at::Tensor weight) {
  SitePlan plan{.site = site, .part = &kFixedWeight};
  plan.constants = {std::move(weight)};
  return plan;
}

std::vector<SitePlan> plan_copies(const std::vector<Site>& sites, const Placement& placement,
                                  const Plan& own, bool loading) {
  std::vector<SitePlan> plans;
  plan_modules(sites, placement, loading, plans);
  plan_biases(sites, placement, own, plans);
  plan_tokens(sites, placement, own, plans);
  return plans;
}

}  // namespace smidgen
