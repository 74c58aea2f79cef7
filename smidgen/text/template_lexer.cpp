#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "smidgen/base/error.h"
#include "smidgen/text/characters.h"
#include "smidgen/text/template_syntax.h"
#include "smidgen/text/utf8.h"

namespace smidgen::tmpl {
namespace {

bool name_begin(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         static_cast<uint8_t>(c) >= 0x80;
}
bool digit(char c) {
  return c >= '0' && c <= '9';
}
bool space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

class Lexer {
 public:
  Lexer(std::string_view source, const std::string& name) : name_(name) {
    if (!is_utf8(source))
      throw Error(ErrorKind::format,
                  str("byte ", utf8_valid_prefix(source), " of the template is not UTF-8"), name);
    for (size_t i = 0; i < source.size(); ++i) {
      if (source[i] != '\r') {
        text_ += source[i];
      } else {
        text_ += '\n';
        if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
      }
    }
    // keep_trailing_newline is off in transformers: one newline at the very end is not part of the
    // template.
    if (!text_.empty() && text_.back() == '\n') text_.pop_back();
  }

  std::vector<Token> run() {
    while (at_ < text_.size()) data();
    put(TokenKind::end, "");
    return std::move(out_);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ErrorKind::format, what, str(name_, ", line ", line_));
  }
  void put(TokenKind kind, std::string text) { out_.push_back({kind, std::move(text), line_}); }
  bool starts(std::string_view with, size_t at) const {
    return text_.compare(at, with.size(), with) == 0;
  }
  void advance(size_t to) {
    line_ += static_cast<int>(std::count(text_.begin() + static_cast<std::ptrdiff_t>(at_),
                                         text_.begin() + static_cast<std::ptrdiff_t>(to), '\n'));
    if (to > at_) line_starting_ = text_[to - 1] == '\n';
    at_ = to;
  }
  void skip_spaces() { advance(at_ + leading_space(std::string_view(text_).substr(at_))); }

  // Text up to the next tag, cut by '-', '+' and lstrip_blocks.
  void data() {
    size_t open = at_;
    while (open < text_.size()) {
      open = text_.find('{', open);
      if (open == std::string::npos) open = text_.size();
      if (open + 1 < text_.size() &&
          (text_[open + 1] == '{' || text_[open + 1] == '%' || text_[open + 1] == '#'))
        break;
      if (open < text_.size()) ++open;
    }
    if (open >= text_.size()) {
      put(TokenKind::text, text_.substr(at_));
      advance(text_.size());
      return;
    }
    const char kind = text_[open + 1];
    const char sign = open + 2 < text_.size() && (text_[open + 2] == '-' || text_[open + 2] == '+')
                          ? text_[open + 2]
                          : 0;
    std::string before = text_.substr(at_, open - at_);
    if (sign == '-') {
      before.resize(before.size() - trailing_space(before));
    } else if (sign != '+' && kind != '{') {
      const size_t newline = before.rfind('\n');
      const size_t begin = newline == std::string::npos ? 0 : newline + 1;
      if ((begin > 0 || line_starting_) &&
          leading_space(std::string_view(before).substr(begin)) == before.size() - begin)
        before.resize(begin);
    }
    if (!before.empty()) put(TokenKind::text, before);
    advance(open);
    advance(open + (sign ? 3 : 2));
    if (kind == '#') return comment();
    if (kind == '%' && raw()) return;
    put(kind == '{' ? TokenKind::variable_begin : TokenKind::block_begin, "");
    expression(kind == '{' ? "}}" : "%}");
  }

  // After "%}", "#}": trim_blocks eats one newline unless a '+' forbids it, '-' all white space.
  void after_block(char sign) {
    if (sign == '-') {
      skip_spaces();
    } else if (sign != '+' && at_ < text_.size() && text_[at_] == '\n') {
      advance(at_ + 1);
    }
  }

  void comment() {
    const size_t close = text_.find("#}", at_);
    if (close == std::string::npos) fail("a comment is not closed");
    const char sign = close > at_ ? text_[close - 1] : ' ';
    advance(close + 2);
    after_block(sign);
  }

