#include "smidgen/methods/placement.h"

#include <algorithm>
#include <charconv>
#include <set>

#include "smidgen/base/regex.h"

namespace smidgen {

namespace {

bool contains(const std::vector<std::string>& list, const std::string& item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

std::vector<std::string> segments_of(const std::string& path) {
  std::vector<std::string> segments{""};
  for (const char c : path) {
    if (c == '.') {
      segments.emplace_back();
    } else {
      segments.back() += c;
    }
  }
  return segments;
}

std::optional<int64_t> number(const std::string& text) {
  int64_t value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || code != std::errc() || end != text.data() + text.size() || text[0] == '-')
    return std::nullopt;
  return value;
}

// The number of the layer that a path lies in, nothing outside the layers. Without patterns it is
// the first number that has a name before it and something behind it.
std::optional<int64_t> layer_number(const std::string& path, const std::vector<Regex>& patterns) {
  const std::vector<std::string> segments = segments_of(path);
  std::string before = segments.front();
  for (size_t i = 1; i + 1 < segments.size(); ++i) {
    if (const auto layer = number(segments[i])) {
      const auto names = [&](const Regex& pattern) { return pattern.full_match(before); };
      if (patterns.empty() ? i >= 2 : std::any_of(patterns.begin(), patterns.end(), names))
        return layer;
    }
    before += "." + segments[i];
  }
  return std::nullopt;
}

// Whether a path is the module that PEFT's rule for modules_to_save names, or lies in it.
bool in_saved_module(const std::string& path, const std::vector<Regex>& modules) {
  return std::any_of(modules.begin(), modules.end(),
                     [&](const Regex& module) { return module.full_match(path); });
}

std::vector<Regex> saved_modules(const Placement& placement) {
  std::vector<Regex> modules;
  for (const std::string& name : placement.modules_to_save)
    modules.emplace_back("(?:^|.*\\.)" + name + "(?:$|\\..*)");
  return modules;
}

bool has(const std::vector<const Site*>& sites, const Site* site) {
  return std::find(sites.begin(), sites.end(), site) != sites.end();
}

std::vector<const Site*> match_without_ties(const std::vector<Site>& sites, const Placement& p,
                                            bool loading) {
  Targets target = p.target;
  if (loading && target.empty()) target.items = {"re:.*"};
  const std::vector<Regex> saved = saved_modules(p);
  std::vector<Regex> patterns;
  for (const std::string& name : p.layers_pattern)
    patterns.emplace_back("(?:^|.*\\.)(?:" + name + ")");
  std::vector<const Site*> picked;
  for (const Site* site : match(sites, target, p.exclude, !loading)) {
    if (loading && p.target.empty() && site->kind == SiteKind::norm) continue;
    if (in_saved_module(site->name, saved)) continue;
    // A target that is the whole path is taken whatever layer it lies in.
    if (!p.layers.empty() && !contains(target.items, site->name)) {
      // A block is in the layer that its name ends with.
      const bool block = site->kind == SiteKind::block;
      const auto layer = layer_number(block ? site->name + "." : site->name, patterns);
      if (!layer || std::find(p.layers.begin(), p.layers.end(), *layer) == p.layers.end()) continue;
    }
    picked.push_back(site);
  }
  return picked;
}

}  // namespace

const Site* output_head(const std::vector<Site>& sites) {
  for (const Site& site : sites) {
    if (site.output_head) return &site;
  }
  return nullptr;
}

const Site* input_embedding(const std::vector<Site>& sites) {
  const Site* head = output_head(sites);
  for (const Site& site : sites) {
    const bool owner = head && !head->tied_to.empty() && site.name == head->tied_to;
    if (owner || ((!head || head->tied_to.empty()) && site.kind == SiteKind::embedding))
      return &site;
  }
  return nullptr;
}

const Site* tied_head(const std::vector<Site>& sites, const Placement& placement) {
  const Site* head = output_head(sites);
  if (!placement.ensure_weight_tying || !head || head->tied_to.empty()) return nullptr;
  const Site* embedding = input_embedding(sites);
  const std::vector<Regex> saved = saved_modules(placement);
  const std::vector<const Site*> picked = match_without_ties(sites, placement, /*loading=*/true);
  const bool asked = has(picked, head) || has(picked, embedding) ||
                     in_saved_module(head->name, saved) || in_saved_module(embedding->name, saved);
  return asked ? head : nullptr;
}

std::vector<const Site*> match(const std::vector<Site>& sites, const Placement& placement,
                               bool loading) {
  std::vector<const Site*> picked = match_without_ties(sites, placement, loading);
  const Site* head = tied_head(sites, placement);
  const std::vector<Regex> saved = saved_modules(placement);
  if (head) {
    const Site* embedding = input_embedding(sites);
    std::erase(picked, head);
    if (in_saved_module(head->name, saved) || in_saved_module(embedding->name, saved)) {
      std::erase(picked, embedding);
    } else if (!has(picked, embedding)) {
      picked.insert(picked.begin(), embedding);
    }
  }
  if (picked.empty() && !loading) {
    throw Error(
        ErrorKind::usage,
        "nothing to attach to: no module is left after exclusions, layers and saved modules",
        "target");
  }
  return picked;
}

template <class T>
T by_pattern(const OrderedMap<T>& patterns, const std::string& path, T otherwise) {
  for (const auto& [key, value] : patterns) {
    if (Regex("(.*\\.)?(" + key + ")$").full_match(path)) return value;
  }
  return otherwise;
}

template int64_t by_pattern(const OrderedMap<int64_t>&, const std::string&, int64_t);
template double by_pattern(const OrderedMap<double>&, const std::string&, double);

template <class T>
OrderedMap<T> order_free(const OrderedMap<T>& patterns, const Plan& plan) {
  OrderedMap<T> sorted = patterns, whole;
  std::sort(sorted.begin(), sorted.end());
  constexpr T kNone = -1;  // neither a rank nor an alpha that anybody uses
  bool same = true;
  for (const SitePlan& site : plan.sites) {
    if (site.part) continue;
    const T value = by_pattern(patterns, site.site.name, kNone);
    same = same && value == by_pattern(sorted, site.site.name, kNone);
    if (value != kNone) whole.emplace_back(site.site.name, value);
  }
  return same ? patterns : whole;
}

template OrderedMap<int64_t> order_free(const OrderedMap<int64_t>&, const Plan&);
template OrderedMap<double> order_free(const OrderedMap<double>&, const Plan&);

Json placement_from_peft(const Json& peft, const std::vector<Site>& sites, const std::string& where,
                         std::vector<int64_t>* head_tokens) {
  Json j = peft;
  if (j.contains("target_modules") && j["target_modules"].is_string()) {
    std::string word = j["target_modules"];
    std::transform(word.begin(), word.end(), word.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    if (word == "all-linear") j["target_modules"] = word;
  }
  const auto tokens = j.find("trainable_token_indices");
  if (tokens == j.end() || !tokens->is_object()) return j;
  const Site* embedding = input_embedding(sites);
  const Site* head = output_head(sites);
  Json rows = Json::array();
  for (const auto& [module, ids] : tokens->items()) {
    const auto names = [&module = module](const Site* site) {
      return site && (site->name == module || site->name.ends_with("." + module));
    };
    if (names(embedding)) {
      rows = ids;
    } else if (names(head)) {
      if (!ids.is_array() || !std::all_of(ids.begin(), ids.end(),
                                          [](const Json& id) { return id.is_number_integer(); }))
        throw Error(ErrorKind::format, "token ids must be a list of whole numbers", where);
      *head_tokens = ids.get<std::vector<int64_t>>();
    } else {
      throw Error(ErrorKind::mismatch,
                  str("[trainable_token_indices] names '", module,
                      "', which is neither the embedding nor the head of this model"),
                  where,
                  str("they are ", embedding ? embedding->name : "none", " and ",
                      head ? head->name : "none"));
    }
  }
  // The same rows of two tied modules are one set of rows.
  if (head && !head->tied_to.empty() && rows == Json(*head_tokens)) head_tokens->clear();
  *tokens = rows;
  return j;
}

void placement_to_peft(const Placement& p, const Plan& plan, Json* peft) {
  Json& j = *peft;
  // PEFT stores what its word matched, so that a reader needs no rule: leaf names where they say
  // the same, else whole paths.
  const auto is_pattern = [](const std::string& item) {
    return is_kind_word(item) || item.starts_with("re:");
  };
  const bool patterns = std::any_of(p.target.items.begin(), p.target.items.end(), is_pattern);
  std::set<std::string> names;
  if (patterns && p.target.items.size() == 1 && p.target.items[0].starts_with("re:") &&
      p.layers.empty()) {
    j["target_modules"] = p.target.items[0].substr(3);
  } else {
    for (const std::string& item : p.target.items) {
      if (!is_pattern(item)) names.insert(item);
    }
    for (const SitePlan& site : plan.sites) {
      if (!patterns || site.part) continue;
      const bool whole = !p.layers.empty() || !p.exclude.empty();
      names.insert(whole ? site.site.name : site.site.name.substr(site.site.name.rfind('.') + 1));
    }
    j["target_modules"] = std::vector<std::string>(names.begin(), names.end());
  }
  if (p.exclude.items.size() == 1 && p.exclude.items[0].starts_with("re:")) {
    j["exclude_modules"] = p.exclude.items[0].substr(3);
  } else {
    std::set<std::string> excluded(p.exclude.items.begin(), p.exclude.items.end());
    j["exclude_modules"] = excluded.empty()
                               ? Json(nullptr)
                               : Json(std::vector<std::string>(excluded.begin(), excluded.end()));
  }
  const auto or_null = [&](const char* key, Json value) {
    j[key] = value.empty() ? Json(nullptr) : std::move(value);
  };
  or_null("layers_to_transform", patterns ? Json::array() : Json(p.layers));
  or_null("layers_pattern", patterns ? Json::array() : Json(p.layers_pattern));
  or_null("modules_to_save", p.modules_to_save);
  or_null("trainable_token_indices", p.tokens);
  if (!p.head_tokens.empty()) {
    Json rows = Json::object();
    for (const SitePlan& site : plan.sites) {
      if (site.site.output_head) rows[site.site.name] = p.head_tokens;
      if (site.site.kind == SiteKind::embedding && !p.tokens.empty())
        rows[site.site.name] = p.tokens;
    }
    j["trainable_token_indices"] = rows;
  }
}

Placement placement_of(const Json& config) {
  Placement placement;
  schema::Reader v(config);
  fields(v, placement);
  return placement;
}

}  // namespace smidgen
