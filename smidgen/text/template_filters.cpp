// Look-up of filters, and those over one value: text, numbers, JSON.
#include "smidgen/text/template_filters.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "smidgen/text/template_format.h"
#include "smidgen/text/template_text.h"
#include "smidgen/text/utf8.h"

namespace smidgen::tmpl {
namespace {

using R = Renderer&;
using V = const Value&;
using G = const Given&;

// The text of a value; what `safe` made stays safe.
Value soft(R r, V v) {
  return v.is_text() ? v : r.new_text(v.str());
}

Value tojson(R r, V v, G given) {
  JsonStyle style;
  style.ascii = given.truthy(0);
  if (given[1] && !given[1]->is_none()) {
    style.indent =
        given[1]->is_text()
            ? given[1]->as_text()
            : std::string(static_cast<size_t>(std::clamp<int64_t>(given.whole(1, 0), 0, 1000)),
                          ' ');
    style.item = ",";
  }
  if (given[2] && !given[2]->is_none()) {
    const List pair = r.iterate(*given[2]);
    if (pair.size() != 2 || !pair[0].is_text() || !pair[1].is_text())
      r.fail("tojson: separators are two strings");
    style.item = pair[0].as_text();
    style.key = pair[1].as_text();
  }
  style.sorted = given.truthy(3);
  r.charge(v.size() / 16);
  try {
    return r.new_text(to_json(v, style));
  } catch (const std::string& type) {
    r.fail(v.is_undefined() ? v.name() : str("a ", type, " has no JSON form"));
  }
}

Value defaulted(R, V v, G given) {
  const bool use = v.is_undefined() || (given.truthy(1) && !v.truthy());
  return !use ? v : given[0] ? *given[0] : Value::text("");
}

Value indent(R r, V v, G given) {
  if (v.is_undefined()) r.fail(v.name());
  if (!v.is_text()) r.fail(str("indent of a ", v.type()));
  const std::string space =
      given[0] && given[0]->is_text()
          ? given[0]->as_text()
          : std::string(static_cast<size_t>(std::clamp<int64_t>(given.whole(0, 4), 0, 10'000)),
                        ' ');
  const bool first = given.truthy(1), blank = given.truthy(2);
  std::string out;
  // jinja2 appends a newline first, so that an empty last line survives.
  const std::vector<std::string> lines = lines_of(v.as_text() + "\n");
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out += '\n';
    if (i == 0 ? first : !lines[i].empty() || blank) out += space;
    out += lines[i];
    r.check_size(out.size());
  }
  return v.is_markup() ? Value::markup(std::move(out)) : r.new_text(std::move(out));
}

// "1_000" as Python reads it; empty when the underscores stand wrong.
std::string without_underscores(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      out += text[i];
    } else if (i == 0 || i + 1 == text.size() ||
               !isalnum(static_cast<unsigned char>(text[i - 1])) ||
               !isalnum(static_cast<unsigned char>(text[i + 1]))) {
      return "";
    }
  }
  return out;
}

std::optional<double> read_real(const std::string& raw) {
  const std::string text = without_underscores(stripped(raw, nullptr, true, true));
  if (text.empty() || text.find_first_of("xXpP") != std::string::npos) return std::nullopt;
  if (text.find('(') != std::string::npos) return std::nullopt;  // strtod's nan(...)
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  return *end == 0 ? std::optional(value) : std::nullopt;
}

Value to_int(R r, V v, G given) {
  const Value absent = given[0] ? *given[0] : Value::integer(0);
  const int64_t base = given.whole(1, 10);
  if (v.is_undefined()) r.fail(v.name());
  if (v.is_int() || v.is_bool()) return Value::integer(v.as_int());
  std::optional<double> value;
  if (v.is_float()) value = v.as_double();
  if (v.is_text()) {
    if (base != 0 && (base < 2 || base > 36)) return absent;
    std::string text = without_underscores(stripped(v.as_text(), nullptr, true, true));
    const size_t sign = !text.empty() && (text[0] == '-' || text[0] == '+') ? 1 : 0;
    const auto marked = [&](const char* mark) {
      return text.size() > sign + 2 &&
             (text.substr(sign, 2) == mark || text.substr(sign, 2) == upper(mark));
    };
    const int64_t mark = marked("0x") ? 16 : marked("0o") ? 8 : marked("0b") ? 2 : 0;
    int64_t used = base;
    if (mark && (base == mark || base == 0)) {
      text.erase(sign, 2);
      used = mark;
    } else if (base == 0) {
      used = 10;
    }
    char* end = nullptr;
    errno = 0;
    const long long number = std::strtoll(text.c_str(), &end, static_cast<int>(used));
    const bool plain =
        !text.empty() && isalnum(static_cast<unsigned char>(text[std::min(sign, text.size() - 1)]));
    if (plain && *end == 0 && errno == ERANGE) r.fail("a whole number beyond 64 bits");
    if (plain && *end == 0 && !(used == 16 && text.find_first_of("xX") != std::string::npos))
      return Value::integer(number);
    value = read_real(v.as_text());
  }
  if (!value || !std::isfinite(*value)) return absent;
  if (std::fabs(*value) >= 9.2e18) r.fail("a whole number beyond 64 bits");
  return Value::integer(static_cast<int64_t>(*value));
}

Value to_float(R r, V v, G given) {
  const Value absent = given[0] ? *given[0] : Value::number(0);
  if (v.is_undefined()) r.fail(v.name());
  if (v.is_number()) return Value::number(v.as_double());
  const std::optional<double> value = v.is_text() ? read_real(v.as_text()) : std::nullopt;
  return value ? Value::number(*value) : absent;
}

// Python's round(x, n): half to even, of the exact decimal value.
Value rounded(R r, V v, G given) {
  const int64_t precision = given.whole(0, 0);
  static const std::string common = "common";
  const std::string& method = given[1] ? given.text(1) : common;
  if (v.is_undefined()) r.fail(v.name());
  if (!v.is_number()) r.fail(str("round of a ", v.type()));
  if (method == "ceil" || method == "floor") {
    const double scale = std::pow(10.0, static_cast<double>(precision));
    const double scaled = v.as_double() * scale;
    return Value::number((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale);
  }
  if (method != "common") r.fail("round knows the methods common, ceil and floor");
  if (!v.is_float() && precision >= 0) return Value::integer(v.as_int());
  const double value = v.as_double();
  if (!std::isfinite(value) || precision > 300) return v;
  if (precision >= 0) {
    std::string text(700, '\0');
    text.resize(static_cast<size_t>(
        std::snprintf(text.data(), text.size(), "%.*f", static_cast<int>(precision), value)));
    return Value::number(std::strtod(text.c_str(), nullptr));
  }
  if (precision < -18) return v.is_float() ? Value::number(0) : Value::integer(0);
  const double scale = std::pow(10.0, static_cast<double>(-precision));
  const double out = std::nearbyint(value / scale) * scale;
  return v.is_float() ? Value::number(out) : Value::integer(static_cast<int64_t>(out));
}

// jinja2's own: words begin after white space, hyphens and opening brackets only.
Value title(R r, V v, G) {
  const std::string text = v.str();
  r.charge(text.size() / 16);
  std::string out, word;
  const auto flush = [&] {
    if (word.empty()) return;
    const size_t first = utf8_step(word).length;
    out += upper(word.substr(0, first)) + lower(word.substr(first));
    word.clear();
  };
  for (size_t at = 0; at < text.size();) {
    const Utf8Step step = utf8_step(std::string_view(text).substr(at));
    const std::string letter = text.substr(at, step.length);
    if (is_space(step.code) || std::string_view("-({[<").find(letter) != std::string_view::npos) {
      flush();
      out += letter;
    } else {
      word += letter;
    }
    at += step.length;
  }
  flush();
  return r.new_text(std::move(out));
}

Value truncated(R r, V v, G given) {
  if (v.is_undefined()) return v;
  if (!v.is_text()) r.fail(str("truncate of a ", v.type()));
  const std::string text = v.str(), dots = "...";
  const int64_t length = given.whole(0, 255), leeway = given.whole(3, 5);
  const std::string& end = given[2] ? given.text(2) : dots;
  const auto size = static_cast<int64_t>(count_characters(text));
  const auto tail = static_cast<int64_t>(count_characters(end));
  if (length < tail || leeway < 0) r.fail("truncate to less than its end");
  if (size <= length + leeway) return r.new_text(text);
  size_t at = 0;
  for (int64_t i = 0; i < length - tail; ++i)
    at += utf8_step(std::string_view(text).substr(at)).length;
  std::string cut = text.substr(0, at);
  if (!given.truthy(1)) cut = cut.substr(0, cut.rfind(' '));
  return r.new_text(cut + end);
}

Value by_method(R r, V v, G given, const char* name) {
  Arguments arguments = given.all();
  return text_method(r, name, soft(r, v), arguments);
}

Value replace(R r, V v, G given) {
  if (!given[0] || !given[1]) r.fail("replace takes two texts");
  const int64_t most = given[2] && !given[2]->is_none() ? given.whole(2, -1) : -1;
  return r.new_text(replaced(v.str(), given[0]->str(), given[1]->str(), most,
                             [&](size_t size) { r.check_size(size); }));
}

Value percent(R r, V v, G given) {
  const Arguments& all = given.all();
  if (!all.plain.empty() && !all.named.empty())
    r.fail("format takes values or named values, not both");
  Dict named;
  for (const auto& [key, value] : all.named) named.emplace_back(Value::text(key), value);
  return r.new_text(percent_format(
      r, v.str(), named.empty() ? Value::tuple(all.plain) : Value::dict(std::move(named))));
}

Value words(R r, V v, G) {
  const std::string text = v.str();
  r.charge(text.size() / 16);
  int64_t count = 0;
  bool inside = false;
  for (size_t at = 0; at < text.size();) {
    const Utf8Step step = utf8_step(std::string_view(text).substr(at));
    const bool word = is_alphabetic(step.code) || is_digit(step.code) || step.code == '_';
    count += word && !inside;
    inside = word;
    at += step.length;
  }
  return Value::integer(count);
}

Value url(R r, V v, G) {
  if (!v.is_text()) r.unsupported("urlencode of something other than a str");
  std::string out;
  for (const char c : v.as_text()) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80 &&
        (isalnum(byte) || std::string_view("_.-~/").find(c) != std::string_view::npos)) {
      out += c;
    } else {
      out += {'%', "0123456789ABCDEF"[byte >> 4], "0123456789ABCDEF"[byte & 15]};
    }
  }
  return r.new_text(std::move(out));
}

