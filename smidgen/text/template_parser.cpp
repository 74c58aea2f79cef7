#include <algorithm>
#include <cstdlib>

#include "smidgen/base/error.h"
#include "smidgen/text/template_syntax.h"

namespace smidgen::tmpl {
namespace {

constexpr int kMaxHeight = 300;

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

  // ---- statements
  NodePtr body(std::vector<std::string_view> ends) {
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
        if (std::any_of(ends.begin(), ends.end(),
                        [&](std::string_view end) { return is_name(end); }))
          return out;
        give(*out, statement());
      } else {
        if (!ends.empty()) fail(str("the template ends, but '", ends.back(), "' is missing"));
        return out;
      }
    }
  }

  // After the name of an end tag.
  void end_block() {
    next();
    expect(TokenKind::block_end);
  }

  NodePtr statement() {
    const int line = now().line;
    const std::string tag = take_identifier();
    if (tag == "if") return if_statement(line);
    if (tag == "for") return for_statement(line);
    if (tag == "set") return set_statement(line);
    if (tag == "macro") return macro_statement(line);
    if (tag == "call") return call_statement(line);
    if (tag == "filter") return filter_statement(line);
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
    static const std::vector<std::string> kKnown = {
        "if", "for", "set", "macro", "call", "filter", "generation", "break", "continue", "raw"};
    for (const char* foreign :
         {"include", "import", "from", "extends", "block", "with", "autoescape", "do", "trans"}) {
      if (tag == foreign)
        throw Error(ErrorKind::unsupported, str("the template tag '", tag, "'"), where(line),
                    str("known: ", join(kKnown)));
    }
    if (tag == "else" || tag == "elif" || tag.starts_with("end"))
      fail(str("'", tag, "' without a beginning"));
    throw Error(ErrorKind::unsupported, str("the template tag '", tag, "'"), where(line),
                did_you_mean(tag, kKnown));
  }

  NodePtr if_statement(int line) {
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

  NodePtr for_statement(int line) {
    NodePtr node = make(NodeKind::for_loop, line);
    give(*node, target());
    if (!take_name("in")) fail(str("expected 'in', found ", shown()));
    give(*node, tuple(false));
    give(*node, take_name("if") ? expression() : nullptr);
    if (is_name("recursive"))
      throw Error(ErrorKind::unsupported, "a recursive loop in a template", where(line),
                  "a macro that calls itself");
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

  NodePtr target() {
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
  NodePtr one_target() {
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

  NodePtr set_statement(int line) {
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

  void parameters(Node& node) {
    expect_op("(");
    while (!is_op(")")) {
      if (!node.names.empty()) expect_op(",");
      if (is_op(")")) break;
      node.names.push_back(take_identifier());
      give(node, take_op("=") ? expression() : nullptr);
    }
    expect_op(")");
  }

  NodePtr macro_statement(int line) {
    NodePtr node = make(NodeKind::macro, line, take_identifier());
    if (loops_ > 0 || macros_ > 0)
      throw Error(ErrorKind::unsupported, "a macro inside a loop or a macro", where(line),
                  "define it at the top level");
    node->kids.emplace_back();
    parameters(*node);
    expect(TokenKind::block_end);
    ++macros_;
    NodePtr inside = body({"endmacro"});
    --macros_;
    node->height = std::max(node->height, inside->height + 1);
    node->kids[0] = std::move(inside);
    end_block();
    return node;
  }

  NodePtr call_statement(int line) {
    NodePtr node = make(NodeKind::call_block, line);
    node->kids.resize(2);
    if (is_op("(")) {
      Node plain{NodeKind::call_block};
      parameters(plain);
      if (std::any_of(plain.kids.begin(), plain.kids.end(),
                      [](const NodePtr& kid) { return kid != nullptr; }))
        throw Error(ErrorKind::unsupported, "defaults in the parameters of a call block",
                    where(line));
      node->names = plain.names;
    }
    NodePtr call = expression();
    if (call->kind != NodeKind::call) fail("'call' needs a macro call");
    expect(TokenKind::block_end);
    NodePtr inside = body({"endcall"});
    end_block();
    node->height = 1 + std::max(call->height, inside->height);
    node->kids[0] = std::move(call);
    node->kids[1] = std::move(inside);
    return node;
  }

  NodePtr filter_statement(int line) {
    NodePtr node = make(NodeKind::filter_block, line);
    NodePtr filters = filters_of(make(NodeKind::variable, line, kBlockInput), true);
    give(*node, std::move(filters));
    expect(TokenKind::block_end);
    give(*node, body({"endfilter"}));
    end_block();
    return node;
  }

  // ---- expressions, loosest first
  // One expression, or several with commas between: a tuple.
  NodePtr tuple(bool with_condition) {
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

  NodePtr expression() {
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

  NodePtr two(NodeKind kind, std::string op, int line, NodePtr left, NodePtr right) {
    NodePtr node = make(kind, line, std::move(op));
    give(*node, std::move(left));
    give(*node, std::move(right));
    return node;
  }

  NodePtr disjunction() {
    NodePtr left = conjunction();
    while (is_name("or")) {
      const int line = now().line;
      next();
      left = two(NodeKind::logic, "or", line, std::move(left), conjunction());
    }
    return left;
  }
  NodePtr conjunction() {
    NodePtr left = negation();
    while (is_name("and")) {
      const int line = now().line;
      next();
      left = two(NodeKind::logic, "and", line, std::move(left), negation());
    }
    return left;
  }
  NodePtr negation() {
    if (!is_name("not")) return comparison();
    const Depth depth(*this);
    NodePtr node = make(NodeKind::unary, now().line, "not");
    next();
    give(*node, negation());
    return node;
  }
  NodePtr comparison() {
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
  NodePtr chain(std::initializer_list<std::string_view> ops, Inner inner) {
    NodePtr left = (this->*inner)();
    while (now().kind == TokenKind::op &&
           std::find(ops.begin(), ops.end(), now().text) != ops.end()) {
      const Token& token = now();
      next();
      left = two(NodeKind::binary, token.text, token.line, std::move(left), (this->*inner)());
    }
    return left;
  }
  NodePtr sum() { return chain({"+", "-"}, &Parser::concatenation); }
  NodePtr concatenation() { return chain({"~"}, &Parser::product); }
  NodePtr product() { return chain({"*", "/", "//", "%"}, &Parser::power); }
  NodePtr power() { return chain({"**"}, &Parser::unary_filtered); }
  NodePtr unary_filtered() { return unary(true); }

  NodePtr unary(bool with_filter) {
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

  NodePtr primary() {
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
                          : Value::integer(std::strtoll(token.text.c_str(), nullptr, 10));
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

  NodePtr name() {
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

  NodePtr postfix(NodePtr node) {
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

  NodePtr subscript(NodePtr object, int line) {
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

  void arguments(Node& node) {
    expect_op("(");
    for (bool first = true; !is_op(")"); first = false) {
      if (!first) expect_op(",");
      if (is_op(")")) break;
      if (is_op("*") || is_op("**"))
        throw Error(ErrorKind::unsupported, "'*' and '**' in the arguments of a call",
                    where(now().line));
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
  NodePtr filters_of(NodePtr node, bool started = false) {
    for (;;) {
      const int line = now().line;
      if (started || take_op("|")) {
        started = false;
        NodePtr outer = make(NodeKind::filter, line, take_identifier());
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

  NodePtr test(NodePtr input, int line) {
    const bool negated = take_name("not");
    NodePtr node = make(NodeKind::test, line, take_identifier());
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

  const std::vector<Token>& tokens_;
  const std::string& name_;
  const TemplateLimits& limits_;
  size_t at_ = 0;
  int depth_ = 0, loops_ = 0, macros_ = 0;
};

}  // namespace

NodePtr parse(const std::vector<Token>& tokens, const std::string& name,
              const TemplateLimits& limits) {
  return Parser(tokens, name, limits).run();
}

}  // namespace smidgen::tmpl
