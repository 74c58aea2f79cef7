// Methods of strings and dicts, as Python has them.
#include <algorithm>
#include <utility>

#include "smidgen/text/characters.h"
#include "smidgen/text/template_eval.h"
#include "smidgen/text/template_text.h"
#include "smidgen/text/utf8.h"

namespace smidgen::tmpl {
namespace {

using Method = Value (*)(Renderer&, const Value&, Arguments&);

const std::string& text_argument(Renderer& renderer, const Arguments& arguments, size_t place,
                                 const char* name) {
  const Value* value = argument(arguments, place, name);
  if (!value || !value->is_text())
    renderer.fail(str("a string method needs the str argument '", name, "'"));
  return value->as_text();
}

Value strip(Renderer& renderer, const Value& self, Arguments& arguments, bool left, bool right) {
  const Value* set = argument(arguments, 0, "chars");
  if (set && !set->is_none() && !set->is_text()) renderer.fail("strip() takes a str");
  return Value::text(
      stripped(self.as_text(), set && set->is_text() ? &set->as_text() : nullptr, left, right));
}

Value starts_or_ends(Renderer& renderer, const Value& self, Arguments& arguments, bool start) {
  const Value* with = argument(arguments, 0, "prefix");
  const auto one = [&](const Value& value) {
    if (!value.is_text())
      renderer.fail("startswith() and endswith() take a str or a tuple of them");
    return start ? self.as_text().starts_with(value.as_text())
                 : self.as_text().ends_with(value.as_text());
  };
  if (!with) renderer.fail("startswith() and endswith() take a str");
  if (!with->is_tuple()) return Value::boolean(one(*with));
  return Value::boolean(std::any_of(with->items().begin(), with->items().end(), one));
}

Value split(Renderer& renderer, const Value& self, Arguments& arguments, bool from_right) {
  const Value* separator = argument(arguments, 0, "sep");
  const Value* most = argument(arguments, 1, "maxsplit");
  if (most && !most->is_int()) renderer.fail("split() takes a whole number as maxsplit");
  const int64_t limit = most ? most->as_int() : -1;
  const std::string* with = separator && separator->is_text() ? &separator->as_text() : nullptr;
  if (separator && !with && !separator->is_none()) renderer.fail("split() takes a str");
  if (with && with->empty()) renderer.fail("split() with an empty separator");
  List parts;
  for (std::string& part : split_text(self.as_text(), with, limit, from_right))
    parts.push_back(Value::text(std::move(part)));
  renderer.charge(parts.size() + self.as_text().size() / 16);
  return Value::list(std::move(parts));
}

Value replace(Renderer& renderer, const Value& self, Arguments& arguments) {
  const Value* count = argument(arguments, 2, "count");
  std::string out = replaced(self.as_text(), text_argument(renderer, arguments, 0, "old"),
                             text_argument(renderer, arguments, 1, "new"),
                             count && count->is_int() ? count->as_int() : -1,
                             [&](size_t size) { renderer.check_size(size); });
  renderer.charge(out.size() / 16);
  return Value::text(std::move(out));
}

Value find(Renderer& renderer, const Value& self, Arguments& arguments) {
  const size_t at = self.as_text().find(text_argument(renderer, arguments, 0, "sub"));
  if (at == std::string::npos) return Value::integer(-1);
  return Value::integer(static_cast<int64_t>(count_characters(self.as_text().substr(0, at))));
}

Value count(Renderer& renderer, const Value& self, Arguments& arguments) {
  const std::string& part = text_argument(renderer, arguments, 0, "sub");
  if (part.empty())
    return Value::integer(static_cast<int64_t>(count_characters(self.as_text())) + 1);
  int64_t found = 0;
  for (size_t at = 0; (at = self.as_text().find(part, at)) != std::string::npos; at += part.size())
    ++found;
  return Value::integer(found);
}

Value join_list(Renderer& renderer, const Value& self, Arguments& arguments) {
  std::string out;
  bool first = true;
  if (arguments.plain.size() != 1) renderer.fail("join() takes a list");
  for (const Value& item : renderer.iterate(arguments.plain[0])) {
    if (!item.is_text()) renderer.fail(str("join() of a ", item.type()));
    if (!std::exchange(first, false)) out += self.as_text();
    out += item.as_text();
    renderer.check_size(out.size());
  }
  return Value::text(std::move(out));
}

Value dict_items(Renderer&, const Value& self, Arguments&) {
  List out;
  for (const auto& [key, value] : self.as_dict())
    out.push_back(Value::tuple({Value::text(key), value}));
  return Value::list(std::move(out));
}

Value dict_get(Renderer& renderer, const Value& self, Arguments& arguments) {
  if (arguments.plain.empty()) renderer.fail("get() takes a key");
  const Value* found =
      arguments.plain[0].is_text() ? self.find(arguments.plain[0].as_text()) : nullptr;
  if (found) return *found;
  const Value* absent = argument(arguments, 1, "default");
  return absent ? *absent : Value::none();
}

const std::vector<std::pair<const char*, Method>>& text_methods() {
  static const std::vector<std::pair<const char*, Method>> table = {
      {"strip",
       [](Renderer& r, const Value& s, Arguments& a) { return strip(r, s, a, true, true); }},
      {"lstrip",
       [](Renderer& r, const Value& s, Arguments& a) { return strip(r, s, a, true, false); }},
      {"rstrip",
       [](Renderer& r, const Value& s, Arguments& a) { return strip(r, s, a, false, true); }},
      {"startswith",
       [](Renderer& r, const Value& s, Arguments& a) { return starts_or_ends(r, s, a, true); }},
      {"endswith",
       [](Renderer& r, const Value& s, Arguments& a) { return starts_or_ends(r, s, a, false); }},
      {"split", [](Renderer& r, const Value& s, Arguments& a) { return split(r, s, a, false); }},
      {"rsplit", [](Renderer& r, const Value& s, Arguments& a) { return split(r, s, a, true); }},
      {"splitlines",
       [](Renderer&, const Value& s, Arguments&) {
         List out;
         for (std::string& line : lines_of(s.as_text()))
           out.push_back(Value::text(std::move(line)));
         return Value::list(std::move(out));
       }},
      {"replace", replace},
      {"find", find},
      {"count", count},
      {"join", join_list},
      {"upper",
       [](Renderer&, const Value& s, Arguments&) { return Value::text(upper(s.as_text())); }},
      {"lower",
       [](Renderer&, const Value& s, Arguments&) { return Value::text(lower(s.as_text())); }},
      {"capitalize",
       [](Renderer&, const Value& s, Arguments&) { return Value::text(capitalized(s.as_text())); }},
      {"title",
       [](Renderer&, const Value& s, Arguments&) { return Value::text(titled(s.as_text())); }},
      {"isdigit",
       [](Renderer&, const Value& s, Arguments&) {
         return Value::boolean(!s.as_text().empty() &&
                               std::all_of(s.as_text().begin(), s.as_text().end(),
                                           [](char c) { return c >= '0' && c <= '9'; }));
       }},
      {"isspace",
       [](Renderer&, const Value& s, Arguments&) {
         return Value::boolean(!s.as_text().empty() &&
                               leading_space(s.as_text()) == s.as_text().size());
       }},
  };
  return table;
}

const std::vector<std::pair<const char*, Method>>& dict_methods() {
  static const std::vector<std::pair<const char*, Method>> table = {
      {"items", dict_items},
      {"get", dict_get},
      {"keys", [](Renderer& r, const Value& s, Arguments&) { return Value::list(r.iterate(s)); }},
      {"values",
       [](Renderer&, const Value& s, Arguments&) {
         List out;
         for (const auto& item : s.as_dict()) out.push_back(item.second);
         return Value::list(std::move(out));
       }},
  };
  return table;
}

bool changes_its_object(const std::string& name) {
  for (const char* known : {"append", "extend", "insert", "pop", "remove", "clear", "update",
                            "setdefault", "popitem", "sort", "reverse"}) {
    if (name == known) return true;
  }
  return false;
}

}  // namespace

Value method_of(Renderer& renderer, const Value& object, const std::string& name) {
  const std::vector<std::pair<const char*, Method>>* table = nullptr;
  if (object.is_text()) table = &text_methods();
  if (object.is_dict()) table = &dict_methods();
  if ((object.is_list() || (object.is_dict() && !object.find(name))) && changes_its_object(name))
    renderer.fail(str("'", name, "' changes a ", object.type(),
                      ", which the sandbox of transformers forbids"),
                  ErrorKind::unsupported);
  if (!table) return {};
  for (const auto& [key, method] : *table) {
    if (name != key) continue;
    return Value::callable({name, [&renderer, object, method = method](Arguments& a) {
                              return method(renderer, object, a);
                            }});
  }
  return {};
}

}  // namespace smidgen::tmpl
