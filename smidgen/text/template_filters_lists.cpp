// Filters over many values: choosing, sorting, counting.
#include <algorithm>
#include <utility>

#include "smidgen/text/template_filters.h"
#include "smidgen/text/template_text.h"

namespace smidgen::tmpl {

Value attribute_path(Renderer& renderer, const Value& item, const Value& path,
                     const Value* absent) {
  const auto step = [&](const Value& value, const Value& key) {
    Value found = renderer.get_item(value, key);
    return found.is_undefined() && absent ? *absent : found;
  };
  if (path.is_int()) return step(item, path);
  const std::string dot = ".";
  Value value = item;
  for (const std::string& part : split_text(path.str(), &dot, -1, false)) {
    const bool number = !part.empty() && part.find_first_not_of("0123456789") == std::string::npos;
    value = step(value, number ? Value::integer(std::strtoll(part.c_str(), nullptr, 10))
                               : Value::text(part));
  }
  return value;
}

namespace {

using R = Renderer&;
using V = const Value&;
using G = const Given&;

// jinja2 makes these on demand; here they are made at once, so an error in an item that nobody asks
// for is an error all the same.
Value generator(List items) {
  return Value::view({View::Kind::generator, "<generator object>", std::move(items)});
}

// What map and select walk: none and 0 are fine there.
List falsy_is_empty(R r, V v) {
  return v.truthy() ? r.iterate(v) : List{};
}

Value folded(V value, bool exact) {
  return value.is_text() && !exact ? Value::text(lower(value.as_text())) : value;
}

Value joined(R r, V v, G given) {
  const std::string between = given[0] ? given[0]->str() : "";
  std::string out;
  bool first = true;
  for (const Value& item : r.iterate(v)) {
    if (!std::exchange(first, false)) out += between;
    out += (given[1] && !given[1]->is_none() ? attribute_path(r, item, *given[1]) : item).str();
    r.check_size(out.size());
  }
  return r.new_text(std::move(out));
}

Value choose(R r, V v, G given, bool by_attribute, bool keep) {
  const List& plain = given.all().plain;
  const size_t first = by_attribute ? 1 : 0;
  if (plain.size() < first) r.fail("selectattr and rejectattr take an attribute");
  Arguments rest;
  if (plain.size() > first)
    rest.plain.assign(plain.begin() + static_cast<std::ptrdiff_t>(first) + 1, plain.end());
  rest.named = given.all().named;
  List out;
  for (const Value& item : falsy_is_empty(r, v)) {
    const Value value = by_attribute ? attribute_path(r, item, plain[0]) : item;
    const bool holds =
        plain.size() > first ? r.test(plain[first].str(), value, rest) : value.truthy();
    if (holds == keep) out.push_back(item);
  }
  return generator(std::move(out));
}

Value map(R r, V v, G given) {
  const Arguments& all = given.all();
  List out;
  if (all.plain.empty()) {
    const Value *attribute = nullptr, *absent = nullptr;
    for (const auto& [key, value] : all.named) {
      if (key == "attribute") attribute = &value;
      if (key == "default") absent = &value;
      if (key != "attribute" && key != "default") r.fail(str("map has no parameter '", key, "'"));
    }
    if (!attribute) r.fail("map takes a filter or attribute=...");
    for (const Value& item : falsy_is_empty(r, v)) {
      out.push_back(attribute_path(r, item, *attribute, absent));
    }
    return generator(std::move(out));
  }
  Arguments rest;
  rest.plain.assign(all.plain.begin() + 1, all.plain.end());
  rest.named = all.named;
  for (const Value& item : falsy_is_empty(r, v)) {
    Arguments arguments = rest;
    out.push_back(r.filter(all.plain[0].str(), item, arguments));
  }
  return generator(std::move(out));
}

// The items by the keys of `attributes`, a comma between one and the next.
void sort_by(R r, List& items, const Value* attributes, bool exact, bool down) {
  const std::string comma = ",";
  std::vector<std::pair<Value, Value>> rows;
  for (Value& item : items) {
    List keys;
    if (attributes && attributes->is_text()) {
      for (const std::string& path : split_text(attributes->as_text(), &comma, -1, false))
        keys.push_back(folded(attribute_path(r, item, Value::text(path)), exact));
    } else {
      keys.push_back(
          folded(attributes && !attributes->is_none() ? attribute_path(r, item, *attributes) : item,
                 exact));
    }
    rows.emplace_back(Value::list(std::move(keys)), std::move(item));
  }
  std::stable_sort(rows.begin(), rows.end(), [&](const auto& a, const auto& b) {
    r.charge(1);
    return down ? r.less(b.first, a.first) : r.less(a.first, b.first);
  });
  items.clear();
  for (auto& row : rows) items.push_back(std::move(row.second));
}

Value sorted(R r, V v, G given) {
  List items = r.iterate(v);
  sort_by(r, items, given[2], given.truthy(1), given.truthy(0));
  return Value::list(std::move(items));
}

Value dictsort(R r, V v, G given) {
  if (v.is_undefined()) r.fail(v.name());
  if (!v.is_dict()) r.fail(str("dictsort of a ", v.type()));
  List items;
  for (const auto& [key, value] : v.as_dict()) items.push_back(Value::tuple({key, value}));
  static const std::string key = "key";
  const std::string& by = given[1] ? given.text(1) : key;
  if (by != "key" && by != "value") r.fail("dictsort sorts by 'key' or 'value'");
  const Value place = Value::integer(by == "value" ? 1 : 0);
  sort_by(r, items, &place, given.truthy(0), given.truthy(2));
  return Value::list(std::move(items));
}

Value unique(R r, V v, G given) {
  List out, keys;
  const bool by = given[1] && !given[1]->is_none();
  for (const Value& item : r.iterate(v)) {
    Value key = folded(by ? attribute_path(r, item, *given[1]) : item, given.truthy(0));
    if (!key.hashable()) r.fail(str("unique of a ", key.type()));
    r.charge(keys.size());
    if (std::any_of(keys.begin(), keys.end(), [&](V old) { return old.equals(key); })) continue;
    out.push_back(item);
    keys.push_back(std::move(key));
  }
  return generator(std::move(out));
}

Value extreme(R r, V v, G given, bool most) {
  const bool by = given[1] && !given[1]->is_none();
  Value best = Value::undefined("no item, the list is empty"), best_key;
  bool first = true;
  for (const Value& item : r.iterate(v)) {
    const Value key = folded(by ? attribute_path(r, item, *given[1]) : item, given.truthy(0));
    if (first || (most ? r.less(best_key, key) : r.less(key, best_key))) {
      best = item;
      best_key = key;
    }
    first = false;
  }
  return best;
}

Value sum(R r, V v, G given) {
  Value total = given[1] ? *given[1] : Value::integer(0);
  for (const Value& item : r.iterate(v)) {
    const Value part = given[0] && !given[0]->is_none() ? attribute_path(r, item, *given[0]) : item;
    if (total.is_text() || part.is_text()) r.fail("sum of str");
    total = r.binary("+", total, part);
  }
  return total;
}

Value first(R r, V v, G) {
  if (v.is_view() && v.as_view().kind == View::Kind::generator) {
    const View& view = v.as_view();
    if (view.taken < view.items.size()) return view.items[view.taken++];
    return Value::undefined("no first item, the list is empty");
  }
  const List items = r.iterate(v);
  return items.empty() ? Value::undefined("no first item, the list is empty") : items.front();
}

Value last(R r, V v, G) {
  if (v.is_view() && v.as_view().kind == View::Kind::generator)
    r.fail("last of a generator: it needs the filter 'list' first");
  const List items = r.iterate(v);
  return items.empty() ? Value::undefined("no last item, the list is empty") : items.back();
}

Value reversed(R r, V v, G) {
  List items = r.iterate(v);
  std::reverse(items.begin(), items.end());
  if (!v.is_text()) return generator(std::move(items));
  std::string text;
  for (const Value& item : items) text += item.as_text();
  return r.new_text(std::move(text));
}

Value items_of(R r, V v, G) {
  if (v.is_undefined()) return generator({});
  if (!v.is_dict()) r.fail(str("items of a ", v.type()));
  List out;
  for (const auto& [key, value] : v.as_dict()) out.push_back(Value::tuple({key, value}));
  return generator(std::move(out));
}

Value batch(R r, V v, G given) {
  const int64_t size = given.whole(0, 0);
  if (size < 1) r.fail("batch takes a size of at least 1");
  List out, row;
  for (const Value& item : r.iterate(v)) {
    if (static_cast<int64_t>(row.size()) == size)
      out.push_back(Value::list(std::exchange(row, {})));
    row.push_back(item);
  }
  if (!row.empty()) {
    if (given[1] && !given[1]->is_none()) {
      r.charge(static_cast<size_t>(size));
      row.resize(static_cast<size_t>(size), *given[1]);
    }
    out.push_back(Value::list(std::move(row)));
  }
  return generator(std::move(out));
}

Value attribute(R r, V v, G given) {
  if (v.is_undefined()) r.fail(v.name());
  if (v.is_slots()) return r.get_attribute(v, given.text(0));
  const Value found = method_of(r, v, given.text(0));
  return found.is_undefined()
             ? Value::undefined(str("a ", v.type(), " without '", given.text(0), "'"))
             : found;
}

}  // namespace

const std::vector<Filter>& list_filters() {
  static const std::vector<Filter> table = {
      {"length", {}, [](R r, V v, G) { return Value::integer(r.length(v)); }},
      {"count", {}, [](R r, V v, G) { return Value::integer(r.length(v)); }},
      {"list", {}, [](R r, V v, G) { return Value::list(r.iterate(v)); }},
      {"first", {}, first},
      {"last", {}, last},
      {"reverse", {}, reversed},
      {"join", {"d", "attribute"}, joined},
      {"items", {}, items_of},
      {"map", {"*"}, map},
      {"select", {"*"}, [](R r, V v, G g) { return choose(r, v, g, false, true); }},
      {"reject", {"*"}, [](R r, V v, G g) { return choose(r, v, g, false, false); }},
      {"selectattr", {"*"}, [](R r, V v, G g) { return choose(r, v, g, true, true); }},
      {"rejectattr", {"*"}, [](R r, V v, G g) { return choose(r, v, g, true, false); }},
      {"sort", {"reverse", "case_sensitive", "attribute"}, sorted},
      {"dictsort", {"case_sensitive", "by", "reverse"}, dictsort},
      {"unique", {"case_sensitive", "attribute"}, unique},
      {"min",
       {"case_sensitive", "attribute"},
       [](R r, V v, G g) { return extreme(r, v, g, false); }},
      {"max",
       {"case_sensitive", "attribute"},
       [](R r, V v, G g) { return extreme(r, v, g, true); }},
      {"sum", {"attribute", "start"}, sum},
      {"batch", {"linecount", "fill_with"}, batch},
      {"attr", {"name"}, attribute},
  };
  return table;
}

}  // namespace smidgen::tmpl