  bool raw() {
    size_t at = at_;
    const auto spaces = [&] {
      while (at < text_.size() && space(text_[at])) ++at;
    };
    spaces();
    if (!starts("raw", at)) return false;
    at += 3;
    spaces();
    const bool cut = starts("-%}", at);
    if (!cut && !starts("%}", at)) return false;
    advance(at + (cut ? 3 : 2));
    if (cut) skip_spaces();
    for (size_t open = at_; (open = text_.find("{%", open)) != std::string::npos; open += 2) {
      at = open + 2;
      const char sign = at < text_.size() ? text_[at] : ' ';
      if (sign == '-' || sign == '+') ++at;
      spaces();
      if (!starts("endraw", at)) continue;
      at += 6;
      spaces();
      char end_sign = 0;
      if (at < text_.size() && (text_[at] == '-' || text_[at] == '+')) end_sign = text_[at++];
      if (!starts("%}", at)) continue;
      std::string inside = text_.substr(at_, open - at_);
      if (sign == '-') {
        inside.resize(inside.size() - trailing_space(inside));
      } else if (sign != '+') {
        const size_t newline = inside.rfind('\n');
        const size_t begin = newline == std::string::npos ? 0 : newline + 1;
        if ((begin > 0 || line_starting_) &&
            leading_space(std::string_view(inside).substr(begin)) == inside.size() - begin)
          inside.resize(begin);
      }
      put(TokenKind::text, inside);
      advance(at + 2);
      after_block(end_sign);
      return true;
    }
    fail("{% raw %} is not closed");
  }

  void expression(std::string_view close) {
    std::string open;  // brackets that are waiting
    for (;;) {
      skip_spaces();
      if (at_ >= text_.size()) fail(str("a tag is not closed: '", close, "' is missing"));
      if (open.empty()) {
        const bool signed_end =
            (text_[at_] == '-' || (text_[at_] == '+' && close == "%}")) && starts(close, at_ + 1);
        if (signed_end || starts(close, at_)) {
          const char sign = signed_end ? text_[at_] : 0;
          put(close == "}}" ? TokenKind::variable_end : TokenKind::block_end, "");
          advance(at_ + (signed_end ? 3 : 2));
          if (close == "%}") {
            after_block(sign);
          } else if (sign == '-') {
            skip_spaces();
          }
          return;
        }
      }
      const char c = text_[at_];
      if (name_begin(c)) {
        size_t end = at_;
        while (end < text_.size() && (name_begin(text_[end]) || digit(text_[end]))) ++end;
        put(TokenKind::name, text_.substr(at_, end - at_));
        advance(end);
      } else if (digit(c)) {
        number();
      } else if (c == '"' || c == '\'') {
        string();
      } else {
        op(open);
      }
    }
  }

  // Digits of one base, with single underscores between them.
  size_t digits(size_t at, std::string_view set, std::string& out) const {
    for (; at < text_.size(); ++at) {
      if (set.find(text_[at]) != std::string_view::npos) {
        out += text_[at];
      } else if (text_[at] != '_' || at + 1 >= text_.size() || out.empty() ||
                 set.find(text_[at + 1]) == std::string_view::npos) {
        break;
      }
    }
    return at;
  }

  void number() {
    static constexpr std::string_view kTen = "0123456789";
    const char mark = at_ + 1 < text_.size() ? static_cast<char>(text_[at_ + 1] | 0x20) : ' ';
    if (text_[at_] == '0' && (mark == 'x' || mark == 'o' || mark == 'b')) {
      const int base = mark == 'x' ? 16 : mark == 'o' ? 8 : 2;
      std::string found;
      const size_t end = digits(at_ + 2,
                                std::string_view("0123456789abcdefABCDEF")
                                    .substr(0, base == 16 ? 22 : static_cast<size_t>(base)),
                                found);
      if (!found.empty()) {
        errno = 0;
        const long long value = std::strtoll(found.c_str(), nullptr, base);
        if (errno) fail(str("the number ", found, " is beyond 64 bits"));
        put(TokenKind::integer, str(value));
        return advance(end);
      }
    }
    std::string found;
    size_t end = digits(at_, kTen, found);
    const size_t whole = found.size();
    bool real = false;
    if (end + 1 < text_.size() && text_[end] == '.' && digit(text_[end + 1])) {
      real = true;
      std::string rest;
      end = digits(end + 1, kTen, rest);
      found += "." + rest;
    }
    if (end < text_.size() && (text_[end] == 'e' || text_[end] == 'E')) {
      const size_t sign =
          end + 1 < text_.size() && (text_[end + 1] == '-' || text_[end + 1] == '+') ? 1 : 0;
      if (end + 1 + sign < text_.size() && digit(text_[end + 1 + sign])) {
        real = true;
        found += text_.substr(end, 1 + sign);
        std::string rest;
        end = digits(end + 1 + sign, kTen, rest);
        found += rest;
      }
    }
    if (!real && whole > 1 && found[0] == '0' && found.find_first_not_of('0') != std::string::npos)
      fail(str("the number ", found, " begins with 0"));
    if (!real) {
      errno = 0;
      found = str(std::strtoll(found.c_str(), nullptr, 10));
      if (errno) fail("a whole number beyond 64 bits");
    }
    put(real ? TokenKind::real : TokenKind::integer, found);
    advance(end);
  }

