// A compiled regular expression over valid UTF-8: PCRE2 with JIT, Unicode classes and limits,
// reading the patterns that tokenizer.json holds (written for Oniguruma). What the two libraries
// read differently is translated or refused:
//   \s   narrowed to White_Space (PCRE2's has U+180E besides)
//   \w   letters, marks, numbers of kinds Nd and Nl, connectors (PCRE2's lacks the marks)
//   ^ $  also at line ends, as in Oniguruma
//   \h, a set inside a set, && inside a set: refused
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "smidgen/text/json_node.h"

namespace smidgen {

class Pattern {
 public:
  // Throws format with `where` and the offset in the pattern.
  Pattern(const std::string& expression, const std::string& where);
  ~Pattern();
  Pattern(Pattern&&) noexcept;

  // The next match at or after `from`; false when there is none. Throws data when the matcher hits
  // its limits.
  bool find(std::string_view text, size_t from, size_t& begin, size_t& end) const;

  // Every match in turn, empty ones too but not directly behind another match, as onig's find_iter.
  void each(std::string_view text, const std::function<void(size_t, size_t)>& match) const;

 private:
  struct Code;
  std::unique_ptr<Code> code_;
};

// tokenizer.json's pattern: {"String": ...} or {"Regex": ...}. An empty string matches nothing.
class Finder {
 public:
  explicit Finder(const JsonNode& node);
  void each(std::string_view text, const std::function<void(size_t, size_t)>& match) const;
  bool is_regex() const { return regex_ != nullptr; }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
  std::unique_ptr<Pattern> regex_;
};

}  // namespace smidgen
