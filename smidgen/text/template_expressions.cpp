// Expressions, but for operators and access to members.
#include <algorithm>
#include <utility>

#include "smidgen/text/template_eval.h"

namespace smidgen::tmpl {

Value Renderer::eval(const Node& node) {
  const Deeper deeper(*this);
  line_ = node.line ? node.line : line_;
  charge(1);
  switch (node.kind) {
    case NodeKind::constant:
      return node.value;
    case NodeKind::variable:
      return lookup(node.text);
    case NodeKind::list:
    case NodeKind::tuple: {
      List items;
      for (const NodePtr& kid : node.kids) items.push_back(eval(*kid));
      return node.kind == NodeKind::list ? Value::list(std::move(items))
                                         : Value::tuple(std::move(items));
    }
    case NodeKind::dict:
      return eval_dict(node);
    case NodeKind::attribute:
      return get_attribute(eval(*node.kids[0]), node.text);
    case NodeKind::item: {
      const Value object = eval(*node.kids[0]);
      return get_item(object, eval(*node.kids[1]));
    }
    case NodeKind::slice:
      return eval_slice(node);
    case NodeKind::call: {
      const Value function = eval(*node.kids[0]);
      Arguments arguments = eval_arguments(node, 1);
      line_ = node.line;
      return call(function, arguments);
    }
    case NodeKind::filter:
    case NodeKind::test: {
      const Value input = eval(*node.kids[0]);
      Arguments arguments = eval_arguments(node, 1);
      line_ = node.line;
      return node.kind == NodeKind::filter
                 ? filter(node.text, input, arguments)
                 : Value::boolean(test(node.text, input, arguments) != node.flag);
    }
    case NodeKind::unary:
      return unary(node.text, eval(*node.kids[0]));
    case NodeKind::binary: {
      const Value a = eval(*node.kids[0]);
      const Value b = eval(*node.kids[1]);
      line_ = node.line;
      return binary(node.text, a, b);
    }
    case NodeKind::compare:
      return eval_compare(node);
    case NodeKind::logic: {
      Value first = eval(*node.kids[0]);
      return first.truthy() == (node.text == "and") ? eval(*node.kids[1]) : first;
    }
    case NodeKind::inline_if:
      if (eval(*node.kids[1]).truthy()) return eval(*node.kids[0]);
      if (node.kids[2]) return eval(*node.kids[2]);
      return Value::undefined("the inline if evaluated to false and no else was given");
    default:
      SMIDGEN_ASSERT(false);
  }
  return {};
}

void put(Renderer& renderer, Dict& items, const Value& key, Value value) {
  if (!key.hashable()) renderer.fail(str("a ", key.type(), " cannot be a key"));
  renderer.charge(items.size() / 16);
  const auto old = std::find_if(items.begin(), items.end(),
                                [&](const auto& item) { return item.first.equals(key); });
  if (old != items.end()) {
    old->second = std::move(value);
  } else {
    items.emplace_back(key, std::move(value));
  }
}

Value Renderer::eval_dict(const Node& node) {
  Dict dict;
  for (size_t i = 0; i < node.kids.size(); i += 2) {
    const Value key = eval(*node.kids[i]);
    Value value = eval(*node.kids[i + 1]);
    put(*this, dict, key, std::move(value));
  }
  return Value::dict(std::move(dict));
}

Arguments Renderer::eval_arguments(const Node& node, size_t first) {
  Arguments out;
  const auto name_one = [&](const std::string& key, Value value) {
    for (const auto& item : out.named) {
      if (item.first == key) fail(str("the keyword '", key, "' is given twice"));
    }
    out.named.emplace_back(key, std::move(value));
  };
  for (size_t i = first; i < node.kids.size(); ++i) {
    const Node& kid = *node.kids[i];
    if (kid.kind != NodeKind::keyword) {
      out.plain.push_back(eval(kid));
      continue;
    }
    Value value = eval(*kid.kids[0]);
    if (kid.text == "*") {
      for (Value& item : iterate(value)) out.plain.push_back(std::move(item));
    } else if (kid.text == "**") {
      if (!value.is_dict()) fail(str("'**' of a ", value.type()));
      for (const auto& [key, item] : value.as_dict()) {
        if (!key.is_text()) fail("'**' of a dict with keys that are no names");
        name_one(key.as_text(), item);
      }
    } else {
      name_one(kid.text, std::move(value));
    }
  }
  return out;
}

Value Renderer::call(const Value& function, Arguments& arguments) {
  if (function.is_undefined()) fail(function.name());
  if (function.is_loop()) {
    const Loop& loop = function.as_loop();
    if (!loop.node->flag || !loop.scope || arguments.plain.size() != 1)
      fail("loop() is called with one list inside of its own `for ... recursive`");
    const Deeper deeper(*this);
    out_.emplace_back();
    {
      const Enter scope(*this, loop.scope);
      run_loop(*loop.node, arguments.plain[0], loop.depth + 1);
    }
    std::string text = std::move(out_.back());
    out_.pop_back();
    return new_text(std::move(text));
  }
  if (!function.is_callable()) fail(str("a ", function.type(), " cannot be called"));
  return function.as_callable().call(arguments);
}

Given::Given(Renderer& renderer, const std::string& what, const Arguments& all,
             const std::vector<const char*>& parameters)
    : renderer_(renderer), what_(what), all_(all), values_(parameters.size(), nullptr) {
  if (parameters.size() == 1 && parameters[0] == std::string("*")) return;
  if (all.plain.size() > parameters.size())
    renderer.fail(
        str(what, " takes ", parameters.empty() ? "no" : str("at most ", parameters.size()),
            parameters.size() == 1 ? " argument" : " arguments", ", not ", all.plain.size()));
  for (size_t i = 0; i < all.plain.size(); ++i) values_[i] = &all.plain[i];
  for (const auto& [key, value] : all.named) {
    const auto at = std::find(parameters.begin(), parameters.end(), key);
    if (at == parameters.end()) renderer.fail(str(what, " has no parameter '", key, "'"));
    const auto place = static_cast<size_t>(at - parameters.begin());
    if (values_[place]) renderer.fail(str(what, " got its parameter '", key, "' twice"));
    values_[place] = &value;
  }
}

int64_t Given::whole(size_t place, int64_t absent) const {
  const Value* value = values_[place];
  if (!value) return absent;
  if (!value->is_int() && !value->is_bool())
    renderer_.fail(str(what_, " takes a whole number, not a ", value->type()));
  return value->as_int();
}

const std::string& Given::text(size_t place) const {
  const Value* value = values_[place];
  if (!value) renderer_.fail(str(what_, " lacks an argument"));
  if (value->is_undefined()) renderer_.fail(value->name());
  if (!value->is_text()) renderer_.fail(str(what_, " takes a str, not a ", value->type()));
  return value->as_text();
}

const std::string* Given::text_or(size_t place, const std::string* none) const {
  return values_[place] && !values_[place]->is_none() ? &text(place) : none;
}

}  // namespace smidgen::tmpl
