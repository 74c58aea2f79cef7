// Filters and tests of the template language.
#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <utility>

#include "smidgen/text/characters.h"
#include "smidgen/text/template_eval.h"
#include "smidgen/text/template_text.h"

namespace smidgen::tmpl {
namespace {

using Filter = Value (*)(Renderer&, const Value&, Arguments&);

const std::string& need_text(Renderer& renderer, const Value& value, const char* what) {
  if (value.is_undefined()) renderer.fail(value.name());
  if (!value.is_text()) renderer.fail(str(what, " of a ", value.type()));
  return value.as_text();
}

int64_t whole(Renderer& renderer, const Value* value, int64_t absent) {
  if (!value || value->is_none()) return absent;
  if (!value->is_int() && !value->is_bool())
    renderer.fail(str("a ", value->type(), " where a whole number is needed"));
  return value->as_int();
}

Value tojson(Renderer& renderer, const Value& input, Arguments& arguments) {
  JsonStyle style;
  const Value* indent = argument(arguments, 1, "indent");
  style.indent = static_cast<int>(std::clamp<int64_t>(whole(renderer, indent, -1), -1, 64));
  if (indent && indent->is_int()) style.item = ",";
  if (const Value* separators = argument(arguments, 2, "separators");
      separators && !separators->is_none()) {
    const List pair = renderer.iterate(*separators);
    if (pair.size() != 2 || !pair[0].is_text() || !pair[1].is_text())
      renderer.fail("tojson: separators are two strings");
    style.item = pair[0].as_text();
    style.key = pair[1].as_text();
  }
  if (const Value* ascii = argument(arguments, 0, "ensure_ascii")) style.ascii = ascii->truthy();
  if (const Value* sorted = argument(arguments, 3, "sort_keys")) style.sorted = sorted->truthy();
  try {
    std::string text = to_json(input, style);
    renderer.check_size(text.size());
    renderer.charge(text.size() / 16);
    return Value::text(std::move(text));
  } catch (const std::string& type) {
    renderer.fail(input.is_undefined() ? input.name() : str("a ", type, " has no JSON form"));
  }
}

Value length(Renderer& renderer, const Value& input, Arguments&) {
  if (input.is_text())
    return Value::integer(static_cast<int64_t>(count_characters(input.as_text())));
  if (input.is_dict()) return Value::integer(static_cast<int64_t>(input.as_dict().size()));
  return Value::integer(static_cast<int64_t>(renderer.iterate(input).size()));
}

Value defaulted(Renderer&, const Value& input, Arguments& arguments) {
  const Value* other = argument(arguments, 0, "default_value");
  const Value* by_truth = argument(arguments, 1, "boolean");
  const bool use = input.is_undefined() || (by_truth && by_truth->truthy() && !input.truthy());
  return !use ? input : other ? *other : Value::text("");
}

Value attribute_of(Renderer& renderer, Value value, const Value& path) {
  if (path.is_int()) return renderer.get_item(value, path);
  for (const std::string& part : split_text(path.str(), nullptr, -1, false)) {
    const std::string dot = ".";
    for (const std::string& name : split_text(part, &dot, -1, false))
      value = renderer.get_item(value, Value::text(name));
  }
  return value;
}

Value joined(Renderer& renderer, const Value& input, Arguments& arguments) {
  const Value* separator = argument(arguments, 0, "d");
  const Value* attribute = argument(arguments, 1, "attribute");
  std::string out;
  bool first = true;
  for (const Value& item : renderer.iterate(input)) {
    if (!std::exchange(first, false) && separator) out += separator->str();
    out += (attribute ? attribute_of(renderer, item, *attribute) : item).str();
    renderer.check_size(out.size());
  }
  return Value::text(std::move(out));
}

Value select(Renderer& renderer, const Value& input, Arguments& arguments, bool by_attribute,
             bool keep) {
  List out;
  Arguments rest;
  const size_t first = by_attribute ? 1 : 0;
  if (by_attribute && arguments.plain.empty())
    renderer.fail("selectattr and rejectattr take an attribute");
  for (size_t i = first + 1; i < arguments.plain.size(); ++i)
    rest.plain.push_back(arguments.plain[i]);
  for (const Value& item : renderer.iterate(input)) {
    const Value value = by_attribute ? attribute_of(renderer, item, arguments.plain[0]) : item;
    const bool holds = arguments.plain.size() > first
                           ? renderer.test(arguments.plain[first].str(), value, rest)
                           : value.truthy();
    if (holds == keep) out.push_back(item);
  }
  return Value::list(std::move(out));
}

Value map(Renderer& renderer, const Value& input, Arguments& arguments) {
  List out;
  const Value* attribute = argument(arguments, SIZE_MAX, "attribute");
  const Value* absent = argument(arguments, SIZE_MAX, "default");
  if (!attribute && arguments.plain.empty()) renderer.fail("map takes a filter or attribute=...");
  for (const Value& item : renderer.iterate(input)) {
    if (attribute) {
      Value value = attribute_of(renderer, item, *attribute);
      out.push_back(value.is_undefined() && absent ? *absent : value);
    } else {
      Arguments rest;
      rest.plain.assign(arguments.plain.begin() + 1, arguments.plain.end());
      rest.named = arguments.named;
      out.push_back(renderer.filter(arguments.plain[0].str(), item, rest));
    }
  }
  return Value::list(std::move(out));
}

Value indent(Renderer& renderer, const Value& input, Arguments& arguments) {
  const Value* width = argument(arguments, 0, "width");
  const Value* first = argument(arguments, 1, "first");
  const Value* blank = argument(arguments, 2, "blank");
  const std::string space =
      width && width->is_text()
          ? width->as_text()
          : std::string(
                static_cast<size_t>(std::clamp<int64_t>(whole(renderer, width, 4), 0, 1000)), ' ');
  std::string out;
  // jinja2 appends a newline first, so that an empty last line survives.
  const std::vector<std::string> lines = lines_of(need_text(renderer, input, "indent") + "\n");
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out += '\n';
    if (i == 0 ? first && first->truthy() : (!lines[i].empty() || (blank && blank->truthy())))
      out += space;
    out += lines[i];
    renderer.check_size(out.size());
  }
  return Value::text(std::move(out));
}

Value to_int(Renderer& renderer, const Value& input, Arguments& arguments) {
  const int64_t absent = whole(renderer, argument(arguments, 0, "default"), 0);
  if (input.is_int() || input.is_bool()) return Value::integer(input.as_int());
  double value = 0;
  if (input.is_float()) {
    value = input.as_double();
  } else if (input.is_text()) {
    const std::string text = stripped(input.as_text(), nullptr, true, true);
    char* end = nullptr;
    errno = 0;
    const long long number = std::strtoll(text.c_str(), &end, 10);
    if (!text.empty() && *end == 0 && errno == 0) return Value::integer(number);
    value = std::strtod(text.c_str(), &end);
    if (text.empty() || *end != 0) return Value::integer(absent);
  } else {
    return Value::integer(absent);
  }
  return Value::integer(std::abs(value) < 9e18 ? static_cast<int64_t>(value) : absent);
}

Value to_float(Renderer&, const Value& input, Arguments&) {
  if (input.is_number()) return Value::number(input.as_double());
  if (!input.is_text()) return Value::number(0);
  char* end = nullptr;
  const double value = std::strtod(input.as_text().c_str(), &end);
  return Value::number(input.as_text().empty() || *end != 0 ? 0 : value);
}

Value rounded(Renderer& renderer, const Value& input, Arguments& arguments) {
  if (!input.is_number()) renderer.fail(str("round of a ", input.type()));
  const double scale =
      std::pow(10.0, static_cast<double>(whole(renderer, argument(arguments, 0, "precision"), 0)));
  return Value::number(std::nearbyint(input.as_double() * scale) / scale);
}

Value sorted(Renderer& renderer, const Value& input, Arguments& arguments) {
  const Value* reverse = argument(arguments, 0, "reverse");
  const Value* attribute = argument(arguments, 2, "attribute");
  const Value* exact = argument(arguments, 1, "case_sensitive");
  List items = renderer.iterate(input);
  const auto key = [&](const Value& item) {
    Value value = attribute ? attribute_of(renderer, item, *attribute) : item;
    return value.is_text() && !(exact && exact->truthy()) ? Value::text(lower(value.as_text()))
                                                          : value;
  };
  const bool down = reverse && reverse->truthy();
  std::stable_sort(items.begin(), items.end(), [&](const Value& a, const Value& b) {
    return down ? renderer.less(key(b), key(a)) : renderer.less(key(a), key(b));
  });
  return Value::list(std::move(items));
}

Value unique(Renderer& renderer, const Value& input, Arguments&) {
  List out;
  const auto key = [](const Value& v) { return v.is_text() ? Value::text(lower(v.as_text())) : v; };
  for (const Value& item : renderer.iterate(input)) {
    renderer.charge(out.size());
    if (std::none_of(out.begin(), out.end(),
                     [&](const Value& old) { return key(old).equals(key(item)); }))
      out.push_back(item);
  }
  return Value::list(std::move(out));
}

Value dictsort(Renderer& renderer, const Value& input, Arguments&) {
  if (!input.is_dict()) renderer.fail(str("dictsort of a ", input.type()));
  Dict items = input.as_dict();
  std::stable_sort(items.begin(), items.end(),
                   [](const auto& a, const auto& b) { return lower(a.first) < lower(b.first); });
  List out;
  for (const auto& [key, value] : items) out.push_back(Value::tuple({Value::text(key), value}));
  return Value::list(std::move(out));
}

Value escaped(Renderer&, const Value& input, Arguments&) {
  std::string out;
  for (const char c : input.str()) {
    out += c == '&'    ? "&amp;"
           : c == '<'  ? "&lt;"
           : c == '>'  ? "&gt;"
           : c == '"'  ? "&#34;"
           : c == '\'' ? "&#39;"
                       : std::string(1, c);
  }
  return Value::text(std::move(out));
}

Value end_item(Renderer& renderer, const Value& input, bool last) {
  const List items = renderer.iterate(input);
  if (items.empty()) return Value::undefined("no item, the list is empty");
  return last ? items.back() : items.front();
}

Value items_of(Renderer& renderer, const Value& input, Arguments& arguments) {
  if (input.is_undefined()) return Value::list({});
  if (!input.is_dict()) renderer.fail(str("items of a ", input.type()));
  return renderer.call(renderer.get_attribute(input, "items"), arguments);
}

Value added(Renderer& renderer, const Value& input, Arguments&) {
  double sum = 0;
  bool real = false;
  for (const Value& item : renderer.iterate(input)) {
    if (!item.is_number()) renderer.fail(str("sum over a ", item.type()));
    real |= item.is_float();
    sum += item.as_double();
  }
  return real ? Value::number(sum) : Value::integer(static_cast<int64_t>(sum));
}

Value text_method(Renderer& renderer, const Value& input, Arguments& arguments, const char* name) {
  const Value text = Value::text(input.str());
  return renderer.call(method_of(renderer, text, name), arguments);
}

const std::vector<std::pair<std::string, Filter>>& filters() {
  using R = Renderer&;
  using V = const Value&;
  using A = Arguments&;
  static const std::vector<std::pair<std::string, Filter>> table = {
      {"tojson", tojson},
      {"length", length},
      {"count", length},
      {"default", defaulted},
      {"d", defaulted},
      {"join", joined},
      {"map", map},
      {"indent", indent},
      {"int", to_int},
      {"float", to_float},
      {"round", rounded},
      {"sort", sorted},
      {"unique", unique},
      {"dictsort", dictsort},
      {"e", escaped},
      {"escape", escaped},
      {"items", items_of},
      {"sum", added},
      {"select", [](R r, V v, A a) { return select(r, v, a, false, true); }},
      {"reject", [](R r, V v, A a) { return select(r, v, a, false, false); }},
      {"selectattr", [](R r, V v, A a) { return select(r, v, a, true, true); }},
      {"rejectattr", [](R r, V v, A a) { return select(r, v, a, true, false); }},
      {"trim", [](R r, V v, A a) { return text_method(r, v, a, "strip"); }},
      {"upper", [](R r, V v, A a) { return text_method(r, v, a, "upper"); }},
      {"lower", [](R r, V v, A a) { return text_method(r, v, a, "lower"); }},
      {"capitalize", [](R r, V v, A a) { return text_method(r, v, a, "capitalize"); }},
      {"title", [](R r, V v, A a) { return text_method(r, v, a, "title"); }},
      {"replace", [](R r, V v, A a) { return text_method(r, v, a, "replace"); }},
      {"string", [](R, V v, A) { return Value::text(v.str()); }},
      {"safe", [](R, V v, A) { return Value::text(v.str()); }},
      {"list", [](R r, V v, A) { return Value::list(r.iterate(v)); }},
      {"first", [](R r, V v, A) { return end_item(r, v, false); }},
      {"last", [](R r, V v, A) { return end_item(r, v, true); }},
      {"reverse",
       [](R r, V v, A) {
         List items = r.iterate(v);
         std::reverse(items.begin(), items.end());
         if (!v.is_text()) return Value::list(std::move(items));
         std::string text;
         for (const Value& item : items) text += item.as_text();
         return Value::text(std::move(text));
       }},
      {"abs",
       [](R r, V v, A) {
         if (!v.is_number()) r.fail(str("abs of a ", v.type()));
         return v.is_float() ? Value::number(std::abs(v.as_double()))
                             : Value::integer(v.as_int() < 0 ? -v.as_int() : v.as_int());
       }},
  };
  return table;
}

const std::vector<std::string>& test_names() {
  static const std::vector<std::string> names = {
      "defined",  "undefined", "none", "string", "number",      "integer",
      "float",    "boolean",   "true", "false",  "mapping",     "iterable",
      "sequence", "callable",  "odd",  "even",   "divisibleby", "in",
      "eq",       "equalto",   "==",   "ne",     "!=",          "lt",
      "lessthan", "<",         "le",   "<=",     "gt",          "greaterthan",
      ">",        "ge",        ">=",   "lower",  "upper",       "sameas"};
  return names;
}

}  // namespace