  void string() {
    const char quote = text_[at_];
    size_t end = at_ + 1;
    while (end < text_.size() && text_[end] != quote) end += text_[end] == '\\' ? 2 : 1;
    if (end >= text_.size()) fail("a string is not closed");
    put(TokenKind::string, unescape(text_.substr(at_ + 1, end - at_ - 1)));
    advance(end + 1);
  }

  // Python's unicode-escape.
  std::string unescape(const std::string& raw) const {
    std::string out;
    for (size_t i = 0; i < raw.size(); ++i) {
      if (raw[i] != '\\' || i + 1 >= raw.size()) {
        out += raw[i];
        continue;
      }
      const char c = raw[++i];
      static constexpr std::string_view kFrom = "abfnrtv\\'\"", kTo = "\a\b\f\n\r\t\v\\'\"";
      if (const size_t at = kFrom.find(c); at != std::string_view::npos) {
        out += kTo[at];
      } else if (c == '\n') {
        continue;
      } else if (c == 'N') {
        throw Error(ErrorKind::unsupported, "a character by its name, '\\N{...}', in a string",
                    str(name_, ", line ", line_), "write it as \\uXXXX");
      } else if (c == 'x' || c == 'u' || c == 'U') {
        const size_t count = c == 'x' ? 2 : c == 'u' ? 4 : 8;
        const std::string hex = raw.substr(i + 1, count);
        if (hex.size() != count ||
            hex.find_first_not_of("0123456789abcdefABCDEF") != std::string::npos)
          fail(str("a broken escape '\\", c, hex, "' in a string"));
        const auto code = static_cast<uint32_t>(std::strtoul(hex.c_str(), nullptr, 16));
        if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000))
          fail(str("'\\", c, hex, "' is no character"));
        append_utf8(out, code);
        i += count;
      } else if (c >= '0' && c <= '7') {
        uint32_t code = 0;
        size_t used = 0;
        while (used < 3 && i + used < raw.size() && raw[i + used] >= '0' && raw[i + used] <= '7')
          code = code * 8 + static_cast<uint32_t>(raw[i + used++] - '0');
        append_utf8(out, code);
        i += used - 1;
      } else {
        out += '\\';
        out += c;
      }
    }
    return out;
  }

  void op(std::string& open) {
    static constexpr std::string_view kTwo[] = {"//", "**", "==", "!=", ">=", "<="};
    for (const std::string_view two : kTwo) {
      if (!starts(two, at_)) continue;
      put(TokenKind::op, std::string(two));
      return advance(at_ + 2);
    }
    const char c = text_[at_];
    if (std::string_view("+-/*%~[](){}<>=.:|,").find(c) == std::string_view::npos)
      fail(str("unexpected character '",
               text_.substr(at_, utf8_step(std::string_view(text_).substr(at_)).length), "'"));
    if (c == '(' || c == '[' || c == '{') {
      open += c == '(' ? ')' : c == '[' ? ']' : '}';
    } else if (c == ')' || c == ']' || c == '}') {
      if (open.empty() || open.back() != c) fail(str("unexpected '", c, "'"));
      open.pop_back();
    }
    put(TokenKind::op, std::string(1, c));
    advance(at_ + 1);
  }

  const std::string& name_;
  std::string text_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
  std::vector<Token> out_;
};

}  // namespace

std::vector<Token> lex(std::string_view source, const std::string& name) {
  return Lexer(source, name).run();
}

}  // namespace smidgen::tmpl
