// From template source to a tree. Lexical rules: jinja2 3.1 with trim_blocks and lstrip_blocks.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "smidgen/text/chat_template.h"
#include "smidgen/text/template_value.h"

namespace smidgen::tmpl {

enum class TokenKind {
  text,
  block_begin,
  block_end,
  variable_begin,
  variable_end,
  name,
  string,
  integer,
  real,
  op,
  end
};

struct Token {
  TokenKind kind;
  std::string text;
  int line;
};

// Throws format with `name` and line.
std::vector<Token> lex(std::string_view source, const std::string& name);

// The variable that stands for the text of a filter block or a block set; no template can write
// this name.
inline constexpr const char* kBlockInput = "<block>";

enum class NodeKind {
  // expressions
  constant,
  variable,
  list,
  tuple,
  dict,
  attribute,
  item,
  slice,
  call,
  filter,
  test,
  unary,
  binary,
  compare,
  logic,
  inline_if,
  keyword,
  // statements
  body,
  text,
  output,
  if_chain,
  for_loop,
  set,
  set_block,
  with,
  macro,
  call_block,
  filter_block,
  generation,
  break_loop,
  continue_loop,
};

struct Node {
  NodeKind kind;
  int line = 0;
  int height = 1;
  std::string text;                         // name, operator or literal text
  bool flag = false;                        // by kind: negated test, recursive, ...
  Value value;                              // constant
  std::vector<std::unique_ptr<Node>> kids;  // null where something optional is absent
  std::vector<std::string> names;           // macro parameters, dict-like keys of keywords
};
using NodePtr = std::unique_ptr<Node>;

// Kids by kind:
//   attribute {object} text; item {object, index}; slice {object, from, to, step}; call {function,
//   arguments...}, where a `keyword` argument holds {value} and text, which is "*" or "**" for what
//   is spread; filter {input, arguments...} text; test {input, arguments...} text, flag = negated;
//   unary {x} text; binary {a, b} text; compare {a, b, c...} names = operators; logic {a, b} text;
//   inline_if {then, condition, else}; dict {key, value, ...}; if_chain {condition, body,
//   condition, body, ..., else body}; for_loop {target, iterable, condition, body, else}, flag =
//   recursive; set {target, value}; set_block {target, filters or null, body}; with {body, target,
//   value, ...}; macro text, names, {body, defaults...} one default per parameter or null, flag =
//   its body names varargs or kwargs; call_block {call, macro}; filter_block {filter, body};
//   generation {body}; output {x}
// What the language has under that name; else throws unsupported with the place and the nearest.
void need_filter(const std::string& name, const std::string& where);
void need_test(const std::string& name, const std::string& where);

NodePtr parse(const std::vector<Token>& tokens, const std::string& name,
              const TemplateLimits& limits);

}  // namespace smidgen::tmpl
