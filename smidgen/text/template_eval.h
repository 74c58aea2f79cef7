// Walks the tree of a template.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "smidgen/base/error.h"
#include "smidgen/text/template_syntax.h"

namespace smidgen::tmpl {

constexpr int kMaxDepth = 600;  // of the evaluation; bounds the C++ stack

// The names of one block, and the block around it in the source: look-up is static, as in jinja2.
struct Scope {
  Named names;
  std::shared_ptr<Scope> outer;
};

// One for statement while it runs.
struct Loop {
  List items;
  size_t at = 0;
  int depth = 1;  // of recursion
  const Node* node = nullptr;
  std::shared_ptr<Scope> scope;
  std::optional<List> changed;  // what loop.changed() saw last
};

class Renderer {
 public:
  Renderer(const std::string& name, const TemplateLimits& limits) : name_(name), limits_(limits) {}

  std::string run(const Node& body, Named variables);
  // What {% generation %} marked. Valid after run(); throws unsupported when a mark stood where its
  // place in the text is not known.
  const std::vector<TextSpan>& spans() const;

  // For filters, tests, methods and functions.
  void charge(size_t steps);
  void check_size(size_t bytes) const;
  [[noreturn]] void fail(const std::string& what, ErrorKind kind = ErrorKind::data) const;
  [[noreturn]] void unsupported(const std::string& what, const std::string& hint = {}) const;
  Value call(const Value& function, Arguments& arguments);
  Value get_attribute(const Value& object, const std::string& name);
  Value get_item(const Value& object, const Value& index);
  List iterate(const Value& value);
  int64_t length(const Value& value);
  bool contains(const Value& container, const Value& item);
  bool less(const Value& a, const Value& b);
  Value add(const Value& a, const Value& b);
  Value binary(const std::string& op, const Value& a, const Value& b);
  Value filter(const std::string& name, const Value& input, Arguments& arguments);
  bool test(const std::string& name, const Value& input, Arguments& arguments);
  // Charged for; throws resource when it is too long.
  Value new_text(std::string text);
  Slots* new_slots();

 private:
  enum class Flow { normal, stop_loop, next_turn };
  class Enter;  // a scope for the time of a C++ block
  class Deeper;

  Flow exec(const Node& node);
  Flow exec_body(const Node& node);
  Flow exec_for(const Node& node);
  Flow exec_if(const Node& node);
  void exec_with(const Node& node);
  void exec_generation(const Node& node);
  void run_loop(const Node& node, const Value& over, int depth);
  Value loop_attribute(const Value& value, const std::string& name);
  std::string capture(const Node& body);
  Value filtered(const Node& filters, std::string text);
  Value eval(const Node& node);
  Value eval_dict(const Node& node);
  Value eval_compare(const Node& node);
  Value eval_slice(const Node& node);
  Value unary(const std::string& op, const Value& value);
  Value repeat(const Value& what, int64_t times);
  Value make_macro(const Node& node);
  Value call_macro(const Node& node, const std::shared_ptr<Scope>& scope, Arguments& arguments);
  Arguments eval_arguments(const Node& node, size_t first);
  Value global(const std::string& name);
  Value lookup(const std::string& name);
  void assign(const Node& target, const Value& value);
  void set_name(const std::string& name, const Value& value);
  void write(const std::string& text);

  const std::string& name_;
  const TemplateLimits& limits_;
  int line_ = 0, depth_ = 0;
  int64_t steps_ = 0;
  std::shared_ptr<Scope> scope_;
  std::vector<std::string> out_;
  std::vector<std::unique_ptr<Slots>> slots_;
  std::vector<TextSpan> spans_;
  int hidden_mark_ = 0;  // line of a {% generation %} whose place is not known
};

class Renderer::Enter {
 public:
  Enter(Renderer& renderer, std::shared_ptr<Scope> outer)
      : renderer_(renderer), before_(std::move(renderer.scope_)) {
    renderer_.scope_ = std::make_shared<Scope>(Scope{{}, std::move(outer)});
  }
  explicit Enter(Renderer& renderer) : Enter(renderer, renderer.scope_) {}
  ~Enter() { renderer_.scope_ = std::move(before_); }
  Enter(const Enter&) = delete;

 private:
  Renderer& renderer_;
  std::shared_ptr<Scope> before_;
};

class Renderer::Deeper {
 public:
  explicit Deeper(Renderer& renderer) : renderer_(renderer) {
    if (++renderer_.depth_ > kMaxDepth)
      renderer_.fail("blocks, expressions or macro calls nested too deeply", ErrorKind::resource);
  }
  ~Deeper() { --renderer_.depth_; }
  Deeper(const Deeper&) = delete;

 private:
  Renderer& renderer_;
};

// The arguments of a call, by the places of its parameters. Fails for one too many, for a keyword
// that is no parameter, and for one given twice. A parameter list of {"*"} takes anything.
class Given {
 public:
  Given(Renderer& renderer, const std::string& what, const Arguments& all,
        const std::vector<const char*>& parameters);
  // Null when absent; a None where `none_is_absent` counts as absent.
  const Value* operator[](size_t place) const { return values_[place]; }
  const Arguments& all() const { return all_; }
  bool truthy(size_t place) const { return values_[place] && values_[place]->truthy(); }
  int64_t whole(size_t place, int64_t absent) const;
  const std::string& text(size_t place) const;                              // must be there
  const std::string* text_or(size_t place, const std::string* none) const;  // or None

 private:
  Renderer& renderer_;
  std::string what_;
  const Arguments& all_;
  std::vector<const Value*> values_;
};

// Members of strings, lists, tuples and dicts; undefined when there is none of that name.
Value method_of(Renderer& renderer, const Value& object, const std::string& name);

// A string method on `self` with these arguments.
Value text_method(Renderer& renderer, const std::string& name, const Value& self,
                  Arguments& arguments);

// item.a.b.0, as the filters map, sort, selectattr ... understand it.
// Where `absent` is given, it stands for what is not there.
Value attribute_path(Renderer& renderer, const Value& item, const Value& path,
                     const Value* absent = nullptr);

// Puts a value under a key, in the place of an older one. Fails for a key that cannot be one.
void put(Renderer& renderer, Dict& items, const Value& key, Value value);

}  // namespace smidgen::tmpl
