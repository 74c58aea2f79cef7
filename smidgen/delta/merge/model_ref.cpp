#include "smidgen/delta/merge/model_ref.h"

#include <algorithm>

#include "smidgen/base/error.h"

namespace smidgen {

namespace {

[[noreturn]] void refuse_revision(const YamlNode& node, const RecipeReading& reading,
                                  const std::string& path, const std::string& revision) {
  throw Error(ErrorKind::unsupported,
              str("'", path, "' is a folder or a file, which has no revision '", revision, "'"),
              node.place(reading.file),
              "download that revision and name its folder; a path that holds @ is written as "
              "{model: {path: ...}}");
}

std::string trimmed(std::string path, const YamlNode& node, const RecipeReading& reading) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  if (path.empty()) bad_value(node, reading, "a model without a path");
  return path;
}

// PATH or PATH@REV.
std::string path_in(const std::string& text, const YamlNode& node, const RecipeReading& reading) {
  const auto at = text.find('@');
  if (at != text.npos && text.find('@', at + 1) != text.npos)
    bad_value(node, reading, str("more than one @ in '", text, "'"));
  if (at != text.npos)
    refuse_revision(node, reading, text.substr(0, at), text.substr(at + 1));
  return trimmed(text, node, reading);
}

// A part of the map form.
std::string part(const YamlNode& node, const std::string& what, RecipeReading& reading) {
  if (node.kind == YamlNode::Kind::scalar) return path_in(node.text, node, reading);
  const RecipeMap map(node, what, {"path", "revision"}, reading);
  const YamlNode& path = map.need("path");
  const std::string text = trimmed(text_of(path, reading, "path"), path, reading);
  if (const YamlNode* revision = map.find("revision"))
    refuse_revision(*revision, reading, text, text_of(*revision, reading, "revision"));
  return text;
}

}  // namespace

std::string ModelRef::text() const {
  return adapter.empty() ? path : str(path, "+", adapter);
}

ModelRef read_model_ref(const YamlNode& node, RecipeReading& reading) {
  ModelRef ref{.path = {}, .place = node.place(reading.file)};
  if (node.kind == YamlNode::Kind::scalar) {
    const auto plus = node.text.find('+');
    if (plus != node.text.npos && node.text.find('+', plus + 1) != node.text.npos)
      bad_value(node, reading, str("more than one + in '", node.text, "'"),
                "a recipe puts one adapter on a model; merge the others in a document of their own");
    ref.path = path_in(node.text.substr(0, plus), node, reading);
    if (plus != node.text.npos) ref.adapter = path_in(node.text.substr(plus + 1), node, reading);
    return ref;
  }
  const RecipeMap map(node, "a model", {"model", "lora", "override_architecture"}, reading);
  for (const auto& [key, value] : node.entries) {
    if (key.text == "override_architecture" && value.kind != YamlNode::Kind::null)
      reading.ignore(key.text, key.place(reading.file), "a model");
  }
  ref.path = part(map.need("model"), "the model's path", reading);
  if (const YamlNode* lora = map.find("lora"))
    ref.adapter = part(*lora, "the adapter's path", reading);
  return ref;
}

}  // namespace smidgen
