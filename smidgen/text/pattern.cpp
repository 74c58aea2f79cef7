#define PCRE2_CODE_UNIT_WIDTH 8
#include "smidgen/text/pattern.h"

#include <cstdint>

#include <pcre2.h>

#include "smidgen/base/error.h"
#include "smidgen/text/utf8.h"

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

constexpr std::string_view kWord = "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{24b6}-\\x{24e9}";

std::string for_pcre2(const std::string& expression, const std::string& where) {
  std::string out;
  bool in_class = false;
  const auto refuse = [&](const std::string& what) {
    throw Error(ErrorKind::unsupported, str(what, " in a tokenizer's regular expression"), where,
                "Oniguruma and PCRE2 disagree about its meaning");
  };
  for (size_t i = 0; i < expression.size(); ++i) {
    const char c = expression[i];
    if (c == '\\' && i + 1 < expression.size()) {
      const char next = expression[++i];
      const std::string_view set = next == 's' || next == 'S' ? kSpaces : kWord;
      switch (next) {
        case 's':
        case 'w':
          out += in_class ? std::string(set) : str("[", set, "]");
          break;
        case 'S':
        case 'W':
          if (in_class) refuse(str("\\", next, " inside a set"));
          out += str("[^", set, "]");
          break;
        case 'h':
        case 'H':
          refuse(str("\\", next));
          break;
        default:
          out += c;
          out += next;
      }
      continue;
    }
    if (in_class && c == '[' && (i + 1 == expression.size() || expression[i + 1] != ':'))
      refuse("a set inside a set");
    if (in_class && c == '&' && i + 1 < expression.size() && expression[i + 1] == '&')
      refuse("&& inside a set");
    out += c;
    if (in_class && c == '[') {  // [:alpha:]
      const size_t close = expression.find(":]", i + 2);
      if (close == std::string::npos) refuse("[: without :]");
      out += expression.substr(i + 1, close + 1 - i);
      i = close + 1;
    } else if (c == '[') {
      in_class = true;
      // A bracket that comes first, or after ^, is a member.
      if (i + 1 < expression.size() && expression[i + 1] == '^') out += expression[++i];
      if (i + 1 < expression.size() && expression[i + 1] == ']') out += expression[++i];
    } else if (c == ']') {
      in_class = false;
    }
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
                    PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &code, &offset, nullptr);
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

void Pattern::each(std::string_view text, const std::function<void(size_t, size_t)>& match) const {
  size_t from = 0, begin = 0, end = 0, last = std::string_view::npos;
  while (from <= text.size() && find(text, from, begin, end)) {
    if (begin == end && end == last) {
      from = end < text.size() ? end + utf8_step(text.substr(end)).length : text.size() + 1;
      continue;
    }
    match(begin, end);
    from = last = end;
  }
}

Finder::Finder(const JsonNode& node) {
  if (node.find("String")) {
    text_ = node.text("String");
  } else {
    text_ = node.text("Regex");
    regex_ = std::make_unique<Pattern>(text_, node.where());
  }
}

void Finder::each(std::string_view text, const std::function<void(size_t, size_t)>& match) const {
  if (text.empty()) return;
  if (regex_) return regex_->each(text, match);
  if (text_.empty()) return;
  for (size_t at = 0; (at = text.find(text_, at)) != std::string_view::npos; at += text_.size())
    match(at, at + text_.size());
}

}  // namespace smidgen
