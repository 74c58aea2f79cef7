// The flat view of a verb's fields: every leaf with its flag, its key path and its twin in the
// environment.
#include <algorithm>
#include <array>
#include <set>

#include "smidgen/base/error.h"
#include "smidgen/base/recipe.h"
#include "smidgen/base/schema.h"

namespace smidgen {
namespace {

struct Common {
  std::optional<int64_t> threads;
  bool json = false, quiet = false;
  std::filesystem::path recipe;
};

template <class V>
void fields(V& v, Common& c) {
  v("threads", c.threads,
    {.help = "Worker threads; by default what affinity and cgroup quota allow",
     .min = 1,
     .max = 4096});
  v("json", c.json, {.help = "Results and progress as JSON on stdout", .env = "-"});
  v("quiet", c.quiet, {.help = "No progress and no notes", .env = "-"});
  v("recipe", c.recipe, {.help = "YAML file with values for the options above", .env = "-"});
}

// Read by the kernels, not by recipes (docs: SMIDGEN_TARGET forces an instruction set).
constexpr std::array<std::string_view, 2> kTaken = {"SMIDGEN_TARGET", "SMIDGEN_KERNELS"};

std::string env_name(const Json& node) {
  if (node.contains("env")) return node["env"] == "-" ? "" : node["env"].get<std::string>();
  std::string name = "SMIDGEN_";
  for (const char c : node["name"].get_ref<const std::string&>()) {
    name += static_cast<char>(c >= 'a' && c <= 'z' ? c - 32 : c);
  }
  return std::find(kTaken.begin(), kTaken.end(), name) == kTaken.end() ? name : "";
}

void collect(const Json& fields, const std::string& prefix, const std::string& oneof,
             const std::string& entry, const Json& registries, std::vector<Leaf>& out) {
  for (const Json& node : fields) {
    const std::string name = node["name"];
    const std::string path = prefix.empty() ? name : str(prefix, ".", name);
    if (node["type"] == "group") {
      collect(node["fields"], path, oneof, entry, registries, out);
      continue;
    }
    out.push_back({path, "--" + kebab(name), env_name(node), &node, oneof, entry});
    if (node["type"] != "oneof") continue;
    if (!oneof.empty()) {
      throw Error(ErrorKind::mismatch,
                  str("[", path, "] is a choice inside an entry of another choice"), "schema");
    }
    const auto registry = registries.find(node["registry"].get<std::string>());
    if (registry == registries.end()) continue;
    for (const auto& [chosen, item] : registry->items()) {
      if (item.contains("fields")) collect(item["fields"], path, path, chosen, registries, out);
    }
  }
}

std::string leaf_name(const Leaf& leaf) {
  return leaf.node->at("name");
}

}  // namespace

std::string kebab(std::string_view name) {
  std::string flag(name);
  std::replace(flag.begin(), flag.end(), '_', '-');
  return flag;
}

const Json& common_fields() {
  static const Json nodes = [] {
    Json list = describe<Common>();
    for (Json& node : list) {
      if (node["name"] != "threads") node["flag_only"] = true;
    }
    return list;
  }();
  return nodes;
}

std::vector<Leaf> leaves(const Json& document, const std::string& verb) {
  static const Json none = Json::object();
  const auto verbs = document.find("verbs");
  if (verbs == document.end() || !verbs->contains(verb)) {
    std::vector<std::string> names;
    if (verbs != document.end()) {
      for (const auto& [name, entry] : verbs->items()) names.push_back(name);
    }
    throw Error(ErrorKind::usage, str("there is no verb '", verb, "'"), "",
                did_you_mean(verb, names, str("known: ", join(names))));
  }
  const auto registries = document.find("registries");
  std::vector<Leaf> all;
  const Json& entry = (*verbs)[verb];
  if (entry.contains("fields")) {
    collect(entry["fields"], "", "", "", registries == document.end() ? none : *registries, all);
  }
  collect(common_fields(), "", "", "", none, all);
  return all;
}

void check_document(const Json& document) {
  const Json* registries = document.contains("registries") ? &document["registries"] : nullptr;
  for (const auto& [verb, entry] : document.at("verbs").items()) {
    const std::vector<Leaf> all = leaves(document, verb);
    for (const Leaf& leaf : all) {
      const std::string name = leaf_name(leaf);
      const std::string place = str("schema of ", verb);
      if (name == "help" || name == "name" ||
          name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_") != name.npos) {
        throw Error(ErrorKind::mismatch, str("[", leaf.path, "] cannot be a field's name"), place,
                    "small letters, digits and _; not help, not name");
      }
      for (const Leaf& other : all) {
        if (&other == &leaf) break;
        // Only one entry of a oneof is ever in use, so two of them may share names.
        const bool alternatives =
            !leaf.oneof.empty() && leaf.oneof == other.oneof && leaf.entry != other.entry;
        if (leaf_name(other) == name && !alternatives) {
          throw Error(ErrorKind::mismatch,
                      str("[", leaf.path, "] and [", other.path, "] are both ", leaf.flag), place,
                      "leaf names are unique within a verb: rename one");
        }
      }
      if (leaf.node->contains("default")) {
        check_value(*leaf.node, leaf.node->at("default"), leaf.path, place, registries);
      }
    }
    for (const std::string& positional : positional_fields(entry)) {
      const auto is_it = [&](const Leaf& leaf) { return leaf.path == positional; };
      if (std::none_of(all.begin(), all.end(), is_it)) {
        throw Error(ErrorKind::mismatch, str("[", positional, "] is positional, but no field"),
                    str("schema of ", verb));
      }
    }
  }
}

}  // namespace smidgen
