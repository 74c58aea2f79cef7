// A compiled regular expression over valid UTF-8: PCRE2 with JIT, Unicode classes and limits,
// reading the patterns that tokenizer.json holds (written for Oniguruma). `\s` is narrowed to
// White_Space, since PCRE2's has U+180E besides.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

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

 private:
  struct Code;
  std::unique_ptr<Code> code_;
};

}  // namespace smidgen
