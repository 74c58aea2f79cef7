// A recipe of ours in the making, out of one of another tool's.
#pragma once

#include <string>
#include <vector>

#include "smidgen/base/json.h"
#include "smidgen/base/yaml.h"

namespace smidgen {

// What becomes of a key of theirs.
enum class Fate {
  mapped,     // the same thing here
  changed,    // something here comes close, or the value is converted; words say how
  lost,       // nothing here does it; words say what that changes
  no_effect,  // has nothing to do with the result here; words say why
  unknown     // no key of that tool's that this importer knows
};
const char* to_string(Fate fate);

class Draft;

// One key of theirs, "a.b" for b inside a. A key that ends in '*' stands for all with that
// beginning.
struct ImportRule {
  std::string key;
  Fate fate = Fate::mapped;
  // mapped: a key path of ours. "peft:KEY" is the method's field that PEFT calls KEY. Empty: the
  // conversion sets it, or finish().
  std::string ours = {};
  // Of a change, a loss, or the lack of an effect.
  std::string words = {};
  // What a missing key means there; null: nothing.
  Json standard = nullptr;
  // In place of copying the value.
  void (*convert)(Draft&, const Json& value) = nullptr;
};

struct ImportSetting {
  std::string path;  // "method.rank"
  Json value;
  std::string from;       // their key, or their keys
  std::string words;      // of a change
  bool standard = false;  // nobody wrote it: it is what a missing key means there
};

struct ImportRemark {
  Fate fate;
  std::string key;
  int line = 0;  // 0: the key is not in the file
  std::string words;
};

struct Imported {
  std::string tool, file;
  std::vector<ImportSetting> settings;
  std::vector<ImportRemark> remarks;  // one for each key of theirs that is in the file, and more
};

class Draft {
 public:
  Draft(const YamlNode& root, Imported& out);

  // For conversions and finish().
  const Json& theirs() const { return theirs_; }
  // By path; null when it is absent or null.
  const Json& value(const std::string& path) const;
  bool is_true(const std::string& path) const;
  double number(const std::string& path, double absent) const;
  std::string text(const std::string& path) const;  // "" unless it is text

  // Settings and remarks of the key at hand.
  void set(const std::string& ours, Json value, const std::string& words = {});
  void peft(const std::string& key, Json value, const std::string& words = {});
  void remark(Fate fate, const std::string& words);
  void leave() { remarked_ = true; }  // its remark is made by name
  // The same, for a key that is named.
  void set_from(const std::string& theirs, const std::string& ours, Json value,
                const std::string& words = {});
  void remark_on(const std::string& theirs, Fate fate, const std::string& words);

  // Carries out the rules, in their order, and names what none of them knows.
  void apply(const std::vector<ImportRule>& rules);

 private:
  void apply(const ImportRule& rule, const std::string& key, const Json& value, bool present);
  void account(const YamlNode& node, const std::string& prefix,
               const std::vector<ImportRule>& rules);
  int line_of(const std::string& path) const;

  const YamlNode& root_;
  Imported& out_;
  Json theirs_;
  std::string key_;
  bool standard_ = false, remarked_ = false;
};

// What stands for "off" in a recipe: null, false, 0, "", "none", [] and {}.
bool is_off(const Json& value);

// Turns "peft:KEY" into the field of the build's own method and takes out what the build's tune
// verb does not have, with a remark. `document` may lack the verb: then only the few fields that
// every build has are resolved.
void fit_to_build(Imported& imported, const Json& document);

// The recipe as YAML, a comment on every line that says where it is from; what is lost and changed
// follows as comments.
std::string recipe_text(const Imported& imported);

}  // namespace smidgen
