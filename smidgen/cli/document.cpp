#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>

#include "smidgen/base/console.h"
#include "smidgen/base/version.h"
#include "smidgen/cli/command.h"
#include "smidgen/cli/core_library.h"

namespace smidgen {
namespace {

std::vector<Verb (*)()>& makers() {
  static std::vector<Verb (*)()> all;
  return all;
}

// Beside the program in a build folder, in share/smidgen when installed.
Json stored_schema() {
  for (const char* place : {"schema.json", "../share/smidgen/schema.json"}) {
    const std::filesystem::path file = program_folder() / place;
    std::ifstream in(file);
    if (!in) continue;
    Json json = Json::parse(in, nullptr, false);
    if (json.is_discarded() || !json.is_object() || !json.contains("verbs")) {
      throw Error(
          ErrorKind::format, "not a schema document", file.string(),
          "the build writes it: build again, or run smidgen schema --live --out " + file.string());
    }
    return json;
  }
  return {{"verbs", Json::object()}, {"registries", Json::object()}};
}

constexpr std::array<const char*, 28> kOrder = {
    "tune",  "generate", "chat",       "eval",     "forward",    "export",  "import",
    "merge", "combine",  "extract",    "compress", "decompress", "compare", "project",
    "diff",  "verify",   "statistics", "plan",     "tokenize",   "inspect", "data",
    "bench", "doctor",   "list",       "schema",   "completion", "help",    "version"};

Json make_document() {
  const Json stored = stored_schema();
  Json all = stored["verbs"];
  for (const Verb& verb : own_verbs()) {
    Json entry = {{"summary", verb.summary}, {"fields", verb.fields}};
    if (!verb.positional.empty()) entry["positional"] = verb.positional;
    if (!verb.examples.empty()) entry["examples"] = verb.examples;
    all[verb.name] = std::move(entry);
  }
  Json verbs = Json::object();
  for (const char* name : kOrder) {
    if (all.contains(name)) verbs[name] = all[name];
  }
  for (const auto& [name, entry] : all.items()) {
    if (!verbs.contains(name)) verbs[name] = entry;
  }
  Json registries = stored.contains("registries") ? stored["registries"] : Json::object();
  return {
      {"version", version()}, {"verbs", std::move(verbs)}, {"registries", std::move(registries)}};
}

}  // namespace

VerbEntry::VerbEntry(Verb (*make)()) {
  makers().push_back(make);
}

std::vector<Verb> own_verbs() {
  std::vector<Verb> verbs;
  for (Verb (*make)() : makers()) verbs.push_back(make());
  return verbs;
}

const std::vector<std::pair<std::string, std::string>>& core_verbs() {
  static const std::vector<std::pair<std::string, std::string>> names = {
      {"tune", "Tune a model"},
      {"generate", "Generate text"},
      {"chat", "Talk with a model"},
      {"eval", "Score a model on data"},
      {"forward", "Write logits and hidden states"},
      {"export", "Merge an adapter into its base"},
      {"merge", "Merge models as a recipe says"},
      {"combine", "Make one adapter of several"},
      {"extract", "Find the adapter between two checkpoints"},
      {"compress", "Compress an adapter or a fine-tuned model"},
      {"decompress", "Restore what compress wrote"},
      {"compare", "Measure how much fine-tunes of one base overlap"},
      {"project", "Split a fine-tune along the directions of an alignment"},
      {"diff", "Tell what differs between two models or adapters"},
      {"verify", "Tell whether two models compute the same"},
      {"statistics", "Measure how much a model's weights matter"},
      {"plan", "Predict memory and time of a run"},
      {"bench", "Measure this machine"}};
  return names;
}

const Json& document() {
  static const Json json = make_document();
  return json;
}

void print_json(const Json& value) {
  console().print(value.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
}

void print_text(const std::string& text) {
  console().print(text);
}

}  // namespace smidgen
