// From what the user wrote to the values of a verb: recipe file < environment < flags, each value
// with its origin.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "smidgen/base/json.h"

namespace smidgen {

// Who set a value.
struct Origin {
  enum class Kind { standard, recipe, environment, flag };
  Kind kind = Kind::standard;
  std::string place = {};  // "tune.yaml:3:7", "SMIDGEN_RANK", "--rank"

  std::string text()
      const;  // "default", "tune.yaml:3:7", "environment SMIDGEN_RANK", "flag --rank"
};

// The values of one call, checked against the schema.
struct Resolved {
  std::string verb;
  Json values = Json::object();                // the verb's own fields, ready for read_config
  Json common = Json::object();                // threads, json, quiet
  std::map<std::string, Origin> origins = {};  // by key path ("method.rank"); absent means default
  std::vector<std::string> notes = {};         // one line each, for the user
  std::string recipe = {};                     // the file, when there was one

  Origin origin(const std::string& path) const;
  // "flag --rank 8": for errors found after parsing, e.g. Error(kind, message,
  // recipe.where("method.rank")).
  std::string where(const std::string& path) const;
};

// One settable thing of a verb: the leaf of a group, a plain field, a oneof, or a field of a
// oneof's entry.
struct Leaf {
  std::string path;   // "method.rank"
  std::string flag;   // "--rank"
  std::string env;    // "SMIDGEN_RANK"; empty when it has no twin in the environment
  const Json* node;   // lives in the document or in the common fields
  std::string oneof;  // path of the oneof whose entry this belongs to, or empty
  std::string entry;  // name of that entry
};

// Options that every verb has, and that no recipe of a verb may name anew.
const Json& common_fields();

// Every leaf of a verb, entries of its oneofs included. The document must outlive the result.
std::vector<Leaf> leaves(const Json& document, const std::string& verb);

// Throws mismatch when two fields of a verb share a leaf name (fields of different entries of one
// oneof may), or when a default does not pass its own check. Called when the schema is built.
void check_document(const Json& document);

// What the call consists of, apart from the verb.
struct Call {
  std::string verb;
  std::vector<std::string> words = {};  // after the verb
  std::function<std::optional<std::string>(const std::string&)> environment =
      {};                        // empty: the process's own
  std::string recipe_text = {};  // a recipe in no file; used where the words name none
};

// The fields that bare words set, in order: those that a verb's "positional" names, with blanks
// between them. Empty: a bare word is the recipe.
std::vector<std::string> positional_fields(const Json& verb);

// True when the words ask for help ("--help" or "-h" before "--").
bool wants_help(const std::vector<std::string>& words);

// Resolves a call. `--key value`, `--key=value`, `--flag` for booleans, `key.path=value`, `--recipe
// F`; one bare word is the recipe, or bare words are the verb's `positional` fields. Errors: usage,
// with where and nearest names.
Resolved resolve(const Json& document, const Call& call);

// Names chosen for the oneofs of a verb by the words, else by default: for `--help --method lora`.
std::map<std::string, std::string> chosen_entries(const Json& document, const Call& call);

// The resolved recipe as YAML, each value with its origin as a comment. Resolving it again gives
// the same values.
std::string to_yaml(const Json& document, const Resolved& resolved);

std::string kebab(std::string_view name);  // learning_rate -> learning-rate

}  // namespace smidgen
