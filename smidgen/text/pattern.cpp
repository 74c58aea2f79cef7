#define PCRE2_CODE_UNIT_WIDTH 8
#include "smidgen/text/pattern.h"

#include <cstdint>

#include <pcre2.h>

#include "smidgen/base/error.h"

namespace smidgen {
namespace {

constexpr uint32_t kMatchLimit = 50'000'000;
constexpr uint32_t kHeapLimitKib = 256 * 1024;
constexpr size_t kMaxPattern = 64 * 1024;

// What JIT needs per thread; made on first use, freed with the thread.
struct Scratch {
  pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  pcre2_jit_stack* stack = pcre2_jit_stack_create(32 * 1024, 16 * 1024 * 1024, nullptr);

  Scratch() {
    pcre2_set_match_limit(context, kMatchLimit);
    pcre2_set_heap_limit(context, kHeapLimitKib);
    pcre2_jit_stack_assign(context, nullptr, stack);
  }
  ~Scratch() {
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
    pcre2_jit_stack_free(stack);
  }
};

Scratch& scratch() {
  thread_local Scratch value;
  return value;
}

constexpr std::string_view kSpaces =
    "\\x{09}-\\x{0d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}"
    "\\x{205f}\\x{3000}";

std::string for_pcre2(const std::string& expression, const std::string& where) {
  std::string out;
  bool in_class = false;
  for (size_t i = 0; i < expression.size(); ++i) {
    const char c = expression[i];
    if (c == '\\' && i + 1 < expression.size()) {
      const char next = expression[++i];
      if (next == 's') {
        out += in_class ? std::string(kSpaces) : str("[", kSpaces, "]");
      } else if (next == 'S' && !in_class) {
        out += str("[^", kSpaces, "]");
      } else if (next == 'h' || next == 'H') {
        throw Error(ErrorKind::unsupported, str("\\", next, " in a tokenizer's regular expression"),
                    where, "Oniguruma and PCRE2 disagree about its meaning");
      } else {
        out += c;
        out += next;
      }
      continue;
    }
    if (c == '[' && !in_class) {
      in_class = true;
    } else if (c == ']' && in_class) {
      in_class = false;
    }
    out += c;
  }
  return out;
}

}  // namespace

struct Pattern::Code {
  pcre2_code* code = nullptr;
  bool jit = false;
  std::string where;
  ~Code() { pcre2_code_free(code); }
};

Pattern::Pattern(const std::string& expression, const std::string& where) : code_(new Code) {
  if (expression.size() > kMaxPattern)
    throw Error(ErrorKind::format, str("a regular expression of ", expression.size(), " bytes"),
                where);
  const std::string text = for_pcre2(expression, where);
  int code = 0;
  PCRE2_SIZE offset = 0;
  code_->where = where;
  code_->code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &code, &offset, nullptr);
  if (!code_->code) {
    PCRE2_UCHAR words[256];
    pcre2_get_error_message(code, words, sizeof(words));
    throw Error(
        ErrorKind::format,
        str("regular expression '", expression, "': ", reinterpret_cast<const char*>(words)),
        where);
  }
  code_->jit = pcre2_jit_compile(code_->code, PCRE2_JIT_COMPLETE) == 0;
}

Pattern::~Pattern() = default;
Pattern::Pattern(Pattern&&) noexcept = default;

bool Pattern::find(std::string_view text, size_t from, size_t& begin, size_t& end) const {
  Scratch& own = scratch();
  const auto subject = reinterpret_cast<PCRE2_SPTR>(text.data() ? text.data() : "");
  const int found = code_->jit ? pcre2_jit_match(code_->code, subject, text.size(), from,
                                                 PCRE2_NO_UTF_CHECK, own.data, own.context)
                               : pcre2_match(code_->code, subject, text.size(), from,
                                             PCRE2_NO_UTF_CHECK, own.data, own.context);
  if (found == PCRE2_ERROR_NOMATCH) return false;
  if (found < 0) {
    PCRE2_UCHAR words[256];
    pcre2_get_error_message(found, words, sizeof(words));
    throw Error(ErrorKind::data,
                str("the tokenizer's regular expression gives up on this text: ",
                    reinterpret_cast<const char*>(words)),
                code_->where);
  }
  const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(own.data);
  begin = ends[0];
  end = ends[1];
  // \K inside a look-ahead can put the end before the begin.
  if (begin > end || begin < from)
    throw Error(ErrorKind::unsupported, "\\K in a regular expression", code_->where);
  return true;
}

}  // namespace smidgen
