// smidgen inspect.
#include <algorithm>

#include "smidgen/base/progress.h"
#include "smidgen/cli/command.h"
#include "smidgen/cli/inspect_files.h"

namespace smidgen {
namespace {

struct InspectConfig {
  std::filesystem::path path;
  bool digest = false;
};
template <class V>
void fields(V& v, InspectConfig& c) {
  v("path", c.path, {.help = "File or folder, or base+adapter", .required = true});
  v("digest", c.digest, {.help = "Also the SHA-256 of a model's weights, which reads all of them"});
}

std::string value_line(const Json& value) {
  std::string text = value.is_string() ? value.get<std::string>()
                                       : value.dump(-1, ' ', false, Json::error_handler_t::replace);
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text.size() > 90 ? text.substr(0, 87) + "..." : text;
}

std::string line_of(const std::string& key, const Json& value) {
  if (key.ends_with("bytes") && value.is_number_integer()) return bytes_text(value.get<int64_t>());
  if (key == "parameters") return count_text(value.get<int64_t>());
  return value_line(value);
}

void print_table(const Json& found, const std::string& indent) {
  std::string text;
  for (const auto& [key, value] : found.items()) {
    if (key == "tensors" || (value.is_object() && value.contains("kind"))) continue;
    if (key == "formats") {
      text += str(indent, "formats\n");
      for (const auto& [name, share] : value.items()) {
        text += str(indent, "  ", name, ": ", share["tensors"].dump(), " tensors, ",
                    count_text(share["elements"].get<int64_t>()), " values, ",
                    bytes_text(share["bytes"].get<int64_t>()), "\n");
      }
      continue;
    }
    if (value.is_object()) {
      text += str(indent, key, "\n");
      for (const auto& [name, item] : value.items())
        text += str(indent, "  ", name, ": ", line_of(name, item), "\n");
      continue;
    }
    text += str(indent, key, ": ", line_of(key, value), "\n");
  }
  if (found.contains("tensors")) {
    text += str(indent, "tensors\n");
    for (const Json& tensor : found["tensors"]) {
      text += str(indent, "  ", tensor["name"].get<std::string>(), "  ",
                  tensor["format"].get<std::string>(), " ", tensor["shape"].dump(), "\n");
    }
  }
  print_text(text);
  for (const auto& [key, value] : found.items()) {
    if (!value.is_object() || !value.contains("kind")) continue;
    print_text(str(indent, key, "\n"));
    print_table(value, indent + "  ");
  }
}

void run_inspect(const Invocation& invocation) {
  const auto config = read_config<InspectConfig>(invocation.recipe.values);
  const Json found = inspect_path(config.path, config.digest);
  if (invocation.output.json) return print_json(found);
  print_table(found, "");
}

const VerbEntry kInspect([] {
  return Verb{
      "inspect",
      "Tell what a file or folder is and holds",
      describe<InspectConfig>(),
      "path",
      Json::array(
          {Json::array({"smidgen inspect model.gguf", "tensors, metadata, chat template"}),
           Json::array({"smidgen inspect RUN/adapter --json", "method, rank, base, tensors"})}),
      run_inspect};
});

}  // namespace
}  // namespace smidgen
