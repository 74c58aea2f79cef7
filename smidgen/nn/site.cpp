#include "smidgen/nn/site.h"

#include <algorithm>
#include <set>

#include "smidgen/base/error.h"
#include "smidgen/base/regex.h"

namespace smidgen {

std::string_view to_string(SiteKind kind) {
  switch (kind) {
    case SiteKind::linear:
      return "linear";
    case SiteKind::embedding:
      return "embedding";
    case SiteKind::norm:
      return "norm";
    case SiteKind::mlp:
      return "mlp";
    case SiteKind::attention:
      return "attention";
    case SiteKind::block:
      return "block";
    case SiteKind::stack:
      return "stack";
  }
  return "unknown";
}

namespace {

constexpr std::pair<std::string_view, SiteKind> kKindWords[] = {
    {"all-linear", SiteKind::linear},
    {"all-mlp", SiteKind::mlp},
    {"all-attention", SiteKind::attention},
    {"all-blocks", SiteKind::block}};

}  // namespace

bool is_kind_word(std::string_view item) {
  return std::any_of(std::begin(kKindWords), std::end(kKindWords),
                     [&](const auto& word) { return word.first == item; });
}

namespace {

bool ends_after_dot(const std::string& path, const std::string& item) {
  return path == item || (path.size() > item.size() && path.ends_with(item) &&
                          path[path.size() - item.size() - 1] == '.');
}

// One item against one site. Regular expressions are compiled by the caller, once.
struct Item {
  explicit Item(std::string word) : text(std::move(word)) {
    if (text.starts_with("re:")) pattern.emplace(text.substr(3));
  }
  bool picks(const Site& site) const {
    if (pattern) return pattern->full_match(site.name);
    for (const auto& [word, kind] : kKindWords) {
      if (text == word) return site.kind == kind && !site.output_head;
    }
    return ends_after_dot(site.name, text);
  }
  std::string text;
  std::optional<Regex> pattern;
};

std::vector<std::string> leaf_names(const std::vector<Site>& sites) {
  std::set<std::string> leaves;
  for (const Site& site : sites) leaves.insert(site.name.substr(site.name.rfind('.') + 1));
  return {leaves.begin(), leaves.end()};
}

}  // namespace

std::vector<const Site*> match(const std::vector<Site>& sites, const Targets& targets,
                               const Targets& exclude, bool must_match) {
  std::vector<Item> wanted, unwanted;
  for (const std::string& item : targets.items) wanted.emplace_back(item);
  for (const std::string& item : exclude.items) unwanted.emplace_back(item);
  for (const Item& item : wanted) {
    const bool hits =
        std::any_of(sites.begin(), sites.end(), [&](const Site& s) { return item.picks(s); });
    if (!hits && must_match) {
      const std::vector<std::string> known = leaf_names(sites);
      throw Error(ErrorKind::usage, str("target '", item.text, "' matches no module of the model"),
                  "target",
                  did_you_mean(item.text, known, str("its modules are named ", join(known))));
    }
  }
  std::vector<const Site*> picked;
  for (const Site& site : sites) {
    const auto picks = [&](const Item& item) { return item.picks(site); };
    if (std::any_of(wanted.begin(), wanted.end(), picks) &&
        std::none_of(unwanted.begin(), unwanted.end(), picks)) {
      picked.push_back(&site);
    }
  }
  if (picked.empty() && must_match) {
    throw Error(ErrorKind::usage, "nothing to train: no module is left after the exclusions",
                "target");
  }
  return picked;
}

}  // namespace smidgen
