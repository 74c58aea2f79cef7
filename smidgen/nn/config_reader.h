// Reads a config.json field by field and remembers which were used, so that what a family does not
// understand is named.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "smidgen/base/json.h"

namespace smidgen {

class ConfigReader {
 public:
  ConfigReader(const Json& config, std::string where);

  // A missing or null field without a default is a format error with the nearest key; a wrong type
  // is one too.
  int64_t integer(const std::string& key);
  int64_t integer(const std::string& key, int64_t absent);
  double number(const std::string& key, double absent);
  bool boolean(const std::string& key, bool absent);
  // One of the words that the family can run; anything else is unsupported.
  std::string word(const std::string& key, const std::vector<std::string>& known,
                   const std::string& absent);
  // The rotary base frequency, from `rope_parameters` (transformers 5) or `rope_theta` +
  // `rope_scaling` (before). A type of scaling outside `known` is unsupported.
  double rope_theta(double absent, const std::vector<std::string>& known);

  // Notes the fields that are neither used, nor ignorable for this family, nor without meaning for
  // the forward pass; a quantisation_config is an error.
  void finish(const std::vector<std::string>& ignorable);

 private:
  const Json* find(const std::string& key);
  std::string at(const std::string& key) const;
  const Json& config_;
  std::string where_;
  std::set<std::string> used_;
};

}  // namespace smidgen
