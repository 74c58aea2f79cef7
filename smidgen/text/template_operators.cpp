// Unary and binary operators and comparisons, as Python defines them.
#include <algorithm>
#include <cmath>
#include <utility>

#include "smidgen/text/template_eval.h"

namespace smidgen::tmpl {

Value Renderer::eval_unary(const Node& node) {
  const Value value = eval(*node.kids[0]);
  if (node.text == "not") return Value::boolean(!value.truthy());
  if (!value.is_number()) fail(str("'", node.text, "' of a ", value.type()));
  if (value.is_float())
    return Value::number(node.text == "-" ? -value.as_double() : value.as_double());
  int64_t out = value.as_int();
  if (node.text == "-" && __builtin_sub_overflow(int64_t{0}, out, &out))
    fail("a whole number beyond 64 bits");
  return Value::integer(out);
}

bool Renderer::less(const Value& a, const Value& b) const {
  if (a.is_number() && b.is_number())
    return a.is_float() || b.is_float() ? a.as_double() < b.as_double() : a.as_int() < b.as_int();
  if (a.is_text() && b.is_text()) return a.as_text() < b.as_text();
  if ((a.is_list() && b.is_list()) || (a.is_tuple() && b.is_tuple()))
    return std::lexicographical_compare(
        a.items().begin(), a.items().end(), b.items().begin(), b.items().end(),
        [this](const Value& x, const Value& y) { return less(x, y); });
  fail(str("a ", a.type(), " and a ", b.type(), " have no order"));
}

Value Renderer::eval_compare(const Node& node) {
  Value left = eval(*node.kids[0]);
  for (size_t i = 0; i < node.names.size(); ++i) {
    Value right = eval(*node.kids[i + 1]);
    const std::string& op = node.names[i];
    bool holds;
    if (op == "==" || op == "!=") {
      holds = left.equals(right) == (op == "==");
    } else if (op == "in" || op == "not in") {
      holds = contains(right, left) == (op == "in");
    } else if (op == "<") {
      holds = less(left, right);
    } else if (op == ">") {
      holds = less(right, left);
    } else if (op == "<=") {
      holds = less(left, right) || left.equals(right);
    } else {
      holds = less(right, left) || left.equals(right);
    }
    if (!holds) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

Value Renderer::eval_binary(const Node& node) {
  const Value a = eval(*node.kids[0]);
  const Value b = eval(*node.kids[1]);
  const std::string& op = node.text;
  if (op == "~") {
    std::string text = a.str() + b.str();
    check_size(text.size());
    charge(text.size() / 64);
    return Value::text(std::move(text));
  }
  if (a.is_undefined()) fail(a.name());
  if (b.is_undefined()) fail(b.name());
  if (op == "+" && a.is_text() && b.is_text()) {
    check_size(a.as_text().size() + b.as_text().size());
    charge((a.as_text().size() + b.as_text().size()) / 64);
    return Value::text(a.as_text() + b.as_text());
  }
  if (op == "+" && ((a.is_list() && b.is_list()) || (a.is_tuple() && b.is_tuple()))) {
    List items = a.items();
    items.insert(items.end(), b.items().begin(), b.items().end());
    charge(items.size());
    return a.is_list() ? Value::list(std::move(items)) : Value::tuple(std::move(items));
  }
  const bool a_repeats = (a.is_int() || a.is_bool()) && (b.is_text() || b.is_list());
  if (op == "*" && (a_repeats || ((b.is_int() || b.is_bool()) && (a.is_text() || a.is_list())))) {
    const Value& what = a_repeats ? b : a;
    const auto times = static_cast<size_t>(std::max<int64_t>(0, (a_repeats ? a : b).as_int()));
    const size_t size = what.is_text() ? what.as_text().size() : what.items().size();
    if (size > 0 && times > limits_.output / size) check_size(limits_.output + 1);
    charge(size * times);
    List items;
    std::string text;
    for (size_t i = 0; i < times && size > 0; ++i) {
      if (what.is_text()) {
        text += what.as_text();
      } else {
        items.insert(items.end(), what.items().begin(), what.items().end());
      }
    }
    return what.is_text() ? Value::text(std::move(text)) : Value::list(std::move(items));
  }
  if (op == "%" && a.is_text()) fail("'%' formatting of a string", ErrorKind::unsupported);
  if (!a.is_number() || !b.is_number())
    fail(str("'", op, "' of a ", a.type(), " and a ", b.type()));
  if ((op == "/" || op == "//" || op == "%") && b.as_double() == 0.0) fail("division by zero");
  if (op == "/") return Value::number(a.as_double() / b.as_double());
  if (a.is_float() || b.is_float() || (op == "**" && b.as_int() < 0)) {
    const double x = a.as_double(), y = b.as_double();
    if (op == "+") return Value::number(x + y);
    if (op == "-") return Value::number(x - y);
    if (op == "*") return Value::number(x * y);
    if (op == "//") return Value::number(std::floor(x / y));
    if (op == "**") return Value::number(std::pow(x, y));
    const double rest = std::fmod(x, y);
    return Value::number(rest != 0 && (rest < 0) != (y < 0) ? rest + y : rest);
  }
  const int64_t x = a.as_int(), y = b.as_int();
  int64_t out = 0;
  bool over = false;
  if (op == "+") {
    over = __builtin_add_overflow(x, y, &out);
  } else if (op == "-") {
    over = __builtin_sub_overflow(x, y, &out);
  } else if (op == "*") {
    over = __builtin_mul_overflow(x, y, &out);
  } else if (op == "**") {
    out = x == 0 && y > 0 ? 0 : x == -1 && y % 2 ? -1 : 1;
    const bool grows = x < -1 || x > 1;  // then 64 turns are enough to overflow
    for (int64_t i = 0; i < y && !over && grows; ++i) over = __builtin_mul_overflow(out, x, &out);
  } else if (y == -1) {
    over = op == "//" && __builtin_sub_overflow(int64_t{0}, x, &out);
  } else {
    const int64_t rest = x % y;
    const bool fix = rest != 0 && (rest < 0) != (y < 0);
    out = op == "//" ? x / y - fix : rest + (fix ? y : 0);
  }
  if (over) fail("a whole number beyond 64 bits");
  return Value::integer(out);
}

}  // namespace smidgen::tmpl
