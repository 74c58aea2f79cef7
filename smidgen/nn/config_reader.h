// Reads a config.json field by field through the family's table of keys and remembers which were
// used, so that what a family does not understand is named.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "smidgen/base/json.h"
#include "smidgen/nn/config_key.h"

namespace smidgen {

class ConfigReader {
 public:
  // Fields are asked for by the names of `keys`; without a table, by their own.
  ConfigReader(const Json& config, std::string where, KeyTable keys = {});

  // A missing or null field has the value of the table's row. One that is needed and missing is a
  // format error with the nearest key; a wrong type is one too.
  int64_t integer(const std::string& key);
  double number(const std::string& key);
  bool boolean(const std::string& key);
  // For fields that the family derives when they are null, and for groups without a table. A
  // missing field still has the value of its row where the row has one.
  int64_t integer(const std::string& key, int64_t absent);
  double number(const std::string& key, double absent);
  bool boolean(const std::string& key, bool absent);
  // 0 for null, the row's value for a missing field: windows and soft caps. Below zero is a format
  // error, and so is a zero that is written out.
  int64_t integer_or_none(const std::string& key);
  double number_or_none(const std::string& key);
  std::vector<int64_t> integers(const std::string& key);  // empty when missing
  std::vector<double> numbers(const std::string& key);
  std::vector<std::string> words(const std::string& key);
  // One of the words that the family can run; anything else is unsupported.
  std::string word(const std::string& key, const std::vector<std::string>& known);
  std::string word(const std::string& key, const std::vector<std::string>& known,
                   const std::string& absent);
  bool knows(const std::string& key) const { return row(key) != nullptr; }  // the table does
  bool has(const std::string& key) { return find(key) != nullptr; }
  // An object within this one; null when missing.
  const Json* group(const std::string& key);

  std::string at(const std::string& key) const;  // for messages

  // Notes the fields that are neither used, nor ignorable for this family, nor without meaning for
  // the forward pass; a quantisation_config is an error.
  void finish(const std::vector<std::string>& ignorable);

 private:
  const ConfigKey* row(const std::string& key) const;
  // What a missing field has by the table; null when it is written as null.
  const Json* fallback(const std::string& key) const;
  const Json* find(const std::string& key);
  [[noreturn]] void wrong(const std::string& key, const Json& value, const char* wanted) const;
  template <class T>
  std::vector<T> list(const std::string& key, bool (*fits)(const Json&), const char* wanted);
  const Json& config_;
  std::string where_;
  KeyTable keys_;
  std::set<std::string> used_;
};

}  // namespace smidgen
