// Expressions, but for operators and access to members.
#include <algorithm>
#include <utility>

#include "smidgen/text/template_eval.h"

namespace smidgen::tmpl {

const Value* argument(const Arguments& arguments, size_t place, const std::string& name) {
  if (place < arguments.plain.size()) return &arguments.plain[place];
  for (const auto& [key, value] : arguments.named) {
    if (key == name) return &value;
  }
  return nullptr;
}

Value Renderer::eval(const Node& node) {
  if (++depth_ > kMaxDepth) fail("too deeply nested", ErrorKind::resource);
  line_ = node.line ? node.line : line_;
  charge(1);
  Value out;
  switch (node.kind) {
    case NodeKind::constant:
      out = node.value;
      break;
    case NodeKind::variable:
      out = lookup(node.text);
      break;
    case NodeKind::list:
    case NodeKind::tuple:
    case NodeKind::dict:
      out = eval_collection(node);
      break;
    case NodeKind::attribute:
      out = get_attribute(eval(*node.kids[0]), node.text);
      break;
    case NodeKind::item: {
      const Value object = eval(*node.kids[0]);
      out = get_item(object, eval(*node.kids[1]));
      break;
    }
    case NodeKind::slice:
      out = eval_slice(node);
      break;
    case NodeKind::call: {
      const Value function = eval(*node.kids[0]);
      Arguments arguments = eval_arguments(node, 1);
      out = call(function, arguments);
      break;
    }
    case NodeKind::filter:
    case NodeKind::test: {
      const Value input = eval(*node.kids[0]);
      Arguments arguments = eval_arguments(node, 1);
      line_ = node.line;
      out = node.kind == NodeKind::filter
                ? filter(node.text, input, arguments)
                : Value::boolean(test(node.text, input, arguments) != node.flag);
      break;
    }
    case NodeKind::unary:
      out = eval_unary(node);
      break;
    case NodeKind::binary:
      out = eval_binary(node);
      break;
    case NodeKind::compare:
      out = eval_compare(node);
      break;
    case NodeKind::logic: {
      out = eval(*node.kids[0]);
      if (out.truthy() == (node.text == "and")) out = eval(*node.kids[1]);
      break;
    }
    case NodeKind::inline_if:
      if (eval(*node.kids[1]).truthy()) {
        out = eval(*node.kids[0]);
      } else if (node.kids[2]) {
        out = eval(*node.kids[2]);
      } else {
        out = Value::undefined("the inline if evaluated to false and no else was given");
      }
      break;
    default:
      SMIDGEN_ASSERT(false);
  }
  --depth_;
  return out;
}

Arguments Renderer::eval_arguments(const Node& node, size_t first) {
  Arguments out;
  for (size_t i = first; i < node.kids.size(); ++i) {
    if (node.kids[i]->kind == NodeKind::keyword) {
      out.named.emplace_back(node.kids[i]->text, eval(*node.kids[i]->kids[0]));
    } else {
      out.plain.push_back(eval(*node.kids[i]));
    }
  }
  return out;
}

Value Renderer::call(const Value& function, Arguments& arguments) {
  if (function.is_undefined()) fail(function.name());
  if (!function.is_callable()) fail(str("a ", function.type(), " cannot be called"));
  return function.as_callable().call(arguments);
}

Value Renderer::eval_collection(const Node& node) {
  List items;
  for (const NodePtr& kid : node.kids) items.push_back(eval(*kid));
  if (node.kind == NodeKind::list) return Value::list(std::move(items));
  if (node.kind == NodeKind::tuple) return Value::tuple(std::move(items));
  Dict dict;
  for (size_t i = 0; i < items.size(); i += 2) {
    if (!items[i].is_text())
      fail(str("a dict with a key of type ", items[i].type()), ErrorKind::unsupported);
    const auto old = std::find_if(dict.begin(), dict.end(), [&](const auto& item) {
      return item.first == items[i].as_text();
    });
    if (old != dict.end()) {
      old->second = items[i + 1];
    } else {
      dict.emplace_back(items[i].as_text(), items[i + 1]);
    }
  }
  return Value::dict(std::move(dict));
}

}  // namespace smidgen::tmpl
