// smidgen data [list | cache | NAME --out DIR | FILE [--model M]]
#include <algorithm>

#include "smidgen/base/error.h"
#include "smidgen/base/fs.h"
#include "smidgen/cli/command.h"
#include "smidgen/cli/data_sets.h"
#include "smidgen/text/token_cache.h"

namespace smidgen {
namespace {

struct DataConfig {
  std::string what, out, model, data_cache = "auto";
};
template <class V>
void fields(V& v, DataConfig& c) {
  v("what", c.what,
    {.help = "a set to fetch, a file to look at, cache, or list (also when nothing is given)"});
  v("out", c.out, {.help = "folder that a fetched set goes into"});
  v("model", c.model, {.help = "folder or GGUF whose tokenizer counts the tokens of a file"});
  v("data_cache", c.data_cache, {.help = "the folder that cache shows; auto is the user's"});
}

void list_data(const OutputMode& output) {
  Json rows = Json::array();
  std::string text;
  for (const DataSet& set : data_sets()) {
    rows.push_back({{"name", set.name}, {"summary", set.summary}});
    std::string left = str("  ", set.name);
    left.resize(std::max<size_t>(left.size() + 2, 22), ' ');
    text += left + set.summary + "\n";
  }
  if (output.json) return print_json(rows);
  print_text("sets that smidgen data NAME --out DIR fetches\n" + text);
}

// What tune and eval keep of the files they have tokenised.
void show_cache(const std::string& where, const OutputMode& output) {
  const fs::path folder = data_cache(where).folder;
  const std::vector<Json> entries = folder.empty() ? std::vector<Json>() : list_token_cache(folder);
  if (output.json) return print_json({{"folder", folder.string()}, {"entries", entries}});
  std::string text = str(folder.string(), ": ", entries.size(),
                         entries.size() == 1 ? " file" : " files", " tokenised\n");
  uint64_t total = 0;
  for (const Json& entry : entries) {
    const auto bytes = entry["bytes"].get<uint64_t>();
    total += bytes;
    text += str("  ", entry["key"].get<std::string>().substr(0, 12), "  ", bytes_str(bytes), "  ");
    if (entry.contains("damaged")) {
      text += str("damaged: ", entry["damaged"].get<std::string>(), "\n");
      continue;
    }
    // Written by this program, but a file on disk all the same: dump() escapes what a terminal
    // would obey.
    text += str(entry.value("sequences", Json()).dump(), " sequences, ",
                entry.value("tokens", Json()).dump(), " tokens  ",
                entry.value("file", Json()).dump(-1, ' ', true), "\n");
  }
  if (!entries.empty())
    text += str(bytes_str(total), " in all; any of it may be deleted at any time\n");
  print_text(text);
}

void run_data(const Invocation& invocation) {
  const auto config = read_config<DataConfig>(invocation.recipe.values);
  if (config.what.empty() || config.what == "list") return list_data(invocation.output);
  if (config.what == "cache") return show_cache(config.data_cache, invocation.output);
  const auto& sets = data_sets();
  const bool known = std::any_of(sets.begin(), sets.end(),
                                 [&](const DataSet& s) { return config.what == s.name; });
  if (!known && path_exists(config.what)) {
    if (!config.out.empty())
      throw Error(ErrorKind::usage, "[out] belongs to a set that is fetched", config.what);
    const Json shown = show_data(config.what, config.model);
    return invocation.output.json ? print_json(shown) : print_text(describe_data(shown));
  }
  if (config.what == "fetch" || config.what == "show") {
    throw Error(ErrorKind::usage, str("'", config.what, "' is no set and no file"), "",
                "write smidgen data NAME --out DIR to fetch, smidgen data FILE to look at a file");
  }
  if (known && config.out.empty())
    throw Error(ErrorKind::usage, "[out] is missing", config.what, "write --out DIR");
  if (known && !config.model.empty())
    throw Error(ErrorKind::usage, "[model] belongs to a file that is looked at", config.what);
  fetch_data(config.what, config.out, invocation.output.json);
  if (invocation.output.json) print_json({{"name", config.what}, {"out", config.out}});
}

const VerbEntry kData([] {
  return Verb{"data",
              "Fetch a data set, or look at a data file",
              describe<DataConfig>(),
              "what",
              Json::array({Json::array({"smidgen data list", "what can be fetched"}),
                           Json::array({"smidgen data stdlib-functions --out data",
                                        "the set of the demonstration"}),
                           Json::array({"smidgen data reuters-r8 --out r8",
                                        "questions with a few answers, for eval --choices"}),
                           Json::array({"smidgen data cache", "what is tokenised already"}),
                           Json::array({"smidgen data data/train.jsonl --model model.gguf",
                                        "rows, lengths, first row"})}),
              run_data};
});

}  // namespace
}  // namespace smidgen
