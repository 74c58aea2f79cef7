// Unary and binary operators and comparisons, as Python defines them.
#include <algorithm>
#include <cmath>
#include <utility>

#include "smidgen/text/template_eval.h"
#include "smidgen/text/template_format.h"
#include "smidgen/text/template_text.h"

namespace smidgen::tmpl {
namespace {

bool whole(const Value& value) {
  return value.is_int() || value.is_bool();
}

double modulo(double x, double y) {
  const double rest = std::fmod(x, y);
  if (rest == 0) return std::copysign(0.0, y);
  return (rest < 0) != (y < 0) ? rest + y : rest;
}

// Python's x // y: from the exact remainder, so that it fits x % y.
double floor_divide(double x, double y) {
  const double quotient = (x - modulo(x, y)) / y;
  return quotient == 0 ? std::copysign(0.0, x / y) : std::round(quotient);
}

}  // namespace

Value Renderer::unary(const std::string& op, const Value& value) {
  if (op == "not") return Value::boolean(!value.truthy());
  if (value.is_undefined()) fail(value.name());
  if (!value.is_number()) fail(str("'", op, "' of a ", value.type()));
  if (value.is_float()) return Value::number(op == "-" ? -value.as_double() : value.as_double());
  int64_t out = value.as_int();
  if (op == "-" && __builtin_sub_overflow(int64_t{0}, out, &out))
    fail("a whole number beyond 64 bits");
  return Value::integer(out);
}

bool Renderer::less(const Value& a, const Value& b) {
  if (a.is_undefined()) fail(a.name());
  if (b.is_undefined()) fail(b.name());
  if (a.is_number() && b.is_number()) {
    if (!a.is_float() && !b.is_float()) return a.as_int() < b.as_int();
    return a.as_double() < b.as_double();
  }
  if (a.is_text() && b.is_text()) {
    charge(a.as_text().size() / 64);
    return a.as_text() < b.as_text();
  }
  if ((a.is_list() && b.is_list()) || (a.is_tuple() && b.is_tuple())) {
    const Deeper deeper(*this);
    const size_t count = std::min(a.items().size(), b.items().size());
    charge(count);
    for (size_t i = 0; i < count; ++i) {
      if (!a.items()[i].equals(b.items()[i])) return less(a.items()[i], b.items()[i]);
    }
    return a.items().size() < b.items().size();
  }
  fail(str("a ", a.type(), " and a ", b.type(), " have no order"));
}

Value Renderer::eval_compare(const Node& node) {
  Value left = eval(*node.kids[0]);
  for (size_t i = 0; i < node.names.size(); ++i) {
    Value right = eval(*node.kids[i + 1]);
    line_ = node.line;
    const std::string& op = node.names[i];
    bool holds = false;
    if (op == "==" || op == "!=") {
      charge(left.size() / 16);
      holds = left.equals(right) == (op == "==");
    } else if (op == "in" || op == "not in") {
      holds = contains(right, left) == (op == "in");
    } else if (op == "<" || op == "<=") {
      holds = less(left, right) || (op == "<=" && left.equals(right));
    } else {
      holds = less(right, left) || (op == ">=" && left.equals(right));
    }
    if (!holds) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

Value Renderer::add(const Value& a, const Value& b) {
  if (a.is_text() && b.is_text()) {
    const bool markup = a.is_markup() || b.is_markup();
    const auto part = [markup](const Value& value) {
      return markup && !value.is_markup() ? html_escaped(value.as_text()) : value.as_text();
    };
    if (!markup) return new_text(a.as_text() + b.as_text());
    std::string text = part(a) + part(b);
    check_size(text.size());
    charge(text.size() / 64);
    return Value::markup(std::move(text));
  }
  if ((a.is_list() && b.is_list()) || (a.is_tuple() && b.is_tuple())) {
    List items = a.items();
    items.insert(items.end(), b.items().begin(), b.items().end());
    charge(items.size());
    return a.is_list() ? Value::list(std::move(items)) : Value::tuple(std::move(items));
  }
  if (!a.is_number() || !b.is_number()) fail(str("'+' of a ", a.type(), " and a ", b.type()));
  if (a.is_float() || b.is_float()) return Value::number(a.as_double() + b.as_double());
  int64_t sum = 0;
  if (__builtin_add_overflow(a.as_int(), b.as_int(), &sum)) fail("a whole number beyond 64 bits");
  return Value::integer(sum);
}

Value Renderer::repeat(const Value& what, int64_t wanted) {
  const auto times = static_cast<size_t>(std::max<int64_t>(0, wanted));
  const size_t size = what.is_text() ? what.as_text().size() : what.items().size();
  if (size > 0 && times > limits_.output / size) check_size(limits_.output + 1);
  charge(what.is_text() ? size * times / 64 : size * times);
  List items;
  std::string text;
  for (size_t i = 0; i < times && size > 0; ++i) {
    if (what.is_text()) {
      text += what.as_text();
    } else {
      items.insert(items.end(), what.items().begin(), what.items().end());
    }
  }
  if (what.is_list()) return Value::list(std::move(items));
  if (what.is_tuple()) return Value::tuple(std::move(items));
  return what.is_markup() ? Value::markup(std::move(text)) : Value::text(std::move(text));
}

Value Renderer::binary(const std::string& op, const Value& a, const Value& b) {
  if (op == "~") return new_text(a.str() + b.str());
  if (op == "%" && a.is_text()) {
    std::string text = percent_format(*this, a.as_text(), b);
    if (a.is_markup()) unsupported("'%' formatting of text that the filter 'safe' made");
    return new_text(std::move(text));
  }
  if (a.is_undefined()) fail(a.name());
  if (b.is_undefined()) fail(b.name());
  if (op == "+") return add(a, b);
  const auto repeats = [](const Value& v) { return v.is_text() || v.is_list() || v.is_tuple(); };
  if (op == "*" && whole(a) && repeats(b)) return repeat(b, a.as_int());
  if (op == "*" && whole(b) && repeats(a)) return repeat(a, b.as_int());
  if (!a.is_number() || !b.is_number())
    fail(str("'", op, "' of a ", a.type(), " and a ", b.type()));
  const double x = a.as_double(), y = b.as_double();
  if ((op == "/" || op == "//" || op == "%") && y == 0.0) fail("division by zero");
  if (op == "/") return Value::number(x / y);
  if (op == "**" && x == 0.0 && y < 0.0) fail("zero to a negative power");
  if (a.is_float() || b.is_float() || (op == "**" && y < 0)) {
    if (op == "-") return Value::number(x - y);
    if (op == "*") return Value::number(x * y);
    if (op == "//") return Value::number(floor_divide(x, y));
    if (op == "%") return Value::number(modulo(x, y));
    const double power = std::pow(x, y);
    if (std::isinf(power) && !std::isinf(x) && !std::isinf(y)) fail("a number too large");
    if (std::isnan(power) && !std::isnan(x) && !std::isnan(y)) unsupported("complex numbers");
    return Value::number(power);
  }
  const int64_t m = a.as_int(), n = b.as_int();
  int64_t out = 0;
  bool over = false;
  if (op == "-") {
    over = __builtin_sub_overflow(m, n, &out);
  } else if (op == "*") {
    over = __builtin_mul_overflow(m, n, &out);
  } else if (op == "**") {
    out = m == 0 && n > 0 ? 0 : m == -1 && n % 2 ? -1 : 1;
    const bool grows = m < -1 || m > 1;  // then 64 turns are enough to overflow
    for (int64_t i = 0; i < n && !over && grows; ++i) over = __builtin_mul_overflow(out, m, &out);
  } else if (n == -1) {
    over = op == "//" && __builtin_sub_overflow(int64_t{0}, m, &out);
  } else {
    const int64_t rest = m % n;
    const bool fix = rest != 0 && (rest < 0) != (n < 0);
    out = op == "//" ? m / n - fix : rest + (fix ? n : 0);
  }
  if (over) fail("a whole number beyond 64 bits");
  return Value::integer(out);
}

}  // namespace smidgen::tmpl
