#include "smidgen/text/template_format.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

#include "smidgen/io/python_json.h"
#include "smidgen/text/template_text.h"
#include "smidgen/text/utf8.h"

namespace smidgen::tmpl {
namespace {

struct Spec {
  std::string fill = " ";
  char align = 0, sign = 0, group = 0, type = 0;
  bool alternate = false;
  size_t width = 0;
  int precision = -1;
};

constexpr size_t kMaxPrecision = 10'000;

size_t take_number(Renderer& renderer, const std::string& text, size_t& at) {
  size_t value = 0;
  while (at < text.size() && text[at] >= '0' && text[at] <= '9') {
    value = value * 10 + static_cast<size_t>(text[at++] - '0');
    renderer.check_size(value);
  }
  return value;
}

Spec parse_spec(Renderer& renderer, const std::string& text) {
  Spec spec;
  size_t at = 0;
  const auto has = [&](const char* set) {
    return at < text.size() && std::string_view(set).find(text[at]) != std::string_view::npos;
  };
  if (!text.empty()) {
    const size_t first = utf8_step(text).length;
    const std::string_view aligns = "<>=^";
    if (first < text.size() && aligns.find(text[first]) != std::string_view::npos) {
      spec.fill = text.substr(0, first);
      spec.align = text[first];
      at = first + 1;
    } else if (has("<>=^")) {
      spec.align = text[at++];
    }
  }
  if (has("+- ")) spec.sign = text[at++];
  if (has("#")) spec.alternate = (++at, true);
  if (has("0")) {
    ++at;
    if (!spec.align) {
      spec.align = '=';
      spec.fill = "0";
    }
  }
  spec.width = take_number(renderer, text, at);
  if (has(",_")) spec.group = text[at++];
  if (has(".")) {
    ++at;
    if (!has("0123456789")) renderer.fail("a format without the digits of its precision");
    const size_t precision = take_number(renderer, text, at);
    if (precision > kMaxPrecision) renderer.fail("a format with a huge precision");
    spec.precision = static_cast<int>(precision);
  }
  if (at + 1 == text.size()) spec.type = text[at++];
  if (at != text.size()) renderer.fail(str("the format '", text, "' is not understood"));
  return spec;
}

std::string padded(const Spec& spec, const std::string& sign, const std::string& body, char align) {
  const size_t used = count_characters(sign) + count_characters(body);
  const size_t missing = spec.width > used ? spec.width - used : 0;
  const size_t left = align == '<' ? 0 : align == '^' ? missing / 2 : missing;
  std::string before, after;
  for (size_t i = 0; i < missing; ++i) (i < left ? before : after) += spec.fill;
  return align == '=' ? sign + before + body : before + sign + body + after;
}

std::string grouped(const std::string& digits, char mark, size_t every) {
  std::string out;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % every == 0) out += mark;
    out += digits[i];
  }
  return out;
}

std::string printed(const char* type, int precision, bool alternate, double value) {
  const std::string form = str("%", alternate ? "#" : "", ".*", type);
  std::string out(static_cast<size_t>(std::max(precision, 0)) + 400, '\0');
  out.resize(
      static_cast<size_t>(std::snprintf(out.data(), out.size(), form.c_str(), precision, value)));
  return out;
}

std::string number_with(const Spec& spec, bool negative, std::string body, const char* prefix) {
  if (spec.group) {
    const size_t point = std::min(body.find_first_not_of("0123456789abcdefABCDEF"), body.size());
    const bool by_four =
        spec.type == 'b' || spec.type == 'o' || spec.type == 'x' || spec.type == 'X';
    body = grouped(body.substr(0, point), spec.group, by_four ? 4 : 3) + body.substr(point);
  }
  std::string sign = negative ? "-" : spec.sign == '+' ? "+" : spec.sign == ' ' ? " " : "";
  return padded(spec, sign + prefix, body, spec.align ? spec.align : '>');
}

