// Regular expressions by PCRE2 (JIT where it exists), with a match limit so that a hostile pattern
// cannot hang.
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace smidgen {

class Regex {
 public:
  // Throws usage with the position of the mistake.
  explicit Regex(const std::string& pattern);
  ~Regex();
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;
  bool full_match(std::string_view text) const;
  bool search(std::string_view text) const;

 private:
  struct Compiled;
  bool match(std::string_view text, unsigned options) const;
  std::unique_ptr<Compiled> compiled_;
};

}  // namespace smidgen
