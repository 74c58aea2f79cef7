#include "smidgen/base/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "smidgen/base/error.h"

namespace smidgen {

struct Regex::Compiled {
  pcre2_code* code = nullptr;
  std::string pattern;
  ~Compiled() { pcre2_code_free(code); }
};

Regex::Regex(const std::string& pattern) : compiled_(std::make_unique<Compiled>()) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  compiled_->pattern = pattern;
  compiled_->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                  PCRE2_UTF | PCRE2_UCP, &error, &offset, nullptr);
  if (!compiled_->code) {
    PCRE2_UCHAR words[256];
    pcre2_get_error_message(error, words, sizeof words);
    throw Error(ErrorKind::usage, str("regular expression: ", reinterpret_cast<const char*>(words)),
                str("'", pattern, "', position ", offset));
  }
  pcre2_jit_compile(compiled_->code,
                    PCRE2_JIT_COMPLETE);  // without JIT the interpreter matches the same
}

Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;

bool Regex::match(std::string_view text, unsigned options) const {
  const std::unique_ptr<pcre2_match_data, void (*)(pcre2_match_data*)> data(
      pcre2_match_data_create_from_pattern(compiled_->code, nullptr), pcre2_match_data_free);
  const std::unique_ptr<pcre2_match_context, void (*)(pcre2_match_context*)> context(
      pcre2_match_context_create(nullptr), pcre2_match_context_free);
  pcre2_set_match_limit(context.get(), 1'000'000);
  const int found = pcre2_match(compiled_->code, reinterpret_cast<PCRE2_SPTR>(text.data()),
                                text.size(), 0, options, data.get(), context.get());
  if (found == PCRE2_ERROR_NOMATCH) return false;
  if (found < 0) {
    throw Error(ErrorKind::usage,
                "regular expression takes too long or meets text that is not UTF-8",
                str("'", compiled_->pattern, "'"));
  }
  return true;
}

bool Regex::full_match(std::string_view text) const {
  return match(text, PCRE2_ANCHORED | PCRE2_ENDANCHORED);
}
bool Regex::search(std::string_view text) const {
  return match(text, 0);
}

}  // namespace smidgen