std::string format_real(Renderer& renderer, const Spec& spec, double value) {
  const double size = std::fabs(value);
  const bool negative = std::signbit(value) && !std::isnan(value);
  std::string body;
  const bool capital = spec.type == 'E' || spec.type == 'F' || spec.type == 'G';
  if (!std::isfinite(value)) {
    body = std::isnan(value) ? "nan" : "inf";
    if (capital) body = upper(body);
    if (spec.type == '%') body += "%";
  } else if (spec.type == 0) {
    if (spec.precision < 0) {
      body = python_float(size);
    } else {  // as 'g', but it always looks like a float
      body = printed("g", std::max(spec.precision, 1), spec.alternate, size);
      if (body.find_first_of(".e") == std::string::npos) {
        const bool exponent = static_cast<int>(body.size()) >= std::max(spec.precision, 1) + 1;
        if (!exponent) body += ".0";
      }
    }
  } else if (spec.type == '%') {
    body = printed("f", spec.precision < 0 ? 6 : spec.precision, spec.alternate, size * 100) + "%";
  } else if (std::string_view("eEfFgGn").find(spec.type) != std::string_view::npos) {
    const char type[] = {spec.type == 'n' ? 'g' : spec.type, 0};
    body = printed(type, spec.precision < 0 ? 6 : spec.precision, spec.alternate, size);
  } else {
    renderer.fail(str("the format '", spec.type, "' of a float"));
  }
  return number_with(spec, negative, std::move(body), "");
}

std::string format_whole(Renderer& renderer, const Spec& spec, int64_t value) {
  if (std::string_view("eEfFgG%").find(spec.type) != std::string_view::npos && spec.type)
    return format_real(renderer, spec, static_cast<double>(value));
  if (spec.precision >= 0) renderer.fail("a precision in the format of a whole number");
  if (spec.type == 'c') {
    if (value < 0 || value > 0x10FFFF || (value >= 0xD800 && value < 0xE000))
      renderer.fail(str(value, " is no character"));
    std::string letter;
    append_utf8(letter, static_cast<uint32_t>(value));
    return padded(spec, "", letter, spec.align ? spec.align : '<');
  }
  const uint64_t base = spec.type == 'b'                                     ? 2
                        : spec.type == 'o'                                   ? 8
                        : spec.type == 'x' || spec.type == 'X'               ? 16
                        : !spec.type || spec.type == 'd' || spec.type == 'n' ? 10
                                                                             : 0;
  if (base == 0) renderer.fail(str("the format '", spec.type, "' of a whole number"));
  uint64_t rest = value < 0 ? ~static_cast<uint64_t>(value) + 1 : static_cast<uint64_t>(value);
  std::string digits;
  do {
    digits.insert(digits.begin(),
                  (spec.type == 'X' ? "0123456789ABCDEF" : "0123456789abcdef")[rest % base]);
    rest /= base;
  } while (rest);
  const char prefix[] = {'0', spec.type, 0};
  return number_with(spec, value < 0, std::move(digits),
                     spec.alternate && base != 10 ? prefix : "");
}

std::string first_characters(const std::string& text, size_t count) {
  size_t at = 0;
  for (; at < text.size() && count > 0; --count)
    at += utf8_step(std::string_view(text).substr(at)).length;
  return text.substr(0, at);
}

// ASCII only, as ascii().
std::string ascii(const std::string& text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const Utf8Step step = utf8_step(std::string_view(text).substr(at));
    char code[12];
    std::snprintf(code, sizeof code,
                  step.code < 0x100     ? "\\x%02x"
                  : step.code < 0x10000 ? "\\u%04x"
                                        : "\\U%08x",
                  step.code);
    out += step.code < 0x80 ? text.substr(at, 1) : code;
    at += step.length;
  }
  return out;
}

std::string converted(Renderer& renderer, const Value& value, char how) {
  if (how == 'r') return value.repr();
  if (how == 's') return value.str();
  if (how != 'a') renderer.fail(str("the conversion '!", how, "' in a format"));
  return ascii(value.repr());
}

// The fields of str.format(): {place.attribute[item]!conversion:spec}.
class BraceFormat {
 public:
  BraceFormat(Renderer& renderer, const Arguments& arguments)
      : renderer_(renderer), arguments_(arguments) {}

  std::string run(const std::string& text, int depth = 2) {
    if (depth == 0) renderer_.fail("a format in a format in a format");
    std::string out;
    for (size_t at = 0; at < text.size();) {
      const char c = text[at++];
      if ((c == '{' || c == '}') && at < text.size() && text[at] == c) {
        out += c;
        ++at;
      } else if (c == '}') {
        renderer_.fail("a single '}' in a format");
      } else if (c == '{') {
        out += field(text, at, depth);
      } else {
        out += c;
      }
      renderer_.check_size(out.size());
    }
    return out;
  }

