// A fixed table of named entries, filled by code that the build writes from a *.list file.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "smidgen/base/error.h"

namespace smidgen {

template <class Entry>
class Registry {
 public:
  explicit Registry(std::string what) : what_(std::move(what)) {}

  void add(std::string name, std::unique_ptr<const Entry> entry) {
    entries_.emplace_back(std::move(name), std::move(entry));
  }

  // Throws usage with the nearest names when there is no such entry.
  const Entry& find(const std::string& name) const {
    for (const auto& [key, entry] : entries_) {
      if (key == name) return *entry;
    }
    throw Error(ErrorKind::usage, str("there is no ", what_, " '", name, "'"), "",
                did_you_mean(name, names(), str("known: ", join(names()))));
  }

  bool contains(const std::string& name) const {
    for (const auto& item : entries_) {
      if (item.first == name) return true;
    }
    return false;
  }

  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const auto& item : entries_) all.push_back(item.first);
    return all;
  }

  const auto& entries() const { return entries_; }

 private:
  std::string what_;
  std::vector<std::pair<std::string, std::unique_ptr<const Entry>>> entries_;
};

}  // namespace smidgen
