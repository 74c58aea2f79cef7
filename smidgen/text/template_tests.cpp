// What may follow `is`.
#include <utility>
#include <vector>

#include "smidgen/text/template_eval.h"
#include "smidgen/text/template_filters.h"
#include "smidgen/text/template_text.h"

namespace smidgen::tmpl {
namespace {

using R = Renderer&;
using V = const Value&;

struct Test {
  const char* name;
  size_t arguments;
  bool (*call)(R, V value, V other);  // `other` is the argument, if there is one
};

bool leaves(R r, V v, V by, int64_t rest) {
  return r.binary("%", v, by).equals(Value::integer(rest));
}

bool equal(R r, V a, V b) {
  r.charge(a.size() / 16);
  return a.equals(b);
}
bool less(R r, V a, V b) {
  return r.less(a, b);
}
bool more(R r, V a, V b) {
  return r.less(b, a);
}
bool at_most(R r, V a, V b) {
  return r.less(a, b) || a.equals(b);
}
bool at_least(R r, V a, V b) {
  return r.less(b, a) || a.equals(b);
}

bool is_range(V v) {
  return v.is_view() && v.as_view().kind == View::Kind::range;
}
bool sequence(R, V v, V) {
  return v.is_undefined() || v.is_text() || v.is_list() || v.is_tuple() || v.is_dict() ||
         is_range(v);
}
bool iterable(R r, V v, V other) {
  return sequence(r, v, other) || v.is_view() || v.is_loop();
}

bool known_filter(R, V v, V) {
  for (const auto* table : {&value_filters(), &list_filters()}) {
    for (const Filter& filter : *table) {
      if (v.is_text() && v.as_text() == filter.name) return true;
    }
  }
  return false;
}

const std::vector<Test>& tests() {
  static const std::vector<Test> table = {
      {"defined", 0, [](R, V v, V) { return !v.is_undefined(); }},
      {"undefined", 0, [](R, V v, V) { return v.is_undefined(); }},
      {"none", 0, [](R, V v, V) { return v.is_none(); }},
      {"string", 0, [](R, V v, V) { return v.is_text(); }},
      {"number", 0, [](R, V v, V) { return v.is_number(); }},
      {"integer", 0, [](R, V v, V) { return v.is_int(); }},
      {"float", 0, [](R, V v, V) { return v.is_float(); }},
      {"boolean", 0, [](R, V v, V) { return v.is_bool(); }},
      {"true", 0, [](R, V v, V) { return v.is_bool() && v.as_bool(); }},
      {"false", 0, [](R, V v, V) { return v.is_bool() && !v.as_bool(); }},
      {"mapping", 0, [](R, V v, V) { return v.is_dict(); }},
      {"sequence", 0, sequence},
      {"iterable", 0, iterable},
      // Undefined has __call__, and so has a recursive loop.
      {"callable", 0, [](R, V v, V) { return v.is_callable() || v.is_undefined() || v.is_loop(); }},
      {"escaped", 0, [](R, V v, V) { return v.is_markup(); }},
      {"odd", 0, [](R r, V v, V) { return leaves(r, v, Value::integer(2), 1); }},
      {"even", 0, [](R r, V v, V) { return leaves(r, v, Value::integer(2), 0); }},
      {"lower", 0, [](R, V v, V) { return is_lower(v.str()); }},
      {"upper", 0, [](R, V v, V) { return is_upper(v.str()); }},
      {"filter", 0, known_filter},
      {"divisibleby", 1, [](R r, V v, V by) { return leaves(r, v, by, 0); }},
      {"in", 1, [](R r, V v, V other) { return r.contains(other, v); }},
      {"sameas", 1, [](R, V v, V other) { return v.same(other); }},
      {"eq", 1, equal},
      {"equalto", 1, equal},
      {"==", 1, equal},
      {"ne", 1, [](R r, V v, V other) { return !equal(r, v, other); }},
      {"!=", 1, [](R r, V v, V other) { return !equal(r, v, other); }},
      {"lt", 1, less},
      {"lessthan", 1, less},
      {"<", 1, less},
      {"le", 1, at_most},
      {"<=", 1, at_most},
      {"gt", 1, more},
      {"greaterthan", 1, more},
      {">", 1, more},
      {"ge", 1, at_least},
      {">=", 1, at_least},
  };
  return table;
}

}  // namespace

void need_test(const std::string& name, const std::string& where) {
  std::vector<std::string> names;
  for (const Test& test : tests()) {
    if (name == test.name) return;
    names.push_back(test.name);
  }
  throw Error(ErrorKind::unsupported, str("the template test '", name, "'"), where,
              did_you_mean(name, names, str("known: ", join(names))));
}

bool Renderer::test(const std::string& name, const Value& v, Arguments& arguments) {
  for (const Test& test : tests()) {
    if (name != test.name) continue;
    if (arguments.plain.size() + arguments.named.size() != test.arguments)
      fail(str("the test '", name, "' takes ", test.arguments ? "one argument" : "no argument"));
    return test.call(*this, v,
                     test.arguments == 0        ? Value()
                     : !arguments.plain.empty() ? arguments.plain[0]
                                                : arguments.named[0].second);
  }
  need_test(name, str(name_, ", line ", line_));
  return false;
}

}  // namespace smidgen::tmpl
