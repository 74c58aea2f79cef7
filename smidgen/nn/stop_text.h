// Finds stop strings in text that arrives in pieces, and lets through only what cannot be part of
// one.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace smidgen {

class StopText {
 public:
  // Throws usage for an empty stop string: it would end every text at once.
  explicit StopText(std::vector<std::string> stops);

  // Adds a piece and returns what may be shown now. Once a stop string is complete, stopped() is
  // true and everything from its first byte on is dropped; of several, the one that begins first
  // counts.
  std::string push(std::string_view piece);
  // The rest, when nothing more comes.
  std::string flush();
  bool stopped() const { return stopped_; }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace smidgen
