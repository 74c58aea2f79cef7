// A recursive descent over tokens: a function per rule of the grammar.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "smidgen/base/error.h"
#include "smidgen/text/template_syntax.h"

namespace smidgen::tmpl {

constexpr int kMaxHeight = 300;  // of the tree; has_generation() and the destructor recurse

class Parser {
 public:
  Parser(const std::vector<Token>& tokens, const std::string& name, const TemplateLimits& limits)
      : tokens_(tokens), name_(name), limits_(limits) {}

  NodePtr run() { return body({}); }

 private:
  struct Depth {
    explicit Depth(Parser& owner) : parser(owner) {
      if (++parser.depth_ > parser.limits_.depth) parser.fail("too deeply nested");
    }
    ~Depth() { --parser.depth_; }
    Parser& parser;
  };

  const Token& now() const { return tokens_[at_]; }
  const Token& ahead() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  void next() {
    if (at_ + 1 < tokens_.size()) ++at_;
  }
  bool is_op(std::string_view op) const { return now().kind == TokenKind::op && now().text == op; }
  bool is_name(std::string_view name) const {
    return now().kind == TokenKind::name && now().text == name;
  }
  bool take_op(std::string_view op) { return is_op(op) && (next(), true); }
  bool take_name(std::string_view name) { return is_name(name) && (next(), true); }
  std::string where(int line) const { return str(name_, ", line ", line); }
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ErrorKind::format, what, where(now().line));
  }
  std::string shown() const {
    switch (now().kind) {
      case TokenKind::end:
        return "the end of the template";
      case TokenKind::block_end:
        return "'%}'";
      case TokenKind::variable_end:
        return "'}}'";
      default:
        return str("'", now().text, "'");
    }
  }
  void expect_op(std::string_view op) {
    if (!take_op(op)) fail(str("expected '", op, "', found ", shown()));
  }
  void expect(TokenKind kind) {
    if (now().kind != kind) fail(str("expected the end of the tag, found ", shown()));
    next();
  }
  std::string take_identifier() {
    if (now().kind != TokenKind::name) fail(str("expected a name, found ", shown()));
    std::string name = now().text;
    next();
    return name;
  }

  NodePtr make(NodeKind kind, int line, std::string text = {}) const {
    auto node = std::make_unique<Node>();
    node->kind = kind;
    node->line = line;
    node->text = std::move(text);
    return node;
  }
  void give(Node& parent, NodePtr kid) const {
    if (kid) parent.height = std::max(parent.height, kid->height + 1);
    if (parent.height > kMaxHeight) fail("an expression or block that is too deep");
    parent.kids.push_back(std::move(kid));
  }

  // ---- statements: template_parse_statements.cpp
  NodePtr body(std::vector<std::string_view> ends);
  void end_block();
  NodePtr statement();
  NodePtr if_statement(int line);
  NodePtr for_statement(int line);
  NodePtr target();
  NodePtr one_target();
  NodePtr set_statement(int line);
  void parameters(Node& node);
  void macro_body(Node& macro, std::string_view end);
  NodePtr macro_statement(int line);
  NodePtr call_statement(int line);
  NodePtr filter_statement(int line);
  NodePtr with_statement(int line);

  // ---- expressions, loosest first: template_parse_expressions.cpp
  NodePtr tuple(bool with_condition);
  NodePtr expression();
  NodePtr two(NodeKind kind, std::string op, int line, NodePtr left, NodePtr right);
  NodePtr disjunction();
  NodePtr conjunction();
  NodePtr negation();
  NodePtr comparison();
  template <class Inner>
  NodePtr chain(std::initializer_list<std::string_view> ops, Inner inner);
  NodePtr sum();
  NodePtr concatenation();
  NodePtr product();
  NodePtr power();
  NodePtr unary_filtered();
  NodePtr unary(bool with_filter);
  NodePtr primary();
  NodePtr name();
  NodePtr postfix(NodePtr node);
  NodePtr subscript(NodePtr object, int line);
  void arguments(Node& node);
  NodePtr filters_of(NodePtr node, bool started = false);
  std::string dotted_name();
  NodePtr test(NodePtr input, int line);

  const std::vector<Token>& tokens_;
  const std::string& name_;
  const TemplateLimits& limits_;
  size_t at_ = 0;
  int depth_ = 0, loops_ = 0;
};

}  // namespace smidgen::tmpl