Value absolute(R r, V v, G) {
  if (v.is_undefined()) r.fail(v.name());
  if (!v.is_number()) r.fail(str("abs of a ", v.type()));
  if (v.is_float()) return Value::number(std::fabs(v.as_double()));
  if (v.as_int() == INT64_MIN) r.fail("a whole number beyond 64 bits");
  return Value::integer(std::abs(v.as_int()));
}

}  // namespace

const std::vector<Filter>& value_filters() {
  static const std::vector<Filter> table = {
      {"tojson", {"ensure_ascii", "indent", "separators", "sort_keys"}, tojson},
      {"default", {"default_value", "boolean"}, defaulted},
      {"d", {"default_value", "boolean"}, defaulted},
      {"string", {}, [](R r, V v, G) { return soft(r, v); }},
      {"safe", {}, [](R, V v, G) { return Value::markup(v.str()); }},
      {"e", {}, [](R, V v, G) { return v.is_markup() ? v : Value::markup(html_escaped(v.str())); }},
      {"escape",
       {},
       [](R, V v, G) { return v.is_markup() ? v : Value::markup(html_escaped(v.str())); }},
      {"forceescape", {}, [](R, V v, G) { return Value::markup(html_escaped(v.str())); }},
      {"trim", {"chars"}, [](R r, V v, G g) { return by_method(r, v, g, "strip"); }},
      {"upper", {}, [](R r, V v, G g) { return by_method(r, v, g, "upper"); }},
      {"lower", {}, [](R r, V v, G g) { return by_method(r, v, g, "lower"); }},
      {"capitalize", {}, [](R r, V v, G g) { return by_method(r, v, g, "capitalize"); }},
      {"center",
       {"width"},
       [](R r, V v, G g) {
         Arguments arguments = g.all();
         if (!g[0]) arguments.plain.push_back(Value::integer(80));
         return text_method(r, "center", soft(r, v), arguments);
       }},
      {"title", {}, title},
      {"truncate", {"length", "killwords", "end", "leeway"}, truncated},
      {"replace", {"old", "new", "count"}, replace},
      {"format", {"*"}, percent},
      {"indent", {"width", "first", "blank"}, indent},
      {"wordcount", {}, words},
      {"urlencode", {}, url},
      {"int", {"default", "base"}, to_int},
      {"float", {"default"}, to_float},
      {"round", {"precision", "method"}, rounded},
      {"abs", {}, absolute},
  };
  return table;
}

void need_filter(const std::string& name, const std::string& where) {
  std::vector<std::string> names;
  for (const auto* table : {&value_filters(), &list_filters()}) {
    for (const Filter& filter : *table) {
      if (name == filter.name) return;
      names.push_back(filter.name);
    }
  }
  throw Error(ErrorKind::unsupported, str("the template filter '", name, "'"), where,
              did_you_mean(name, names, str("known: ", join(names))));
}

Value Renderer::filter(const std::string& name, const Value& input, Arguments& arguments) {
  for (const auto* table : {&value_filters(), &list_filters()}) {
    for (const Filter& filter : *table) {
      if (name == filter.name)
        return filter.call(*this, input,
                           Given(*this, "the filter " + name, arguments, filter.parameters));
    }
  }
  need_filter(name, str(name_, ", line ", line_));
  return {};
}

}  // namespace smidgen::tmpl
