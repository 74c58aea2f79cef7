// Walks the tree of a template.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "smidgen/base/error.h"
#include "smidgen/text/template_syntax.h"

namespace smidgen::tmpl {

constexpr int kMaxDepth = 400;  // of the evaluation; bounds the C++ stack

class Renderer {
 public:
  Renderer(const std::string& name, const TemplateLimits& limits) : name_(name), limits_(limits) {}

  std::string run(const Node& body, Dict variables);
  // What {% generation %} marked. Valid after run().
  const std::vector<TextSpan>& spans() const { return spans_; }

  // For filters, tests and methods.
  void charge(size_t steps);
  void check_size(size_t bytes) const;
  [[noreturn]] void fail(const std::string& what, ErrorKind kind = ErrorKind::data) const;
  Value call(const Value& function, Arguments& arguments);
  Value get_attribute(const Value& object, const std::string& name);
  Value get_item(const Value& object, const Value& index);
  List iterate(const Value& value);
  bool contains(const Value& container, const Value& item);
  bool less(const Value& a, const Value& b) const;
  Value filter(const std::string& name, const Value& input, Arguments& arguments);
  bool test(const std::string& name, const Value& input, Arguments& arguments);
  Slots* new_slots(std::string what);

 private:
  enum class Flow { normal, stop_loop, next_turn };
  using Scope = std::vector<std::pair<std::string, Value>>;

  Flow exec(const Node& node);
  Flow exec_body(const Node& node);
  Flow exec_for(const Node& node);
  Flow exec_if(const Node& node);
  void exec_set(const Node& node);
  void exec_macro(const Node& node);
  void exec_call(const Node& node);
  std::string capture(const Node& body);
  Value eval(const Node& node);
  Value eval_binary(const Node& node);
  Value eval_compare(const Node& node);
  Value eval_slice(const Node& node);
  Value eval_collection(const Node& node);
  Value eval_unary(const Node& node);
  Value call_macro(const Node& node, Arguments& arguments);
  Arguments eval_arguments(const Node& node, size_t first);
  Value method(const Value& object, const std::string& name);
  Value global(const std::string& name);
  Value lookup(const std::string& name);
  void assign(const Node& target, const Value& value);
  void write(const std::string& text);
  bool holds_slots(const Value& value) const;

  const std::string& name_;
  const TemplateLimits& limits_;
  int line_ = 0, depth_ = 0;
  int64_t steps_ = 0;
  std::vector<Scope> scopes_;
  size_t floor_ = 0;  // scopes below it are hidden, but for the first
  std::vector<std::string> out_;
  std::vector<std::unique_ptr<Slots>> slots_;
  std::vector<TextSpan> spans_;
};

// Members of strings, lists and dicts; undefined when there is none of that name.
Value method_of(Renderer& renderer, const Value& object, const std::string& name);

// One argument by place or keyword; null when it was not given.
const Value* argument(const Arguments& arguments, size_t place, const std::string& name);

}  // namespace smidgen::tmpl
