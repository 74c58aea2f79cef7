#include "smidgen/text/template_text.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include <utf8proc.h>

#include "smidgen/text/characters.h"
#include "smidgen/text/special_casing.h"
#include "smidgen/text/utf8.h"

namespace smidgen::tmpl {
namespace {

std::vector<uint32_t> codes_of(const std::string& text) {
  std::vector<uint32_t> codes;
  for (size_t at = 0; at < text.size();) {
    const Utf8Step step = utf8_step(std::string_view(text).substr(at));
    codes.push_back(step.code);
    at += step.length;
  }
  return codes;
}

utf8proc_category_t category(uint32_t code) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(code));
}
bool is_cased_upper(uint32_t code) {
  return category(code) == UTF8PROC_CATEGORY_LU || (code >= 0x2160 && code < 0x2170) ||
         (code >= 0x24B6 && code < 0x24D0);
}
bool is_cased_lower(uint32_t code) {
  return category(code) == UTF8PROC_CATEGORY_LL || code == 0xAA || code == 0xBA ||
         (code >= 0x2170 && code < 0x2180) || (code >= 0x24D0 && code < 0x24EA);
}
bool is_cased(uint32_t code) {
  return is_cased_upper(code) || is_cased_lower(code) || category(code) == UTF8PROC_CATEGORY_LT;
}

void put(std::string& out, const uint32_t (&codes)[3]) {
  for (const uint32_t code : codes) {
    if (code) append_utf8(out, code);
  }
}

const SpecialCase* special(uint32_t code) {
  if (code < 0xDF) return nullptr;
  const auto found = std::lower_bound(std::begin(kSpecialCases), std::end(kSpecialCases), code,
                                      [](const SpecialCase& a, uint32_t b) { return a.code < b; });
  return found != std::end(kSpecialCases) && found->code == code ? found : nullptr;
}

void put_upper(std::string& out, uint32_t code) {
  if (const SpecialCase* found = special(code)) return put(out, found->upper);
  append_utf8(out, static_cast<uint32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(code))));
}

void put_title(std::string& out, uint32_t code) {
  if (const SpecialCase* found = special(code)) return put(out, found->title);
  append_utf8(out, static_cast<uint32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(code))));
}

// Of the character at `at`. A capital sigma at the end of a word has a form of its own.
void put_lower(std::string& out, const std::vector<uint32_t>& codes, size_t at) {
  const uint32_t code = codes[at];
  if (code == 0x130) {
    out += "i\u0307";
    return;
  }
  if (code == 0x3A3) {
    const auto skipped = [](uint32_t c) {  // Case_Ignorable, but for rarities
      const auto kind = category(c);
      return kind == UTF8PROC_CATEGORY_MN || kind == UTF8PROC_CATEGORY_ME ||
             kind == UTF8PROC_CATEGORY_CF || kind == UTF8PROC_CATEGORY_LM ||
             kind == UTF8PROC_CATEGORY_SK || c == '\'' || c == '.' || c == ':' || c == 0xB7 ||
             c == 0x2019;
    };
    size_t before = at, after = at + 1;
    while (before > 0 && skipped(codes[before - 1])) --before;
    while (after < codes.size() && skipped(codes[after])) ++after;
    const bool last = before > 0 && is_cased(codes[before - 1]) &&
                      !(after < codes.size() && is_cased(codes[after]));
    return append_utf8(out, last ? 0x3C2 : 0x3C3);
  }
  append_utf8(out, static_cast<uint32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code))));
}

}  // namespace

size_t find_text(std::string_view text, std::string_view part, size_t from) {
  if (from > text.size()) return std::string::npos;
  if (part.empty()) return from;
  const void* found = memmem(text.data() + from, text.size() - from, part.data(), part.size());
  return found ? static_cast<size_t>(static_cast<const char*>(found) - text.data())
               : std::string::npos;
}

size_t find_last_text(std::string_view text, std::string_view part) {
  const std::string text_back(text.rbegin(), text.rend()), part_back(part.rbegin(), part.rend());
  const size_t at = find_text(text_back, part_back);
  return at == std::string::npos ? at : text.size() - at - part.size();
}

