#include <algorithm>

#include "smidgen/base/error.h"
#include "smidgen/cli/command.h"

namespace smidgen {
namespace {

struct ListConfig {
  std::string what;
};
template <class V>
void fields(V& v, ListConfig& c) {
  v("what", c.what,
    {.help = "verbs, methods, families, formats, policies, losses, codecs or merge_methods; "
             "nothing lists "
             "all"});
}

std::string plural(const std::string& word) {
  if (word == "data") return word;
  if (word.ends_with("s")) return word + "es";
  return word.ends_with("y") ? word.substr(0, word.size() - 1) + "ies" : word + "s";
}

// Everything that can be listed, by its plural.
Json tables() {
  Json all = {{"verbs", document()["verbs"]}};
  for (const auto& [word, registry] : document()["registries"].items())
    all[plural(word)] = registry;
  return all;
}

Json rows_of(const Json& table) {
  Json rows = Json::array();
  for (const auto& [name, entry] : table.items()) {
    Json row = {{"name", name}};
    for (const auto& [key, value] : entry.items()) {
      if (key != "fields" && key != "examples" && key != "positional" && key != "answers")
        row[key] = value;
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

void run_list(const Invocation& invocation) {
  const auto config = read_config<ListConfig>(invocation.recipe.values);
  const Json all = tables();
  Json chosen = Json::object();
  std::vector<std::string> names;
  for (const auto& [name, table] : all.items()) {
    names.push_back(name);
    if (config.what.empty() || config.what == name || plural(config.what) == name)
      chosen[name] = rows_of(table);
  }
  if (chosen.empty()) {
    throw Error(ErrorKind::usage, str("there is no list of '", config.what, "'"), "",
                did_you_mean(config.what, names, str("known: ", join(names))));
  }
  if (invocation.output.json) return print_json(config.what.empty() ? chosen : chosen.front());
  std::string text;
  for (const auto& [name, rows] : chosen.items()) {
    if (config.what.empty()) text += str(text.empty() ? "" : "\n", name, "\n");
    for (const Json& row : rows) {
      std::string left = "  " + row["name"].get<std::string>();
      left.resize(std::max<size_t>(left.size() + 2, 18), ' ');
      text += left + row.value("summary", "") + "\n";
    }
  }
  print_text(text);
}

const VerbEntry kList([] {
  return Verb{
      "list",
      "List methods, families, formats, budget policies, losses, codecs, merge methods, verbs",
      describe<ListConfig>(),
      "what",
      Json::array({Json::array({"smidgen list methods", "with their summaries"})}),
      run_list};
});

}  // namespace
}  // namespace smidgen
