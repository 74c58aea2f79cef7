#include "smidgen/text/template_text.h"

#include <algorithm>
#include <utility>

#include <utf8proc.h>

#include "smidgen/text/characters.h"
#include "smidgen/text/utf8.h"

namespace smidgen::tmpl {
namespace {

template <class F>
std::string mapped(const std::string& text, F function) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const Utf8Step step = utf8_step(std::string_view(text).substr(at));
    append_utf8(out, function(step.code));
    at += step.length;
  }
  return out;
}

uint32_t up(uint32_t code) {
  return static_cast<uint32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(code)));
}
uint32_t down(uint32_t code) {
  return static_cast<uint32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code)));
}
// str.isspace and friends count the separators U+001C-1F besides Unicode's White_Space.
bool python_space(uint32_t code) {
  return is_white_space(code) || (code >= 0x1C && code <= 0x1F);
}

}  // namespace

std::string stripped(const std::string& text, const std::string* set, bool left, bool right) {
  std::vector<uint32_t> wanted;
  for (size_t at = 0; set && at < set->size();) {
    const Utf8Step step = utf8_step(std::string_view(*set).substr(at));
    wanted.push_back(step.code);
    at += step.length;
  }
  const auto goes = [&](uint32_t code) {
    return set ? std::find(wanted.begin(), wanted.end(), code) != wanted.end() : python_space(code);
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
      if (python_space(step.code)) {
        if (begin != std::string::npos) words.emplace_back(begin, at);
        begin = std::string::npos;
      } else if (begin == std::string::npos) {
        begin = at;
      }
      at += step.length;
    }
    if (begin != std::string::npos) words.emplace_back(begin, text.size());
    const size_t keep =
        most < 0 ? words.size() : std::min(words.size(), static_cast<size_t>(most) + 1);
    if (keep < words.size() &&
        !from_right) {  // the rest is one part, right end stripped only of nothing
      words.resize(keep);
      words.back().second = text.size();
      words.back().second -= text.size() - words.back().first -
                             stripped(text.substr(words.back().first), nullptr, false, true).size();
    } else if (keep < words.size()) {
      const size_t drop = words.size() - keep;
      words[drop].first = text.size() - stripped(text, nullptr, true, false).size();
      words.erase(words.begin(), words.begin() + static_cast<std::ptrdiff_t>(drop));
    }
    for (const auto& [from, to] : words) parts.push_back(text.substr(from, to - from));
    return parts;
  }
  if (!from_right) {
    size_t done = 0;
    for (size_t at; (most < 0 || static_cast<int64_t>(parts.size()) < most) &&
                    (at = text.find(*separator, done)) != std::string::npos;
         done = at + separator->size())
      parts.push_back(text.substr(done, at - done));
    parts.push_back(text.substr(done));
    return parts;
  }
  size_t end = text.size();
  while ((most < 0 || static_cast<int64_t>(parts.size()) < most) && end >= separator->size()) {
    const size_t at = text.rfind(*separator, end - separator->size());
    if (at == std::string::npos) break;
    parts.push_back(text.substr(at + separator->size(), end - at - separator->size()));
    end = at;
  }
  parts.push_back(text.substr(0, end));
  std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<std::string> lines_of(const std::string& text) {
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
      lines.push_back(text.substr(begin, at - begin));
      begin = next + (step.code == '\r' && next < text.size() && text[next] == '\n');
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
  for (size_t at; (most < 0 || count < most) && (at = text.find(from, done)) != std::string::npos;
       ++count) {
    out.append(text, done, at - done);
    out += to;
    done = at + from.size();
    check(out.size());
  }
  return out.append(text, done, std::string::npos);
}

std::string upper(const std::string& text) {
  return mapped(text, up);
}
std::string lower(const std::string& text) {
  return mapped(text, down);
}

std::string capitalized(const std::string& text) {
  bool first = true;
  return mapped(text,
                [&](uint32_t code) { return std::exchange(first, false) ? up(code) : down(code); });
}

std::string titled(const std::string& text) {
  bool inside = false;
  return mapped(text, [&](uint32_t code) {
    const bool letter = up(code) != down(code);
    const uint32_t out = !letter ? code : inside ? down(code) : up(code);
    inside = letter;
    return out;
  });
}

}  // namespace smidgen::tmpl