 private:
  std::string field(const std::string& text, size_t& at, int depth) {
    const size_t begin = at;
    int open = 1, brackets = 0;
    size_t colon = std::string::npos;
    for (; at < text.size() && open > 0; ++at) {
      if (text[at] == '[') ++brackets;
      if (text[at] == ']') --brackets;
      if (text[at] == '{') ++open;
      if (text[at] == '}') --open;
      if (text[at] == ':' && open == 1 && brackets == 0 && colon == std::string::npos) colon = at;
    }
    if (open > 0) renderer_.fail("a '{' that is not closed in a format");
    const size_t end = at - 1;
    const std::string spec = colon < end ? text.substr(colon + 1, end - colon - 1) : "";
    std::string name = text.substr(begin, std::min(colon, end) - begin);
    char how = 0;
    if (const size_t mark = name.rfind('!'); mark != std::string::npos) {
      if (mark + 2 != name.size()) renderer_.fail("a broken conversion in a format");
      how = name[mark + 1];
      name.resize(mark);
    }
    const Value value = find(name);
    const std::string form = spec.find('{') == std::string::npos ? spec : run(spec, depth - 1);
    return formatted(renderer_, how ? Value::text(converted(renderer_, value, how)) : value, form);
  }

  Value find(const std::string& path) {
    size_t at = std::min(path.find_first_of(".["), path.size());
    const std::string first = path.substr(0, at);
    Value value;
    if (first.empty() || first.find_first_not_of("0123456789") == std::string::npos) {
      const bool automatic = first.empty();
      if (numbered_ && *numbered_ == automatic)
        renderer_.fail("numbered and automatic fields in one format");
      numbered_ = !automatic;
      const size_t place = automatic ? next_++ : std::strtoull(first.c_str(), nullptr, 10);
      if (place >= arguments_.plain.size())
        renderer_.fail(str("a format asks for value ", place, " of ", arguments_.plain.size()));
      value = arguments_.plain[place];
    } else {
      const auto named = std::find_if(arguments_.named.begin(), arguments_.named.end(),
                                      [&](const auto& item) { return item.first == first; });
      if (named == arguments_.named.end())
        renderer_.fail(str("a format asks for '", first, "', which is not given"));
      value = named->second;
    }
    while (at < path.size()) {
      if (path[at] == '.') {
        const size_t end = std::min(path.find_first_of(".[", at + 1), path.size());
        value = renderer_.get_attribute(value, path.substr(at + 1, end - at - 1));
        at = end;
        continue;
      }
      const size_t end = path.find(']', at);
      if (end == std::string::npos) renderer_.fail("a '[' that is not closed in a format");
      const std::string key = path.substr(at + 1, end - at - 1);
      const bool number = !key.empty() && key.find_first_not_of("0123456789") == std::string::npos;
      value =
          renderer_.get_item(value, number ? Value::integer(std::strtoll(key.c_str(), nullptr, 10))
                                           : Value::text(key));
      if (value.is_undefined()) renderer_.fail(value.name());
      at = end + 1;
    }
    return value;
  }

  Renderer& renderer_;
  const Arguments& arguments_;
  size_t next_ = 0;
  std::optional<bool> numbered_;
};

// %d and its kind.
std::string percent_number(Renderer& renderer, Spec spec, const Value& value) {
  if (!value.is_number()) renderer.fail(str("'%", spec.type, "' of a ", value.type()));
  const bool real = std::string_view("eEfFgG").find(spec.type) != std::string_view::npos;
  if (real) return format_real(renderer, spec, value.as_double());
  if (value.is_float() && spec.type != 'd' && spec.type != 'i' && spec.type != 'u')
    renderer.fail(str("'%", spec.type, "' of a float"));
  if (value.is_float() && !(std::fabs(value.as_double()) < 9.2e18))
    renderer.fail("a whole number beyond 64 bits");
  const int64_t number =
      value.is_float() ? static_cast<int64_t>(value.as_double()) : value.as_int();
  if (spec.type == 'i' || spec.type == 'u') spec.type = 'd';
  const size_t least = spec.precision < 0 ? 0 : static_cast<size_t>(spec.precision);
  spec.precision = -1;
  if (least == 0) return format_whole(renderer, spec, number);
  Spec plain;
  plain.type = spec.type;
  std::string digits = format_whole(renderer, plain, number);
  if (number < 0) digits.erase(0, 1);
  if (digits.size() < least) digits.insert(0, least - digits.size(), '0');
  return number_with(spec, number < 0, std::move(digits), "");
}

}  // namespace