bool is_space(uint32_t code) {
  return is_white_space(code) || (code >= 0x1C && code <= 0x1F);
}
bool is_alphabetic(uint32_t code) {
  const auto kind = category(code);
  return kind >= UTF8PROC_CATEGORY_LU && kind <= UTF8PROC_CATEGORY_LO;
}
bool is_decimal(uint32_t code) {
  return category(code) == UTF8PROC_CATEGORY_ND;
}
bool is_digit(uint32_t code) {
  return is_decimal(code) || code == 0xB2 || code == 0xB3 || code == 0xB9 || code == 0x2070 ||
         (code >= 0x2074 && code <= 0x2079) || (code >= 0x2080 && code <= 0x2089);
}

bool all_characters(const std::string& text, bool (*test)(uint32_t), bool empty) {
  const std::vector<uint32_t> codes = codes_of(text);
  return codes.empty() ? empty : std::all_of(codes.begin(), codes.end(), test);
}

bool is_upper(const std::string& text) {
  const std::vector<uint32_t> codes = codes_of(text);
  return std::any_of(codes.begin(), codes.end(), is_cased_upper) &&
         std::none_of(codes.begin(), codes.end(),
                      [](uint32_t c) { return is_cased(c) && !is_cased_upper(c); });
}

bool is_lower(const std::string& text) {
  const std::vector<uint32_t> codes = codes_of(text);
  return std::any_of(codes.begin(), codes.end(), is_cased_lower) &&
         std::none_of(codes.begin(), codes.end(),
                      [](uint32_t c) { return is_cased(c) && !is_cased_lower(c); });
}

bool is_title(const std::string& text) {
  bool any = false, inside = false;
  for (const uint32_t code : codes_of(text)) {
    const bool lower = is_cased_lower(code), capital = is_cased(code) && !lower;
    if ((capital && inside) || (lower && !inside)) return false;
    inside = capital || lower;
    any |= inside;
  }
  return any;
}

std::string html_escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&#34;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string stripped(const std::string& text, const std::string* set, bool left, bool right) {
  std::vector<uint32_t> wanted;
  for (size_t at = 0; set && at < set->size();) {
    const Utf8Step step = utf8_step(std::string_view(*set).substr(at));
    wanted.push_back(step.code);
    at += step.length;
  }
  const auto goes = [&](uint32_t code) {
    return set ? std::find(wanted.begin(), wanted.end(), code) != wanted.end() : is_space(code);
  };
  size_t begin = 0, end = text.size();
  while (left && begin < end) {
    const Utf8Step step = utf8_step(std::string_view(text).substr(begin));
    if (!goes(step.code)) break;
    begin += step.length;
  }
  while (right && end > begin) {
    size_t last = end - 1;
    while (last > begin && is_utf8_continuation(text[last])) --last;
    if (!goes(utf8_step(std::string_view(text).substr(last, end - last)).code)) break;
    end = last;
  }
  return text.substr(begin, end - begin);
}

