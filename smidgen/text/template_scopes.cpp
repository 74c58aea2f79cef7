// Names: assignment, look-up, macros and call blocks.
#include <algorithm>
#include <utility>

#include "smidgen/text/template_eval.h"

namespace smidgen::tmpl {
namespace {

const Value* find_name(const Named& names, const std::string& name) {
  for (auto item = names.rbegin(); item != names.rend(); ++item) {
    if (item->first == name) return &item->second;
  }
  return nullptr;
}

}  // namespace

Value Renderer::lookup(const std::string& name) {
  for (const Scope* scope = scope_.get(); scope; scope = scope->outer.get()) {
    if (const Value* found = find_name(scope->names, name)) return *found;
  }
  return global(name);
}

void Renderer::set_name(const std::string& name, const Value& value) {
  for (auto& [key, old] : scope_->names) {
    if (key != name) continue;
    old = value;
    return;
  }
  scope_->names.emplace_back(name, value);
}

void Renderer::assign(const Node& target, const Value& value) {
  if (target.kind == NodeKind::tuple) {
    const List items = iterate(value);
    if (items.size() != target.kids.size())
      fail(str(items.size(), " values for ", target.kids.size(), " names"));
    for (size_t i = 0; i < items.size(); ++i) assign(*target.kids[i], items[i]);
    return;
  }
  if (target.kind != NodeKind::attribute) return set_name(target.text, value);
  const Value object = eval(*target.kids[0]);
  if (!object.is_slots())
    fail(str("cannot set '", target.text, "' on a ", object.type(), ": only on a namespace"));
  if (target.text.starts_with("_"))
    fail(str("a namespace takes no name that begins with '_', such as '", target.text, "'"));
  Named& items = object.as_slots().items;
  for (auto& [key, old] : items) {
    if (key != target.text) continue;
    old = value;
    return;
  }
  items.emplace_back(target.text, value);
}

// A macro sees the block that it stands in. It must not keep that block alive: the block's names
// hold the macro.
Value Renderer::make_macro(const Node& node) {
  const std::weak_ptr<Scope> around = scope_;
  return Value::callable({node.text, [this, &node, around](Arguments& arguments) {
                            const std::shared_ptr<Scope> scope = around.lock();
                            if (!scope)
                              unsupported(str("the macro '", node.text,
                                              "' is called after the block that it stands in"));
                            return call_macro(node, scope, arguments);
                          }});
}

Value Renderer::call_macro(const Node& node, const std::shared_ptr<Scope>& scope,
                           Arguments& arguments) {
  const Deeper deeper(*this);
  const int line = line_;
  const size_t wanted = node.names.size();
  const std::string what = str("the macro '", node.text, "'");
  const bool takes_more = node.flag;
  if (arguments.plain.size() > wanted && !takes_more)
    fail(str(what, " takes ", wanted, " arguments, not ", arguments.plain.size()));
  Named names;
  Dict more;
  for (size_t i = 0; i < std::min(wanted, arguments.plain.size()); ++i)
    names.emplace_back(node.names[i], arguments.plain[i]);
  for (auto& [key, value] : arguments.named) {
    const auto known = std::find(node.names.begin(), node.names.end(), key);
    if (known != node.names.end() &&
        static_cast<size_t>(known - node.names.begin()) < arguments.plain.size())
      fail(str(what, " got its parameter '", key, "' twice"));
    if (known != node.names.end() || key == "caller") {
      names.emplace_back(key, value);
    } else if (takes_more) {
      more.emplace_back(Value::text(key), value);
    } else {
      fail(str(what, " has no parameter '", key, "'"));
    }
  }
  const Enter inside(*this, scope);
  scope_->names = std::move(names);
  if (takes_more) {
    List rest;
    for (size_t i = wanted; i < arguments.plain.size(); ++i) rest.push_back(arguments.plain[i]);
    scope_->names.emplace_back("varargs", Value::tuple(std::move(rest)));
    scope_->names.emplace_back("kwargs", Value::dict(std::move(more)));
  }
  for (size_t i = arguments.plain.size(); i < wanted; ++i) {
    if (find_name(scope_->names, node.names[i])) continue;
    Value value = node.kids[i + 1]
                      ? eval(*node.kids[i + 1])
                      : Value::undefined(str("parameter '", node.names[i], "' was not provided"));
    scope_->names.emplace_back(node.names[i], std::move(value));
  }
  std::string text = capture(*node.kids[0]);
  line_ = line;
  return new_text(std::move(text));
}

}  // namespace smidgen::tmpl