std::string formatted(Renderer& renderer, const Value& value, const std::string& text) {
  if (text.empty()) return value.str();
  if (value.is_undefined()) renderer.fail("a format of something undefined");
  const Spec spec = parse_spec(renderer, text);
  if (value.is_float()) return format_real(renderer, spec, value.as_double());
  if (value.is_int() || value.is_bool()) return format_whole(renderer, spec, value.as_int());
  if (!value.is_text()) renderer.fail(str("the format '", text, "' of a ", value.type()));
  if ((spec.type && spec.type != 's') || spec.sign || spec.alternate || spec.group ||
      (spec.align == '=' && spec.fill != "0"))
    renderer.fail(str("the format '", text, "' of a str"));
  const std::string body =
      spec.precision < 0 ? value.as_text()
                         : first_characters(value.as_text(), static_cast<size_t>(spec.precision));
  return padded(spec, "", body, spec.align && spec.align != '=' ? spec.align : '<');
}

std::string brace_format(Renderer& renderer, const std::string& text, const Arguments& arguments) {
  return BraceFormat(renderer, arguments).run(text);
}

std::string percent_format(Renderer& renderer, const std::string& text, const Value& values) {
  const List several = values.is_tuple() ? values.items() : List{values};
  size_t used = 0;
  bool named = false;
  const auto next = [&]() -> const Value& {
    if (used >= several.size()) renderer.fail("too few values for a '%' format");
    return several[used++];
  };
  std::string out;
  for (size_t at = 0; at < text.size();) {
    if (text[at] != '%') {
      out += text[at++];
      continue;
    }
    ++at;
    const Value* value = nullptr;
    Value found;
    if (at < text.size() && text[at] == '(') {
      const size_t close = text.find(')', at);
      if (close == std::string::npos || !values.is_dict())
        renderer.fail("a named '%' format needs a dict");
      const std::string key = text.substr(at + 1, close - at - 1);
      const Value* item = values.find(key);
      if (!item) renderer.fail(str("a '%' format asks for '", key, "', which is not given"));
      found = *item;
      value = &found;
      named = true;
      at = close + 1;
    }
    Spec spec;
    bool zero = false;
    for (; at < text.size() && std::string_view("#0- +").find(text[at]) != std::string_view::npos;
         ++at) {
      if (text[at] == '#') spec.alternate = true;
      if (text[at] == '0') zero = true;
      if (text[at] == '-') spec.align = '<';
      if (text[at] == '+' || (text[at] == ' ' && spec.sign != '+')) spec.sign = text[at];
    }
    if (at < text.size() && text[at] == '*') renderer.unsupported("a '*' in a '%' format");
    spec.width = take_number(renderer, text, at);
    if (at < text.size() && text[at] == '.') {
      ++at;
      const size_t precision = take_number(renderer, text, at);
      if (precision > kMaxPrecision) renderer.fail("a format with a huge precision");
      spec.precision = static_cast<int>(precision);
    }
    while (at < text.size() && std::string_view("hlL").find(text[at]) != std::string_view::npos)
      ++at;
    if (at >= text.size()) renderer.fail("a '%' format that is cut off");
    const char type = text[at++];
    if (type == '%') {
      out += '%';
      continue;
    }
    if (!value) value = &next();
    spec.type = type;
    if (type == 's' || type == 'r' || type == 'a') {
      std::string body = converted(renderer, *value, type);
      if (spec.precision >= 0) body = first_characters(body, static_cast<size_t>(spec.precision));
      out += padded(spec, "", body, spec.align ? spec.align : '>');
    } else if (type == 'c' && value->is_text()) {
      if (count_characters(value->as_text()) != 1) renderer.fail("'%c' takes one character");
      out += padded(spec, "", value->as_text(), spec.align ? spec.align : '>');
    } else if (std::string_view("diouxXeEfFgGc").find(type) != std::string_view::npos) {
      if (zero && !spec.align) {
        spec.align = '=';
        spec.fill = "0";
      }
      if (type == 'c' && !spec.align) spec.align = '>';
      out += percent_number(renderer, spec, *value);
    } else {
      renderer.fail(str("the '%' format '", type, "'"));
    }
    renderer.check_size(out.size());
  }
  const bool rest = values.is_tuple() ? used < several.size() : used == 0 && !values.is_dict();
  if (rest && !named) renderer.fail("too many values for a '%' format");
  return out;
}

}  // namespace smidgen::tmpl
