// Tags: if, for, set, with, macro, call, filter, generation.
#include "smidgen/text/template_parser.h"

namespace smidgen::tmpl {
namespace {

bool names_one_of(const Node& node, std::initializer_list<std::string_view> names) {
  if (node.kind == NodeKind::variable &&
      std::find(names.begin(), names.end(), node.text) != names.end())
    return true;
  return std::any_of(node.kids.begin(), node.kids.end(),
                     [&](const NodePtr& kid) { return kid && names_one_of(*kid, names); });
}

// Filters and tests that do not exist are found when the template is read, except inside a
// condition, as in jinja2: there they may be guarded by a test of the version.
void check_names(const Node& node, const std::string& name, bool guarded) {
  const std::string where = str(name, ", line ", node.line);
  if (!guarded && node.kind == NodeKind::filter) need_filter(node.text, where);
  if (!guarded && node.kind == NodeKind::test) need_test(node.text, where);
  const bool condition = node.kind == NodeKind::if_chain || node.kind == NodeKind::inline_if;
  const bool scope = node.kind == NodeKind::macro || node.kind == NodeKind::with ||
                     node.kind == NodeKind::set_block || node.kind == NodeKind::filter_block ||
                     node.kind == NodeKind::generation;
  for (size_t i = 0; i < node.kids.size(); ++i) {
    if (!node.kids[i]) continue;
    const bool body_of_loop = node.kind == NodeKind::for_loop && i >= 2;
    check_names(*node.kids[i], name, condition || (guarded && !scope && !body_of_loop));
  }
}

}  // namespace

NodePtr Parser::body(std::vector<std::string_view> ends) {
  const Depth depth(*this);
  NodePtr out = make(NodeKind::body, now().line);
  for (;;) {
    const Token& token = now();
    if (token.kind == TokenKind::text) {
      give(*out, make(NodeKind::text, token.line, token.text));
      next();
    } else if (token.kind == TokenKind::variable_begin) {
      next();
      NodePtr output = make(NodeKind::output, token.line);
      give(*output, tuple(true));
      expect(TokenKind::variable_end);
      give(*out, std::move(output));
    } else if (token.kind == TokenKind::block_begin) {
      next();
      if (std::any_of(ends.begin(), ends.end(), [&](std::string_view end) { return is_name(end); }))
        return out;
      give(*out, statement());
    } else {
      if (!ends.empty()) fail(str("the template ends, but '", ends.back(), "' is missing"));
      return out;
    }
  }
}

// After the name of an end tag.
void Parser::end_block() {
  next();
  expect(TokenKind::block_end);
}

NodePtr Parser::statement() {
  const int line = now().line;
  const std::string tag = take_identifier();
  if (tag == "if") return if_statement(line);
  if (tag == "for") return for_statement(line);
  if (tag == "set") return set_statement(line);
  if (tag == "macro") return macro_statement(line);
  if (tag == "call") return call_statement(line);
  if (tag == "filter") return filter_statement(line);
  if (tag == "with") return with_statement(line);
  if (tag == "generation") {
    NodePtr node = make(NodeKind::generation, line);
    expect(TokenKind::block_end);
    give(*node, body({"endgeneration"}));
    end_block();
    return node;
  }
  if (tag == "break" || tag == "continue") {
    if (loops_ == 0) fail(str("'", tag, "' outside a loop"));
    expect(TokenKind::block_end);
    return make(tag == "break" ? NodeKind::break_loop : NodeKind::continue_loop, line);
  }
  static const std::vector<std::string> kKnown = {"if",    "for",      "set",    "with",
                                                  "macro", "call",     "filter", "generation",
                                                  "break", "continue", "raw"};
  for (const char* foreign :
       {"include", "import", "from", "extends", "block", "autoescape", "do", "trans"}) {
    if (tag == foreign)
      throw Error(ErrorKind::unsupported, str("the template tag '", tag, "'"), where(line),
                  str("known: ", join(kKnown)));
  }
  if (tag == "else" || tag == "elif" || tag.starts_with("end"))
    fail(str("'", tag, "' without a beginning"));
  throw Error(ErrorKind::unsupported, str("the template tag '", tag, "'"), where(line),
              did_you_mean(tag, kKnown));
}

NodePtr Parser::if_statement(int line) {
  NodePtr node = make(NodeKind::if_chain, line);
  give(*node, tuple(true));
  expect(TokenKind::block_end);
  for (;;) {
    give(*node, body({"elif", "else", "endif"}));
    if (take_name("elif")) {
      give(*node, tuple(true));
      expect(TokenKind::block_end);
      continue;
    }
    if (take_name("else")) {
      expect(TokenKind::block_end);
      give(*node, body({"endif"}));
    }
    end_block();
    return node;
  }
}

NodePtr Parser::for_statement(int line) {
  NodePtr node = make(NodeKind::for_loop, line);
  give(*node, target());
  if (!take_name("in")) fail(str("expected 'in', found ", shown()));
  give(*node, tuple(false));
  give(*node, take_name("if") ? expression() : nullptr);
  node->flag = take_name("recursive");
  expect(TokenKind::block_end);
  ++loops_;
  give(*node, body({"else", "endfor"}));
  --loops_;
  if (take_name("else")) {
    expect(TokenKind::block_end);
    give(*node, body({"endfor"}));
  } else {
    give(*node, nullptr);
  }
  end_block();
  return node;
}

NodePtr Parser::target() {
  const int line = now().line;
  NodePtr first = one_target();
  if (!is_op(",")) return first;
  NodePtr all = make(NodeKind::tuple, line);
  give(*all, std::move(first));
  while (take_op(",")) {
    if (now().kind != TokenKind::name && !is_op("(")) break;
    if (is_name("in")) break;
    give(*all, one_target());
  }
  return all;
}

NodePtr Parser::one_target() {
  const Depth depth(*this);
  const int line = now().line;
  if (take_op("(")) {
    NodePtr inside = target();
    expect_op(")");
    return inside;
  }
  NodePtr name = make(NodeKind::variable, line, take_identifier());
  if (!take_op(".")) return name;
  NodePtr attribute = make(NodeKind::attribute, line, take_identifier());
  give(*attribute, std::move(name));
  return attribute;
}

NodePtr Parser::set_statement(int line) {
  NodePtr to = target();
  if (take_op("=")) {
    NodePtr node = make(NodeKind::set, line);
    give(*node, std::move(to));
    give(*node, tuple(true));
    expect(TokenKind::block_end);
    return node;
  }
  NodePtr node = make(NodeKind::set_block, line);
  give(*node, std::move(to));
  NodePtr filters;
  if (is_op("|")) filters = filters_of(make(NodeKind::variable, line, kBlockInput));
  give(*node, std::move(filters));
  expect(TokenKind::block_end);
  give(*node, body({"endset"}));
  end_block();
  return node;
}

void Parser::parameters(Node& node) {
  expect_op("(");
  while (!is_op(")")) {
    if (!node.names.empty()) expect_op(",");
    if (is_op(")")) break;
    node.names.push_back(take_identifier());
    NodePtr value = take_op("=") ? expression() : nullptr;
    if (!value && node.kids.size() > 1 && node.kids.back())
      fail(str("the parameter '", node.names.back(),
               "' without a default after one with a default"));
    give(node, std::move(value));
  }
  expect_op(")");
}

// The rest of a macro after its parameters. A loop outside does not reach into it.
void Parser::macro_body(Node& macro, std::string_view end) {
  const int loops = std::exchange(loops_, 0);
  NodePtr inside = body({end});
  loops_ = loops;
  macro.flag = names_one_of(*inside, {"varargs", "kwargs"});
  macro.height = std::max(macro.height, inside->height + 1);
  if (macro.height > kMaxHeight) fail("an expression or block that is too deep");
  macro.kids[0] = std::move(inside);
  end_block();
}

NodePtr Parser::macro_statement(int line) {
  NodePtr node = make(NodeKind::macro, line, take_identifier());
  node->kids.emplace_back();
  parameters(*node);
  expect(TokenKind::block_end);
  macro_body(*node, "endmacro");
  return node;
}

NodePtr Parser::call_statement(int line) {
  NodePtr node = make(NodeKind::call_block, line);
  NodePtr caller = make(NodeKind::macro, line, "caller");
  caller->kids.emplace_back();
  if (is_op("(")) parameters(*caller);
  NodePtr call = expression();
  if (call->kind != NodeKind::call) fail("'call' needs a macro call");
  expect(TokenKind::block_end);
  macro_body(*caller, "endcall");
  give(*node, std::move(call));
  give(*node, std::move(caller));
  return node;
}

NodePtr Parser::with_statement(int line) {
  NodePtr node = make(NodeKind::with, line);
  node->kids.emplace_back();
  while (now().kind != TokenKind::block_end) {
    if (node->kids.size() > 1) expect_op(",");
    give(*node, target());
    expect_op("=");
    give(*node, expression());
  }
  expect(TokenKind::block_end);
  NodePtr inside = body({"endwith"});
  node->height = std::max(node->height, inside->height + 1);
  if (node->height > kMaxHeight) fail("an expression or block that is too deep");
  node->kids[0] = std::move(inside);
  end_block();
  return node;
}

NodePtr Parser::filter_statement(int line) {
  NodePtr node = make(NodeKind::filter_block, line);
  NodePtr filters = filters_of(make(NodeKind::variable, line, kBlockInput), true);
  give(*node, std::move(filters));
  expect(TokenKind::block_end);
  give(*node, body({"endfilter"}));
  end_block();
  return node;
}

NodePtr parse(const std::vector<Token>& tokens, const std::string& name,
              const TemplateLimits& limits) {
  NodePtr tree = Parser(tokens, name, limits).run();
  check_names(*tree, name, false);
  return tree;
}

}  // namespace smidgen::tmpl
