// Attributes, items, slices, iteration, membership.
#include <algorithm>
#include <utility>

#include "smidgen/text/template_eval.h"
#include "smidgen/text/template_text.h"
#include "smidgen/text/utf8.h"

namespace smidgen::tmpl {

Value Renderer::get_attribute(const Value& object, const std::string& name) {
  if (object.is_undefined()) fail(str(object.name(), " (its '", name, "' was asked for)"));
  if (object.is_slots()) {
    for (const auto& [key, value] : object.as_slots().items) {
      if (key == name) return value;
    }
    return Value::undefined(str("the namespace has no '", name, "'"));
  }
  if (object.is_loop()) return loop_attribute(object, name);
  // Jinja's order: methods first, then keys.
  const Value found = method_of(*this, object, name);
  if (!found.is_undefined()) return found;
  if (object.is_dict() && found.name().empty()) {
    charge(object.as_dict().size() / 16);
    if (const Value* value = object.find(name)) return *value;
  }
  return found.name().empty() ? Value::undefined(str("a ", object.type(), " without '", name, "'"))
                              : found;
}

Value Renderer::get_item(const Value& object, const Value& index) {
  if (object.is_undefined()) fail(str(object.name(), " (an item of it was asked for)"));
  if (index.is_text()) {
    if (object.is_dict()) {
      charge(object.as_dict().size() / 16);
      if (const Value* value = object.find(index.as_text())) return *value;
    }
    return get_attribute(object, index.as_text());
  }
  if (object.is_dict()) {
    charge(object.as_dict().size() / 16);
    const Value* value = index.hashable() ? object.find(index) : nullptr;
    return value ? *value : Value::undefined(str("a dict has no item ", index.repr()));
  }
  if (index.is_int() || index.is_bool()) {
    const int64_t wanted = index.as_int();
    const auto place = [&](size_t count) {
      const auto size = static_cast<int64_t>(count);
      const int64_t at = wanted < 0 ? wanted + size : wanted;
      return at >= 0 && at < size ? static_cast<size_t>(at) : SIZE_MAX;
    };
    const List* items = object.is_list() || object.is_tuple() ? &object.items() : nullptr;
    if (object.is_view() && object.as_view().kind == View::Kind::range)
      items = &object.as_view().items;
    if (items) {
      if (const size_t at = place(items->size()); at != SIZE_MAX) return (*items)[at];
    } else if (object.is_text()) {
      const List letters = iterate(object);
      if (const size_t at = place(letters.size()); at != SIZE_MAX) return letters[at];
    }
  }
  return Value::undefined(str("a ", object.type(), " has no item ", index.repr()));
}

List Renderer::iterate(const Value& value) {
  if (value.is_undefined()) return {};
  if (value.is_list() || value.is_tuple()) {
    charge(value.items().size());
    return value.items();
  }
  if (value.is_view()) {
    const View& view = value.as_view();
    charge(view.items.size());
    if (view.kind != View::Kind::generator) return view.items;
    List rest(view.items.begin() + static_cast<std::ptrdiff_t>(view.taken), view.items.end());
    view.taken = view.items.size();
    return rest;
  }
  List items;
  if (value.is_dict()) {
    for (const auto& item : value.as_dict()) items.push_back(item.first);
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

int64_t Renderer::length(const Value& value) {
  if (value.is_undefined()) return 0;
  if (value.is_text()) return static_cast<int64_t>(count_characters(value.as_text()));
  if (value.is_list() || value.is_tuple()) return static_cast<int64_t>(value.items().size());
  if (value.is_dict()) return static_cast<int64_t>(value.as_dict().size());
  if (value.is_loop()) return static_cast<int64_t>(value.as_loop().items.size());
  if (value.is_view() && value.as_view().kind != View::Kind::generator)
    return static_cast<int64_t>(value.as_view().items.size());
  fail(value.is_view() ? str("a ", value.str(), " has no length: it needs the filter 'list' first")
                       : str("a ", value.type(), " has no length"));
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
  const bool range = object.is_view() && object.as_view().kind == View::Kind::range;
  if (!object.is_list() && !object.is_tuple() && !object.is_text() && !range)
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
  if (range) unsupported("a slice of a range");
  std::string text;
  for (const Value& item : out) text += item.as_text();
  return object.is_markup() ? Value::markup(std::move(text)) : Value::text(std::move(text));
}

bool Renderer::contains(const Value& container, const Value& item) {
  if (container.is_text()) {
    if (!item.is_text()) fail(str("'in' of a str needs a str, not ", item.type()));
    charge(container.as_text().size() / 16);
    return find_text(container.as_text(), item.as_text()) != std::string::npos;
  }
  if (container.is_dict()) {
    if (!item.hashable()) fail(str("a ", item.type(), " cannot be a key"));
    charge(container.as_dict().size() / 16);
    return container.find(item) != nullptr;
  }
  if (container.is_undefined()) return false;
  if (!container.is_list() && !container.is_tuple() && !container.is_view())
    fail(str("'in' of a ", container.type()));
  if (!container.is_view()) {
    charge(container.size() / 16);
    return std::any_of(container.items().begin(), container.items().end(),
                       [&](const Value& v) { return v.equals(item); });
  }
  const View& view = container.as_view();
  const bool once = view.kind == View::Kind::generator;
  size_t at = once ? view.taken : 0;
  bool found = false;
  while (at < view.items.size() && !found) found = view.items[at++].equals(item);
  charge(at);
  if (once) view.taken = at;
  return found;
}

}  // namespace smidgen::tmpl