std::vector<std::string> split_text(const std::string& text, const std::string* separator,
                                    int64_t most, bool from_right) {
  std::vector<std::string> parts;
  if (!separator) {
    std::vector<std::pair<size_t, size_t>> words;
    size_t begin = std::string::npos;
    for (size_t at = 0; at < text.size();) {
      const Utf8Step step = utf8_step(std::string_view(text).substr(at));
      if (is_space(step.code)) {
        if (begin != std::string::npos) words.emplace_back(begin, at);
        begin = std::string::npos;
      } else if (begin == std::string::npos) {
        begin = at;
      }
      at += step.length;
    }
    if (begin != std::string::npos) words.emplace_back(begin, text.size());
    if (most >= 0 && words.size() > static_cast<size_t>(most)) {
      // What is left after the last cut stays as it is, with its white space.
      const size_t keep = static_cast<size_t>(most) + 1;
      if (!from_right) {
        words.resize(keep);
        words.back().second = text.size();
      } else {
        words.erase(words.begin(), words.end() - static_cast<std::ptrdiff_t>(keep));
        words.front().first = 0;
      }
    }
    for (const auto& [from, to] : words) parts.push_back(text.substr(from, to - from));
    return parts;
  }
  if (!from_right) {
    size_t done = 0;
    for (size_t at; (most < 0 || static_cast<int64_t>(parts.size()) < most) &&
                    (at = find_text(text, *separator, done)) != std::string::npos;
         done = at + separator->size())
      parts.push_back(text.substr(done, at - done));
    parts.push_back(text.substr(done));
    return parts;
  }
  const std::string text_back(text.rbegin(), text.rend()),
      separator_back(separator->rbegin(), separator->rend());
  parts = split_text(text_back, &separator_back, most, false);
  for (std::string& part : parts) std::reverse(part.begin(), part.end());
  std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<std::string> lines_of(const std::string& text, bool keep) {
  std::vector<std::string> lines;
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    const Utf8Step step = utf8_step(std::string_view(text).substr(at));
    const size_t next = at + step.length;
    // Python's line ends are more than '\n'.
    const bool ends = (step.code >= 10 && step.code <= 13) ||
                      (step.code >= 0x1C && step.code <= 0x1E) || step.code == 0x85 ||
                      step.code == 0x2028 || step.code == 0x2029;
    if (ends) {
      const size_t after = next + (step.code == '\r' && next < text.size() && text[next] == '\n');
      lines.push_back(text.substr(begin, (keep ? after : at) - begin));
      begin = after;
    }
    at = ends ? begin : next;
  }
  if (begin < text.size()) lines.push_back(text.substr(begin));
  return lines;
}

std::string replaced(const std::string& text, const std::string& from, const std::string& to,
                     int64_t most, const std::function<void(size_t)>& check) {
  std::string out;
  size_t done = 0;
  int64_t count = 0;
  if (from.empty()) {  // Python puts `to` before every character and at the end
    for (size_t at = 0; at < text.size() && (most < 0 || count < most); ++count) {
      const size_t length = utf8_step(std::string_view(text).substr(at)).length;
      out += to;
      out += text.substr(at, length);
      at += length;
      done = at;
      check(out.size());
    }
    if (done == text.size() && (most < 0 || count < most)) out += to;
    return out + text.substr(done);
  }
  for (size_t at;
       (most < 0 || count < most) && (at = find_text(text, from, done)) != std::string::npos;
       ++count) {
    out.append(text, done, at - done);
    out += to;
    done = at + from.size();
    check(out.size());
  }
  return out.append(text, done, std::string::npos);
}

std::string upper(const std::string& text) {
  std::string out;
  for (const uint32_t code : codes_of(text)) put_upper(out, code);
  return out;
}

std::string lower(const std::string& text) {
  std::string out;
  const std::vector<uint32_t> codes = codes_of(text);
  for (size_t i = 0; i < codes.size(); ++i) put_lower(out, codes, i);
  return out;
}

std::string capitalized(const std::string& text) {
  std::string out;
  const std::vector<uint32_t> codes = codes_of(text);
  for (size_t i = 0; i < codes.size(); ++i)
    i == 0 ? put_title(out, codes[i]) : put_lower(out, codes, i);
  return out;
}

std::string titled(const std::string& text) {
  std::string out;
  bool inside = false;
  const std::vector<uint32_t> codes = codes_of(text);
  for (size_t i = 0; i < codes.size(); ++i) {
    inside ? put_lower(out, codes, i) : put_title(out, codes[i]);
    inside = is_cased(codes[i]);
  }
  return out;
}

std::string swapped_case(const std::string& text) {
  std::string out;
  const std::vector<uint32_t> codes = codes_of(text);
  for (size_t i = 0; i < codes.size(); ++i) {
    if (is_cased_upper(codes[i])) {
      put_lower(out, codes, i);
    } else if (is_cased_lower(codes[i])) {
      put_upper(out, codes[i]);
    } else {
      append_utf8(out, codes[i]);
    }
  }
  return out;
}

}  // namespace smidgen::tmpl
