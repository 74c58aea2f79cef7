// Attributes, items, slices, iteration, membership.
#include <algorithm>
#include <utility>

#include "smidgen/text/template_eval.h"
#include "smidgen/text/utf8.h"

namespace smidgen::tmpl {

Value Renderer::get_attribute(const Value& object, const std::string& name) {
  if (object.is_undefined()) fail(str(object.name(), " (its '", name, "' was asked for)"));
  if (object.is_slots()) {
    for (const auto& [key, value] : object.as_slots().items) {
      if (key == name) return value;
    }
    return Value::undefined(str("the ", object.as_slots().what, " has no '", name, "'"));
  }
  // Jinja's order: methods first, then keys.
  const Value found = method_of(*this, object, name);
  if (!found.is_undefined()) return found;
  if (object.is_dict()) {
    if (const Value* value = object.find(name)) return *value;
  }
  return Value::undefined(str("a ", object.type(), " without '", name, "'"));
}

Value Renderer::get_item(const Value& object, const Value& index) {
  if (object.is_undefined()) fail(str(object.name(), " (an item of it was asked for)"));
  if (object.is_dict() && index.is_text()) {
    if (const Value* value = object.find(index.as_text())) return *value;
    return get_attribute(object, index.as_text());
  }
  if (index.is_text()) return get_attribute(object, index.as_text());
  if ((object.is_list() || object.is_tuple() || object.is_text()) &&
      (index.is_int() || index.is_bool())) {
    const List items = object.is_text() ? iterate(object) : object.items();
    const auto size = static_cast<int64_t>(items.size());
    const int64_t at = index.as_int() < 0 ? index.as_int() + size : index.as_int();
    if (at >= 0 && at < size) return items[static_cast<size_t>(at)];
  }
  return Value::undefined(str("a ", object.type(), " has no item ", index.repr()));
}

List Renderer::iterate(const Value& value) {
  if (value.is_undefined()) return {};
  if (value.is_list() || value.is_tuple()) {
    charge(value.items().size());
    return value.items();
  }
  List items;
  if (value.is_dict()) {
    for (const auto& item : value.as_dict()) items.push_back(Value::text(item.first));
  } else if (value.is_text()) {
    const std::string& text = value.as_text();
    charge(text.size());
    for (size_t at = 0; at < text.size();) {
      const size_t length = utf8_step(std::string_view(text).substr(at)).length;
      items.push_back(Value::text(text.substr(at, length)));
      at += length;
    }
  } else {
    fail(str("a ", value.type(), " is not a list"));
  }
  charge(items.size());
  return items;
}

Value Renderer::eval_slice(const Node& node) {
  const Value object = eval(*node.kids[0]);
  int64_t part[3];
  bool given[3];
  for (size_t i = 0; i < 3; ++i) {
    const Value value = node.kids[i + 1] ? eval(*node.kids[i + 1]) : Value::none();
    given[i] = !value.is_none();
    if (given[i] && !value.is_int() && !value.is_bool())
      fail(str("a ", value.type(), " as the bound of a slice"));
    part[i] = given[i] ? value.as_int() : 0;
  }
  if (object.is_undefined()) fail(object.name());
  if (!object.is_list() && !object.is_tuple() && !object.is_text())
    fail(str("a slice of a ", object.type()));
  const int64_t step = given[2] ? part[2] : 1;
  if (step == 0) fail("a slice with step 0");
  const List items = iterate(object);
  const auto size = static_cast<int64_t>(items.size());
  const auto clamp = [&](int64_t value) {
    if (value < 0) value = value < -size ? -1 : value + size;
    if (value < 0) return step < 0 ? int64_t{-1} : int64_t{0};
    return std::min(value, step < 0 ? size - 1 : size);
  };
  const int64_t from = given[0] ? clamp(part[0]) : step > 0 ? 0 : size - 1;
  const int64_t to = given[1] ? clamp(part[1]) : step > 0 ? size : -1;
  List out;
  for (__int128 i = from; step > 0 ? i < to : i > to; i += step)
    out.push_back(items[static_cast<size_t>(i)]);
  if (object.is_list()) return Value::list(std::move(out));
  if (object.is_tuple()) return Value::tuple(std::move(out));
  std::string text;
  for (const Value& item : out) text += item.as_text();
  return Value::text(std::move(text));
}

bool Renderer::contains(const Value& container, const Value& item) {
  if (container.is_undefined()) return false;
  if (container.is_text()) {
    if (!item.is_text()) fail(str("'in' of a str needs a str, not ", item.type()));
    charge(container.as_text().size() / 16);
    return container.as_text().find(item.as_text()) != std::string::npos;
  }
  if (container.is_dict()) return item.is_text() && container.find(item.as_text());
  if (!container.is_list() && !container.is_tuple()) fail(str("'in' of a ", container.type()));
  charge(container.items().size());
  return std::any_of(container.items().begin(), container.items().end(),
                     [&](const Value& v) { return v.equals(item); });
}

}  // namespace smidgen::tmpl
