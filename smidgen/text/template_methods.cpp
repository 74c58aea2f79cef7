// Methods of strings, lists, tuples and dicts, as Python has them.
#include <algorithm>
#include <utility>

#include "smidgen/text/characters.h"
#include "smidgen/text/template_eval.h"
#include "smidgen/text/template_format.h"
#include "smidgen/text/template_text.h"
#include "smidgen/text/utf8.h"

namespace smidgen::tmpl {
namespace {

using R = Renderer&;
using S = const std::string&;
using G = const Given&;

struct Method {
  const char* name;
  std::vector<const char*> parameters;
  Value (*call)(R, S, G);
};

// The part of `text` that the arguments `start` and `end`, in characters, leave; where it begins in
// `skipped`.
std::string window(R r, S text, G given, size_t start, size_t& skipped, bool& beyond) {
  skipped = 0;
  beyond = false;
  const auto bound = [&](size_t place, int64_t absent, int64_t size) {
    const Value* value = given[place];
    int64_t at = !value || value->is_none() ? absent : given.whole(place, absent);
    if (at < 0) at = std::max<int64_t>(0, at + size);
    return at;
  };
  if (!given[start] && !given[start + 1]) return text;
  r.charge(text.size() / 16);
  const auto size = static_cast<int64_t>(count_characters(text));
  const int64_t from = bound(start, 0, size);
  const int64_t to = std::min(size, bound(start + 1, size, size));
  beyond = from > size || from > to;
  if (from >= to) {
    skipped = static_cast<size_t>(std::min(from, size));
    return "";
  }
  std::string out;
  int64_t at = 0;
  for (size_t byte = 0; byte < text.size(); ++at) {
    const size_t length = utf8_step(std::string_view(text).substr(byte)).length;
    if (at >= from && at < to) out += text.substr(byte, length);
    byte += length;
  }
  skipped = static_cast<size_t>(from);
  return out;
}

Value strip(R r, S self, G given, bool left, bool right) {
  r.charge(self.size() / 64);
  return Value::text(stripped(self, given.text_or(0, nullptr), left, right));
}

Value starts_or_ends(R r, S self, G given, bool start) {
  size_t skipped;
  bool beyond;
  const std::string text = window(r, self, given, 1, skipped, beyond);
  const auto one = [&](const Value& value) {
    if (value.is_undefined()) r.fail(value.name());
    if (!value.is_text())
      r.fail(
          str("startswith() and endswith() take a str or a tuple of them, not a ", value.type()));
    return !beyond && (start ? text.starts_with(value.as_text()) : text.ends_with(value.as_text()));
  };
  if (!given[0]) r.fail("startswith() and endswith() take a str");
  if (!given[0]->is_tuple()) return Value::boolean(one(*given[0]));
  return Value::boolean(std::any_of(given[0]->items().begin(), given[0]->items().end(), one));
}

Value texts(R r, std::vector<std::string> parts) {
  List out;
  for (std::string& part : parts) out.push_back(Value::text(std::move(part)));
  r.charge(out.size());
  return Value::list(std::move(out));
}

Value split(R r, S self, G given, bool from_right) {
  const std::string* with = given.text_or(0, nullptr);
  if (with && with->empty()) r.fail("split() with an empty separator");
  r.charge(self.size() / 16);
  return texts(r, split_text(self, with, given.whole(1, -1), from_right));
}

Value partition(R r, S self, G given, bool last) {
  const std::string& with = given.text(0);
  if (with.empty()) r.fail("partition() with an empty separator");
  r.charge(self.size() / 16);
  const size_t at = last ? find_last_text(self, with) : find_text(self, with);
  if (at == std::string::npos)
    return Value::tuple(
        {Value::text(last ? "" : self), Value::text(""), Value::text(last ? self : "")});
  return Value::tuple({Value::text(self.substr(0, at)), Value::text(with),
                       Value::text(self.substr(at + with.size()))});
}

Value replace(R r, S self, G given) {
  std::string out = replaced(self, given.text(0), given.text(1), given.whole(2, -1),
                             [&](size_t size) { r.check_size(size); });
  r.charge(self.size() / 64);
  return r.new_text(std::move(out));
}

Value find(R r, S self, G given, bool last, bool must) {
  size_t skipped;
  bool beyond;
  const std::string text = window(r, self, given, 1, skipped, beyond);
  r.charge(text.size() / 16);
  const size_t at = last ? find_last_text(text, given.text(0)) : find_text(text, given.text(0));
  if (at == std::string::npos || beyond) {
    if (must) r.fail("index() of a text that is not there");
    return Value::integer(-1);
  }
  return Value::integer(static_cast<int64_t>(skipped + count_characters(text.substr(0, at))));
}

Value count(R r, S self, G given) {
  size_t skipped;
  bool beyond;
  const std::string text = window(r, self, given, 1, skipped, beyond), part = given.text(0);
  r.charge(text.size() / 16);
  if (beyond) return Value::integer(0);
  if (part.empty()) return Value::integer(static_cast<int64_t>(count_characters(text)) + 1);
  int64_t found = 0;
  for (size_t at = 0; (at = find_text(text, part, at)) != std::string::npos; at += part.size())
    ++found;
  return Value::integer(found);
}

Value join_texts(R r, S self, G given) {
  if (!given[0]) r.fail("join() takes a list");
  std::string out;
  bool first = true;
  for (const Value& item : r.iterate(*given[0])) {
    if (!item.is_text()) r.fail(str("join() of a ", item.type()));
    if (!std::exchange(first, false)) out += self;
    out += item.as_text();
    r.check_size(out.size());
  }
  return r.new_text(std::move(out));
}

Value justify(R r, S self, G given, char where) {
  const int64_t width = given.whole(0, 0);
  const std::string space = " ";
  const std::string fill = *given.text_or(1, &space);
  if (count_characters(fill) != 1) r.fail("a fill that is not one character");
  const auto used = static_cast<int64_t>(count_characters(self));
  const auto missing = static_cast<size_t>(std::max<int64_t>(0, width - used));
  r.check_size(missing * fill.size());
  // str.center puts the odd one to the left only where the width is odd.
  const size_t left = where == 'l'   ? 0
                      : where == 'r' ? missing
                                     : missing / 2 + (missing & static_cast<size_t>(width) & 1);
  std::string out;
  for (size_t i = 0; i < left; ++i) out += fill;
  out += self;
  for (size_t i = left; i < missing; ++i) out += fill;
  return r.new_text(std::move(out));
}

Value zero_fill(R r, S self, G given) {
  const auto used = static_cast<int64_t>(count_characters(self));
  const int64_t missing = std::max<int64_t>(0, given.whole(0, 0) - used);
  r.check_size(static_cast<size_t>(missing));
  const size_t sign = !self.empty() && (self[0] == '-' || self[0] == '+') ? 1 : 0;
  return r.new_text(self.substr(0, sign) + std::string(static_cast<size_t>(missing), '0') +
                    self.substr(sign));
}

Value tabs(R r, S self, G given) {
  const int64_t size = given.whole(0, 8);
  std::string out;
  int64_t column = 0;
  for (const char c : self) {
    if (c == '\t') {
      const int64_t add = size > 0 ? size - column % size : 0;
      r.check_size(out.size() + static_cast<size_t>(add));
      out.append(static_cast<size_t>(add), ' ');
      column += add;
    } else {
      out += c;
      if (!is_utf8_continuation(c)) ++column;
      if (c == '\n' || c == '\r') column = 0;
    }
  }
  return r.new_text(std::move(out));
}

template <std::string (*function)(const std::string&)>
Value cased(R r, S self, G) {
  r.charge(self.size() / 16);
  return r.new_text(function(self));
}

template <bool (*test)(const std::string&)>
Value tested(R r, S self, G) {
  r.charge(self.size() / 16);
  return Value::boolean(test(self));
}

template <bool (*test)(uint32_t), bool empty = false>
Value every(R r, S self, G) {
  r.charge(self.size() / 16);
  return Value::boolean(all_characters(self, test, empty));
}

bool is_alphanumeric(uint32_t code) {
  return is_alphabetic(code) || is_numeric(code) || is_digit(code);
}
bool is_ascii(uint32_t code) {
  return code < 0x80;
}

Value not_here(R r, S, G) {
  r.unsupported("this method of str");
}

const std::vector<Method>& text_methods() {
  static const std::vector<Method> table = {
      {"strip", {"chars"}, [](R r, S s, G g) { return strip(r, s, g, true, true); }},
      {"lstrip", {"chars"}, [](R r, S s, G g) { return strip(r, s, g, true, false); }},
      {"rstrip", {"chars"}, [](R r, S s, G g) { return strip(r, s, g, false, true); }},
      {"startswith",
       {"prefix", "start", "end"},
       [](R r, S s, G g) { return starts_or_ends(r, s, g, true); }},
      {"endswith",
       {"suffix", "start", "end"},
       [](R r, S s, G g) { return starts_or_ends(r, s, g, false); }},
      {"split", {"sep", "maxsplit"}, [](R r, S s, G g) { return split(r, s, g, false); }},
      {"rsplit", {"sep", "maxsplit"}, [](R r, S s, G g) { return split(r, s, g, true); }},
      {"splitlines",
       {"keepends"},
       [](R r, S s, G g) { return texts(r, lines_of(s, g.truthy(0))); }},
      {"partition", {"sep"}, [](R r, S s, G g) { return partition(r, s, g, false); }},
      {"rpartition", {"sep"}, [](R r, S s, G g) { return partition(r, s, g, true); }},
      {"replace", {"old", "new", "count"}, replace},
      {"removeprefix",
       {"prefix"},
       [](R, S s, G g) {
         return Value::text(s.starts_with(g.text(0)) ? s.substr(g.text(0).size()) : s);
       }},
      {"removesuffix",
       {"suffix"},
       [](R, S s, G g) {
         return Value::text(s.ends_with(g.text(0)) ? s.substr(0, s.size() - g.text(0).size()) : s);
       }},
      {"find", {"sub", "start", "end"}, [](R r, S s, G g) { return find(r, s, g, false, false); }},
      {"rfind", {"sub", "start", "end"}, [](R r, S s, G g) { return find(r, s, g, true, false); }},
      {"index", {"sub", "start", "end"}, [](R r, S s, G g) { return find(r, s, g, false, true); }},
      {"rindex", {"sub", "start", "end"}, [](R r, S s, G g) { return find(r, s, g, true, true); }},
      {"count", {"sub", "start", "end"}, count},
      {"join", {"iterable"}, join_texts},
      {"upper", {}, cased<upper>},
      {"lower", {}, cased<lower>},
      {"capitalize", {}, cased<capitalized>},
      {"title", {}, cased<titled>},
      {"swapcase", {}, cased<swapped_case>},
      {"center", {"width", "fillchar"}, [](R r, S s, G g) { return justify(r, s, g, 'c'); }},
      {"ljust", {"width", "fillchar"}, [](R r, S s, G g) { return justify(r, s, g, 'l'); }},
      {"rjust", {"width", "fillchar"}, [](R r, S s, G g) { return justify(r, s, g, 'r'); }},
      {"zfill", {"width"}, zero_fill},
      {"expandtabs", {"tabsize"}, tabs},
      {"format", {"*"}, [](R r, S s, G g) { return r.new_text(brace_format(r, s, g.all())); }},
      {"isalpha", {}, every<is_alphabetic>},
      {"isalnum", {}, every<is_alphanumeric>},
      {"isdecimal", {}, every<is_decimal>},
      {"isdigit", {}, every<is_digit>},
      {"isnumeric", {}, every<is_numeric>},
      {"isspace", {}, every<is_space>},
      {"isascii", {}, every<is_ascii, true>},
      {"isupper", {}, tested<is_upper>},
      {"islower", {}, tested<is_lower>},
      {"istitle", {}, tested<is_title>},
      {"casefold", {"*"}, not_here},
      {"encode", {"*"}, not_here},
      {"format_map", {"*"}, not_here},
      {"isidentifier", {"*"}, not_here},
      {"isprintable", {"*"}, not_here},
      {"maketrans", {"*"}, not_here},
      {"translate", {"*"}, not_here},
  };
  return table;
}

Value dict_view(const char* what, List items) {
  return Value::view({View::Kind::dict_view, what, std::move(items)});
}

Value dict_method(R r, const std::string& name, const Value& self, const Arguments& arguments) {
  if (name == "get") {
    const Given given(r, "get()", arguments, {"key", "default"});
    if (!given[0]) r.fail("get() takes a key");
    if (!given[0]->hashable()) r.fail(str("a ", given[0]->type(), " cannot be a key"));
    r.charge(self.as_dict().size() / 16);
    const Value* found = self.find(*given[0]);
    return found ? *found : given[1] ? *given[1] : Value::none();
  }
  const Given given(r, name + "()", arguments, {});
  if (name == "copy") return self;
  List out;
  for (const auto& [key, value] : self.as_dict()) {
    if (name == "items") {
      out.push_back(Value::tuple({key, value}));
    } else {
      out.push_back(name == "keys" ? key : value);
    }
  }
  r.charge(out.size());
  return dict_view(name == "items"  ? "dict_items"
                   : name == "keys" ? "dict_keys"
                                    : "dict_values",
                   std::move(out));
}

Value list_method(R r, const std::string& name, const Value& self, const Arguments& arguments) {
  if (name == "copy") return self;
  const Given given(r, name + "()", arguments, {"value", "start", "stop"});
  if (!given[0]) r.fail(str(name, "() takes a value"));
  r.charge(self.size() / 16);
  int64_t found = 0;
  for (size_t i = 0; i < self.items().size(); ++i) {
    if (!self.items()[i].equals(*given[0])) continue;
    if (name == "index") return Value::integer(static_cast<int64_t>(i));
    ++found;
  }
  if (name == "index") r.fail("index() of a value that is not there");
  return Value::integer(found);
}

using Names = std::vector<std::string>;
bool among(const Names& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

const Names kOfDict = {"items", "keys", "values", "get", "copy"};
const Names kOfList = {"count", "index", "copy"};
const Names kOfTuple = {"count", "index"};
const Names kChangesDict = {"clear", "pop", "popitem", "setdefault", "update"};
const Names kChangesList = {"append", "extend", "insert", "pop",
                            "remove", "clear",  "sort",   "reverse"};

}  // namespace

Value text_method(Renderer& renderer, const std::string& name, const Value& self,
                  Arguments& arguments) {
  for (const Method& method : text_methods()) {
    if (name != method.name) continue;
    const Given given(renderer, name + "()", arguments, method.parameters);
    const Value out = method.call(renderer, self.as_text(), given);
    return self.is_markup() && out.is_text() ? Value::markup(out.as_text()) : out;
  }
  SMIDGEN_ASSERT(false);
  return {};
}

Value method_of(Renderer& renderer, const Value& object, const std::string& name) {
  const bool forbidden = (object.is_dict() && among(kChangesDict, name)) ||
                         (object.is_list() && among(kChangesList, name));
  if (forbidden)
    return Value::undefined(str("'", name, "' changes a ", object.type(),
                                ", which the sandbox of transformers forbids"));
  const auto bound = [&](auto method) {
    return Value::callable({name, [&renderer, object, name, method](
                                      Arguments& a) { return method(renderer, name, object, a); }},
                           &object);
  };
  if (object.is_text()) {
    for (const Method& method : text_methods()) {
      if (name == method.name) return bound(text_method);
    }
  }
  if (object.is_dict() && among(kOfDict, name)) return bound(dict_method);
  if (object.is_list() && among(kOfList, name)) return bound(list_method);
  if (object.is_tuple() && among(kOfTuple, name)) return bound(list_method);
  return Value::undefined("");
}

}  // namespace smidgen::tmpl
