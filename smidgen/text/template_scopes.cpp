// Names: assignment, look-up, macros and call blocks.
#include <algorithm>
#include <iterator>
#include <utility>

#include "smidgen/text/template_eval.h"

namespace smidgen::tmpl {

bool Renderer::holds_slots(const Value& value) const {
  if (value.is_slots()) return true;
  if (value.is_list() || value.is_tuple())
    return std::any_of(value.items().begin(), value.items().end(),
                       [this](const Value& v) { return holds_slots(v); });
  if (value.is_dict())
    return std::any_of(value.as_dict().begin(), value.as_dict().end(),
                       [this](const auto& v) { return holds_slots(v.second); });
  return false;
}

void Renderer::assign(const Node& target, const Value& value) {
  if (target.kind == NodeKind::tuple) {
    const List items = iterate(value);
    if (items.size() != target.kids.size())
      fail(str(items.size(), " values for ", target.kids.size(), " names"));
    for (size_t i = 0; i < items.size(); ++i) assign(*target.kids[i], items[i]);
    return;
  }
  Scope* scope = &scopes_.back();
  if (target.kind == NodeKind::attribute) {
    const Value object = eval(*target.kids[0]);
    if (!object.is_slots() || object.as_slots().what != "namespace")
      fail(str("cannot set '", target.text, "' on a ", object.type(), ": only on a namespace"));
    if (holds_slots(value)) fail("a namespace inside a namespace", ErrorKind::unsupported);
    scope = &object.as_slots().items;
  }
  for (auto& [key, old] : *scope) {
    if (key != target.text) continue;
    old = value;
    return;
  }
  scope->emplace_back(target.text, value);
}

void Renderer::exec_macro(const Node& node) {
  const Value macro = Value::callable(
      {node.text, [this, &node](Arguments& arguments) { return call_macro(node, arguments); }});
  scopes_.back().emplace_back(node.text, macro);
  auto& scope = scopes_.back();
  for (auto& [key, value] : scope) {
    if (key == node.text) value = macro;
  }
}

Value Renderer::call_macro(const Node& node, Arguments& arguments) {
  if (++depth_ > kMaxDepth) fail("macros call each other too deeply", ErrorKind::resource);
  Scope scope;
  const size_t wanted = node.names.size();
  if (arguments.plain.size() > wanted)
    fail(str("the macro '", node.text, "' takes ", wanted, " arguments, not ",
             arguments.plain.size()));
  for (size_t i = 0; i < arguments.plain.size(); ++i)
    scope.emplace_back(node.names[i], arguments.plain[i]);
  for (auto& [key, value] : arguments.named) {
    const bool known =
        key == "caller" || std::find(node.names.begin(), node.names.end(), key) != node.names.end();
    if (!known) fail(str("the macro '", node.text, "' has no parameter '", key, "'"));
    scope.emplace_back(key, value);
  }
  const size_t floor = floor_;
  const int line = line_;
  floor_ = scopes_.size();
  scopes_.push_back(std::move(scope));
  for (size_t i = arguments.plain.size(); i < wanted; ++i) {
    const auto& given = scopes_.back();
    if (std::any_of(given.begin(), given.end(),
                    [&](const auto& item) { return item.first == node.names[i]; }))
      continue;
    Value value = node.kids[i + 1]
                      ? eval(*node.kids[i + 1])
                      : Value::undefined(str("parameter '", node.names[i], "' was not provided"));
    scopes_.back().emplace_back(node.names[i], std::move(value));
  }
  std::string text = capture(*node.kids[0]);
  scopes_.pop_back();
  floor_ = floor;
  line_ = line;
  --depth_;
  return Value::text(std::move(text));
}

void Renderer::exec_call(const Node& node) {
  // The body sees the scopes of this place, although it runs inside the macro.
  const size_t size = scopes_.size(), floor = floor_;
  const Value caller = Value::callable(
      {"caller", [this, &node, size, floor](Arguments& arguments) {
         std::vector<Scope> above(
             std::make_move_iterator(scopes_.begin() + static_cast<std::ptrdiff_t>(size)),
             std::make_move_iterator(scopes_.end()));
         scopes_.resize(size);
         const size_t inner = std::exchange(floor_, floor);
         Scope scope;
         for (size_t i = 0; i < node.names.size() && i < arguments.plain.size(); ++i)
           scope.emplace_back(node.names[i], arguments.plain[i]);
         scopes_.push_back(std::move(scope));
         std::string text = capture(*node.kids[1]);
         scopes_.resize(size);
         for (Scope& one : above) scopes_.push_back(std::move(one));
         floor_ = inner;
         return Value::text(std::move(text));
       }});
  const Node& call_node = *node.kids[0];
  const Value function = eval(*call_node.kids[0]);
  Arguments arguments = eval_arguments(call_node, 1);
  arguments.named.emplace_back("caller", caller);
  write(call(function, arguments).str());
}

Value Renderer::lookup(const std::string& name) {
  const auto search = [&](const Scope& scope) -> const Value* {
    for (auto item = scope.rbegin(); item != scope.rend(); ++item) {
      if (item->first == name) return &item->second;
    }
    return nullptr;
  };
  for (size_t i = scopes_.size(); i-- > floor_;) {
    if (const Value* found = search(scopes_[i])) return *found;
  }
  if (const Value* found = search(scopes_[0])) return *found;
  return global(name);
}

}  // namespace smidgen::tmpl