Value Renderer::filter(const std::string& name, const Value& input, Arguments& arguments) {
  std::vector<std::string> names;
  for (const auto& [key, function] : filters()) {
    if (key == name) return function(*this, input, arguments);
    names.push_back(key);
  }
  throw Error(ErrorKind::unsupported, str("the template filter '", name, "'"),
              str(name_, ", line ", line_), did_you_mean(name, names, str("known: ", join(names))));
}

bool Renderer::test(const std::string& name, const Value& v, Arguments& arguments) {
  const Value* other = arguments.plain.empty() ? nullptr : &arguments.plain[0];
  const auto need = [&]() -> const Value& {
    if (!other) fail(str("the test '", name, "' needs an argument"));
    return *other;
  };
  const auto number = [&](const Value& value) {
    if (!value.is_int() && !value.is_bool()) fail(str("the test '", name, "' of a ", value.type()));
    return value.as_int();
  };
  if (name == "defined") return !v.is_undefined();
  if (name == "undefined") return v.is_undefined();
  if (name == "none") return v.is_none();
  if (name == "string") return v.is_text();
  if (name == "number") return v.is_number();
  if (name == "integer") return v.is_int();
  if (name == "float") return v.is_float();
  if (name == "boolean") return v.is_bool();
  if (name == "true") return v.is_bool() && v.as_bool();
  if (name == "false") return v.is_bool() && !v.as_bool();
  if (name == "mapping") return v.is_dict();
  if (name == "iterable")
    return v.is_undefined() || v.is_text() || v.is_list() || v.is_tuple() || v.is_dict();
  if (name == "sequence")
    return v.is_undefined() || v.is_text() || v.is_list() || v.is_tuple() || v.is_dict();
  if (name == "callable") return v.is_callable();
  if (name == "odd") return number(v) % 2 != 0;
  if (name == "even") return number(v) % 2 == 0;
  if (name == "divisibleby") {
    const int64_t by = number(need());
    if (by == 0) fail("division by zero");
    return by == -1 || number(v) % by == 0;
  }
  if (name == "in") return contains(need(), v);
  if (name == "eq" || name == "equalto" || name == "==" || name == "sameas")
    return v.equals(need());
  if (name == "ne" || name == "!=") return !v.equals(need());
  if (name == "lt" || name == "lessthan" || name == "<") return less(v, need());
  if (name == "gt" || name == "greaterthan" || name == ">") return less(need(), v);
  if (name == "le" || name == "<=") return less(v, need()) || v.equals(need());
  if (name == "ge" || name == ">=") return less(need(), v) || v.equals(need());
  if (name == "lower") return v.str() == lower(v.str()) && v.str() != upper(v.str());
  if (name == "upper") return v.str() == upper(v.str()) && v.str() != lower(v.str());
  throw Error(ErrorKind::unsupported, str("the template test '", name, "'"),
              str(name_, ", line ", line_),
              did_you_mean(name, test_names(), str("known: ", join(test_names()))));
}

}  // namespace smidgen::tmpl
