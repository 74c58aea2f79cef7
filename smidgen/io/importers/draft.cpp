#include "smidgen/io/importers/draft.h"

#include <algorithm>
#include <utility>

#include "smidgen/base/error.h"

namespace smidgen {
namespace {

bool matches(const std::string& rule, const std::string& key) {
  if (!rule.ends_with("*")) return rule == key;
  return key.compare(0, rule.size() - 1, rule, 0, rule.size() - 1) == 0;
}

// "model.lora_rank" is inside "model".
bool reaches_into(const std::vector<ImportRule>& rules, const std::string& key) {
  return std::any_of(rules.begin(), rules.end(),
                     [&](const ImportRule& rule) { return rule.key.starts_with(key + "."); });
}

// Python's YAML reads these as truth values; ours does not.
Json python_truth(Json value) {
  if (value.is_object() || value.is_array()) {
    for (Json& item : value) item = python_truth(std::move(item));
    return value;
  }
  if (!value.is_string()) return value;
  const std::string& text = value.get_ref<const std::string&>();
  for (const char* yes : {"True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"}) {
    if (text == yes) return true;
  }
  for (const char* no : {"False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"}) {
    if (text == no) return false;
  }
  return value;
}

}  // namespace

const char* to_string(Fate fate) {
  const char* names[] = {"mapped", "changed", "not supported", "no effect", "unknown"};
  return names[static_cast<int>(fate)];
}

bool is_off(const Json& value) {
  if (value.is_null() || value == false || value == 0) return true;
  if (value.is_string()) return value == "" || value == "none" || value == "None" || value == "no";
  return (value.is_array() || value.is_object()) && value.empty();
}

Draft::Draft(const YamlNode& root, Imported& out)
    : root_(root), out_(out), theirs_(python_truth(to_json(root))) {}

const Json& Draft::value(const std::string& path) const {
  static const Json nothing;
  const Json* at = &theirs_;
  for (size_t begin = 0; begin <= path.size();) {
    const size_t dot = std::min(path.find('.', begin), path.size());
    if (!at->is_object()) return nothing;
    const auto found = at->find(path.substr(begin, dot - begin));
    if (found == at->end()) return nothing;
    at = &*found;
    begin = dot + 1;
  }
  return *at;
}

bool Draft::is_true(const std::string& path) const {
  return value(path) == true;
}

double Draft::number(const std::string& path, double absent) const {
  const Json& found = value(path);
  if (found.is_null()) return absent;
  if (!found.is_number())
    throw Error(ErrorKind::format, str(path, " should be a number, not ", found.dump()),
                str(out_.file, ":", line_of(path)));
  return found.get<double>();
}

std::string Draft::text(const std::string& path) const {
  const Json& found = value(path);
  return found.is_string() ? found.get<std::string>() : std::string();
}

int Draft::line_of(const std::string& path) const {
  const YamlNode* at = &root_;
  int line = 0;
  for (size_t begin = 0; begin <= path.size();) {
    const size_t dot = std::min(path.find('.', begin), path.size());
    const std::string name = path.substr(begin, dot - begin);
    const auto found = std::find_if(at->entries.begin(), at->entries.end(),
                                    [&](const auto& entry) { return entry.first.text == name; });
    if (found == at->entries.end()) return 0;
    line = found->first.line;
    at = &found->second;
    begin = dot + 1;
  }
  return line;
}

void Draft::set_from(const std::string& theirs, const std::string& ours, Json value,
                     const std::string& words) {
  const auto old = std::find_if(out_.settings.begin(), out_.settings.end(),
                                [&](const ImportSetting& s) { return s.path == ours; });
  ImportSetting made{ours, std::move(value), theirs, words, standard_};
  if (old != out_.settings.end()) {
    *old = std::move(made);
  } else {
    out_.settings.push_back(std::move(made));
  }
}

void Draft::remark_on(const std::string& theirs, Fate fate, const std::string& words) {
  out_.remarks.push_back({fate, theirs, line_of(theirs), words});
}

void Draft::set(const std::string& ours, Json value, const std::string& words) {
  const std::string shown = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  set_from(key_, ours, std::move(value), words);
  if (!standard_)
    remark(words.empty() ? Fate::mapped : Fate::changed,
           str(ours, ": ", shown, words.empty() ? "" : ", ", words));
}

void Draft::peft(const std::string& key, Json value, const std::string& words) {
  set("peft:" + key, std::move(value), words);
}

void Draft::remark(Fate fate, const std::string& words) {
  remarked_ = true;
  remark_on(key_, fate, words);
}

void Draft::apply(const ImportRule& rule, const std::string& key, const Json& value, bool present) {
  key_ = key;
  standard_ = value.is_null();
  remarked_ = false;
  const Json& used = standard_ ? rule.standard : value;
  if (rule.fate == Fate::no_effect) {
    if (present) remark(Fate::no_effect, rule.words);
  } else if (rule.fate == Fate::lost) {
    if (present)
      is_off(value) ? remark(Fate::no_effect, "off there as well") : remark(Fate::lost, rule.words);
  } else if (rule.convert) {
    if (!used.is_null()) rule.convert(*this, used);
  } else if (!rule.ours.empty() && !used.is_null()) {
    set(rule.ours, used, rule.words);
  }
  if (!present || remarked_) return;
  if (value.is_null()) {
    remark(Fate::no_effect, "nothing is set there");
  } else {
    remark(Fate::mapped, rule.words);
  }
}

void Draft::account(const YamlNode& node, const std::string& prefix,
                    const std::vector<ImportRule>& rules) {
  std::vector<std::string> known;
  for (const ImportRule& rule : rules) {
    if (rule.key.starts_with(prefix))
      known.push_back(rule.key.substr(0, rule.key.find('.', prefix.size())));
  }
  for (const auto& [name, inner] : node.entries) {
    const std::string key = prefix + name.text;
    // The most exact rule wins: a name before a beginning.
    const ImportRule* chosen = nullptr;
    for (const ImportRule& rule : rules) {
      if (matches(rule.key, key) && (!chosen || chosen->key.ends_with("*"))) chosen = &rule;
    }
    if (chosen) {
      if (chosen->key.ends_with("*")) apply(*chosen, key, value(key), true);
    } else if (inner.kind == YamlNode::Kind::map && reaches_into(rules, key)) {
      account(inner, key + ".", rules);
    } else {
      const std::string near = did_you_mean(key, known, "");
      remark_on(key, Fate::unknown, near.empty() ? "this importer does not know it" : near);
    }
  }
}

void Draft::apply(const std::vector<ImportRule>& rules) {
  for (const ImportRule& rule : rules) {
    if (!rule.key.ends_with("*")) apply(rule, rule.key, value(rule.key), line_of(rule.key) > 0);
  }
  account(root_, "", rules);
  standard_ = false;
}

}  // namespace smidgen
