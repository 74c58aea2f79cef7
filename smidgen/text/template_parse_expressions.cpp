// Expressions by precedence, from a conditional down to a name.
#include <cstdlib>

#include "smidgen/text/template_parser.h"

namespace smidgen::tmpl {

// One expression, or several with commas between: a tuple.
NodePtr Parser::tuple(bool with_condition) {
  const int line = now().line;
  NodePtr first = with_condition ? expression() : disjunction();
  if (!is_op(",")) return first;
  NodePtr all = make(NodeKind::tuple, line);
  give(*all, std::move(first));
  while (take_op(",")) {
    if (now().kind == TokenKind::block_end || now().kind == TokenKind::variable_end || is_op(")"))
      break;
    give(*all, with_condition ? expression() : disjunction());
  }
  return all;
}

NodePtr Parser::expression() {
  const Depth depth(*this);
  NodePtr then = disjunction();
  while (is_name("if")) {
    NodePtr node = make(NodeKind::inline_if, now().line);
    next();
    give(*node, std::move(then));
    give(*node, disjunction());
    give(*node, take_name("else") ? expression() : nullptr);
    then = std::move(node);
  }
  return then;
}

NodePtr Parser::two(NodeKind kind, std::string op, int line, NodePtr left, NodePtr right) {
  NodePtr node = make(kind, line, std::move(op));
  give(*node, std::move(left));
  give(*node, std::move(right));
  return node;
}

NodePtr Parser::disjunction() {
  NodePtr left = conjunction();
  while (is_name("or")) {
    const int line = now().line;
    next();
    left = two(NodeKind::logic, "or", line, std::move(left), conjunction());
  }
  return left;
}

NodePtr Parser::conjunction() {
  NodePtr left = negation();
  while (is_name("and")) {
    const int line = now().line;
    next();
    left = two(NodeKind::logic, "and", line, std::move(left), negation());
  }
  return left;
}

NodePtr Parser::negation() {
  if (!is_name("not")) return comparison();
  const Depth depth(*this);
  NodePtr node = make(NodeKind::unary, now().line, "not");
  next();
  give(*node, negation());
  return node;
}

NodePtr Parser::comparison() {
  NodePtr first = sum();
  NodePtr node;
  for (;;) {
    std::string op;
    if (now().kind == TokenKind::op &&
        (is_op("==") || is_op("!=") || is_op("<") || is_op("<=") || is_op(">") || is_op(">="))) {
      op = now().text;
      next();
    } else if (take_name("in")) {
      op = "in";
    } else if (is_name("not") && ahead().kind == TokenKind::name && ahead().text == "in") {
      next();
      next();
      op = "not in";
    } else {
      break;
    }
    if (!node) {
      node = make(NodeKind::compare, now().line);
      give(*node, std::move(first));
    }
    node->names.push_back(op);
    give(*node, sum());
  }
  return node ? std::move(node) : std::move(first);
}

template <class Inner>
NodePtr Parser::chain(std::initializer_list<std::string_view> ops, Inner inner) {
  NodePtr left = (this->*inner)();
  while (now().kind == TokenKind::op &&
         std::find(ops.begin(), ops.end(), now().text) != ops.end()) {
    const Token& token = now();
    next();
    left = two(NodeKind::binary, token.text, token.line, std::move(left), (this->*inner)());
  }
  return left;
}

NodePtr Parser::sum() {
  return chain({"+", "-"}, &Parser::concatenation);
}

NodePtr Parser::concatenation() {
  return chain({"~"}, &Parser::product);
}

NodePtr Parser::product() {
  return chain({"*", "/", "//", "%"}, &Parser::power);
}

NodePtr Parser::power() {
  return chain({"**"}, &Parser::unary_filtered);
}

NodePtr Parser::unary_filtered() {
  return unary(true);
}

NodePtr Parser::unary(bool with_filter) {
  const Depth depth(*this);
  NodePtr node;
  if (is_op("-") || is_op("+")) {
    node = make(NodeKind::unary, now().line, now().text);
    next();
    give(*node, unary(false));
  } else {
    node = primary();
  }
  node = postfix(std::move(node));
  return with_filter ? filters_of(std::move(node)) : std::move(node);
}

NodePtr Parser::primary() {
  const Token& token = now();
  switch (token.kind) {
    case TokenKind::name:
      return name();
    case TokenKind::string: {
      NodePtr node = make(NodeKind::constant, token.line);
      std::string text;
      for (; now().kind == TokenKind::string; next()) text += now().text;
      node->value = Value::text(text);
      return node;
    }
    case TokenKind::integer:
    case TokenKind::real: {
      NodePtr node = make(NodeKind::constant, token.line);
      node->value = token.kind == TokenKind::real
                        ? Value::number(std::strtod(token.text.c_str(), nullptr))
                        : Value::integer(std::strtoll(token.text.c_str(), nullptr, 0));
      next();
      return node;
    }
    default:
      break;
  }
  if (take_op("(")) {
    if (take_op(")")) return make(NodeKind::tuple, token.line);
    NodePtr inside = tuple(true);
    expect_op(")");
    return inside;
  }
  if (take_op("[")) {
    NodePtr node = make(NodeKind::list, token.line);
    while (!is_op("]")) {
      if (!node->kids.empty()) expect_op(",");
      if (is_op("]")) break;
      give(*node, expression());
    }
    expect_op("]");
    return node;
  }
  if (take_op("{")) {
    NodePtr node = make(NodeKind::dict, token.line);
    while (!is_op("}")) {
      if (!node->kids.empty()) expect_op(",");
      if (is_op("}")) break;
      give(*node, expression());
      expect_op(":");
      give(*node, expression());
    }
    expect_op("}");
    return node;
  }
  fail(str("expected an expression, found ", shown()));
}

NodePtr Parser::name() {
  const Token& token = now();
  next();
  NodePtr node = make(NodeKind::constant, token.line);
  if (token.text == "true" || token.text == "True") {
    node->value = Value::boolean(true);
  } else if (token.text == "false" || token.text == "False") {
    node->value = Value::boolean(false);
  } else if (token.text == "none" || token.text == "None") {
    node->value = Value::none();
  } else {
    return make(NodeKind::variable, token.line, token.text);
  }
  return node;
}

NodePtr Parser::postfix(NodePtr node) {
  for (;;) {
    const int line = now().line;
    if (take_op(".")) {
      NodePtr outer;
      if (now().kind == TokenKind::integer) {
        outer = make(NodeKind::item, line);
        NodePtr index = make(NodeKind::constant, line);
        index->value = Value::integer(std::strtoll(now().text.c_str(), nullptr, 10));
        next();
        give(*outer, std::move(node));
        give(*outer, std::move(index));
      } else {
        outer = make(NodeKind::attribute, line, take_identifier());
        give(*outer, std::move(node));
      }
      node = std::move(outer);
    } else if (take_op("[")) {
      node = subscript(std::move(node), line);
    } else if (is_op("(")) {
      NodePtr outer = make(NodeKind::call, line);
      give(*outer, std::move(node));
      arguments(*outer);
      node = std::move(outer);
    } else {
      return node;
    }
  }
}

NodePtr Parser::subscript(NodePtr object, int line) {
  NodePtr parts[3];
  bool slice = false;
  int count = 0;
  if (!is_op(":")) parts[0] = expression();
  while (take_op(":")) {
    slice = true;
    if (++count > 2) fail("too many ':' in a slice");
    if (!is_op(":") && !is_op("]")) parts[count] = expression();
  }
  if (is_op(","))
    throw Error(ErrorKind::unsupported, "several indices in one pair of brackets", where(line));
  expect_op("]");
  NodePtr node = make(slice ? NodeKind::slice : NodeKind::item, line);
  give(*node, std::move(object));
  give(*node, std::move(parts[0]));
  if (slice) {
    give(*node, std::move(parts[1]));
    give(*node, std::move(parts[2]));
  }
  return node;
}

void Parser::arguments(Node& node) {
  expect_op("(");
  for (bool first = true; !is_op(")"); first = false) {
    if (!first) expect_op(",");
    if (is_op(")")) break;
    if (is_op("*") || is_op("**")) {
      NodePtr spread = make(NodeKind::keyword, now().line, now().text);
      next();
      give(*spread, expression());
      give(node, std::move(spread));
      continue;
    }
    if (now().kind == TokenKind::name && ahead().kind == TokenKind::op && ahead().text == "=") {
      NodePtr keyword = make(NodeKind::keyword, now().line, take_identifier());
      next();
      give(*keyword, expression());
      give(node, std::move(keyword));
    } else {
      give(node, expression());
    }
  }
  expect_op(")");
}

// `| filter(...)`, `is test` and calls after an operand. `started`: the first filter's name comes
// without a bar.
NodePtr Parser::filters_of(NodePtr node, bool started) {
  for (;;) {
    const int line = now().line;
    if (started || take_op("|")) {
      started = false;
      NodePtr outer = make(NodeKind::filter, line, dotted_name());
      give(*outer, std::move(node));
      if (is_op("(")) arguments(*outer);
      node = std::move(outer);
    } else if (take_name("is")) {
      node = test(std::move(node), line);
    } else if (is_op("(")) {
      NodePtr outer = make(NodeKind::call, line);
      give(*outer, std::move(node));
      arguments(*outer);
      node = std::move(outer);
    } else {
      return node;
    }
  }
}

// Of a filter or test; jinja2 takes a dotted one for a name too.
std::string Parser::dotted_name() {
  std::string name = take_identifier();
  while (take_op(".")) name += "." + take_identifier();
  return name;
}

NodePtr Parser::test(NodePtr input, int line) {
  const bool negated = take_name("not");
  NodePtr node = make(NodeKind::test, line, dotted_name());
  node->flag = negated;
  give(*node, std::move(input));
  if (is_op("(")) {
    arguments(*node);
  } else if ((now().kind == TokenKind::name && !is_name("else") && !is_name("or") &&
              !is_name("and") && !is_name("if") && !is_name("is") && !is_name("in") &&
              !is_name("not")) ||
             now().kind == TokenKind::string || now().kind == TokenKind::integer ||
             now().kind == TokenKind::real || is_op("[") || is_op("{")) {
    give(*node, postfix(primary()));
  }
  return node;
}

}  // namespace smidgen::tmpl
