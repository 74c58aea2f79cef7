#include <map>

#include "smidgen/base/error.h"
#include "smidgen/base/fs.h"
#include "smidgen/cli/command.h"
#include "smidgen/io/importers/registry.h"

namespace smidgen {
namespace {

struct ImportConfig {
  std::string file, from;
  std::filesystem::path out;
};
template <class V>
void fields(V& v, ImportConfig& c) {
  v("file", c.file, {.help = "Recipe of another tool, as YAML", .required = true});
  v.choice("from", c.from, importers().names(),
           {.help = "The tool it is of; found out from its keys when unset"});
  v("out", c.out, {.help = "File to write the recipe to instead of standard output"});
}

Json as_json(const Imported& imported) {
  Json settings = Json::array(), keys = Json::object();
  Json recipe = Json::object();
  for (const ImportSetting& setting : imported.settings) {
    settings.push_back({{"key", setting.path},
                        {"value", setting.value},
                        {"from", setting.from},
                        {"standard", setting.standard},
                        {"words", setting.words}});
    const size_t dot = setting.path.find('.');
    Json& place = dot == std::string::npos
                      ? recipe[setting.path]
                      : recipe[setting.path.substr(0, dot)][setting.path.substr(dot + 1)];
    place = setting.value;
  }
  for (const Fate fate :
       {Fate::mapped, Fate::changed, Fate::lost, Fate::no_effect, Fate::unknown}) {
    Json list = Json::array();
    for (const ImportRemark& remark : imported.remarks) {
      if (remark.fate == fate)
        list.push_back({{"key", remark.key}, {"line", remark.line}, {"words", remark.words}});
    }
    keys[to_string(fate)] = std::move(list);
  }
  return {{"tool", imported.tool}, {"recipe", recipe}, {"settings", settings}, {"keys", keys}};
}

// The list in words: what the recipe does not say by itself.
std::string in_words(const Imported& imported) {
  std::map<Fate, size_t> counts;
  for (const ImportRemark& remark : imported.remarks) ++counts[remark.fate];
  std::string out;
  for (const Fate fate : {Fate::changed, Fate::lost, Fate::unknown, Fate::no_effect}) {
    if (!counts[fate]) continue;
    out += str(to_string(fate), ":\n");
    for (const ImportRemark& remark : imported.remarks) {
      if (remark.fate == fate)
        out += str("  ", remark.key, remark.line ? str(" (line ", remark.line, ")") : "", ": ",
                   remark.words, "\n");
    }
  }
  return out + str(counts[Fate::mapped], " mapped, ", counts[Fate::changed], " changed, ",
                   counts[Fate::lost], " not supported, ", counts[Fate::no_effect],
                   " without effect, ", counts[Fate::unknown], " unknown\n");
}

void run_import(const Invocation& invocation) {
  const auto config = read_config<ImportConfig>(invocation.recipe.values);
  const Imported imported = import_recipe(config.file, config.from, document());
  if (!config.out.empty()) {
    if (path_exists(config.out))
      throw Error(ErrorKind::usage, "the file exists and is not overwritten", config.out.string(),
                  "choose another --out, or remove it");
    write_file(config.out, recipe_text(imported));
  }
  if (invocation.output.json) return print_json(as_json(imported));
  // Standard output is a recipe, or what is worth saying beside the one that was written.
  print_text(config.out.empty() ? recipe_text(imported) : in_words(imported));
}

const VerbEntry kImport([] {
  return Verb{"import",
              "Turn a recipe of another tool into one of tune",
              describe<ImportConfig>(),
              "file",
              Json::array({Json::array({"smidgen import lora.yml --out recipe.yaml",
                                        "and says in words what maps"}),
                           Json::array({"smidgen import lora.yml --json",
                                        "every key of theirs and its fate"})}),
              run_import};
});

}  // namespace
}  // namespace smidgen
