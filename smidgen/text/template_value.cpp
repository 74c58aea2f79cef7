#include "smidgen/text/template_value.h"

#include <algorithm>
#include <cmath>

#include <utf8proc.h>

#include "smidgen/base/error.h"
#include "smidgen/io/python_json.h"
#include "smidgen/text/utf8.h"

namespace smidgen::tmpl {
namespace {

// str.isprintable
bool printable(uint32_t code) {
  if (code == ' ') return true;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(code))) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return false;
    default:
      return true;
  }
}

std::string quoted(const std::string& text) {
  const char quote =
      text.find('\'') != std::string::npos && text.find('"') == std::string::npos ? '"' : '\'';
  std::string out(1, quote);
  for (size_t at = 0; at < text.size();) {
    const Utf8Step step = utf8_step(std::string_view(text).substr(at));
    const std::string_view whole = std::string_view(text).substr(at, step.length);
    at += step.length;
    const char c = whole[0];
    if (c == quote || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n' || c == '\r' || c == '\t') {
      out += c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t";
    } else if (printable(step.code)) {
      out += whole;
    } else {
      const int digits = step.code < 0x100 ? 2 : step.code < 0x10000 ? 4 : 8;
      out += digits == 2 ? "\\x" : digits == 4 ? "\\u" : "\\U";
      for (int i = digits; i-- > 0;) out += "0123456789abcdef"[step.code >> (4 * i) & 15];
    }
  }
  return out + quote;
}

std::string joined(const List& items) {
  std::string out;
  for (size_t i = 0; i < items.size(); ++i) out += (i ? ", " : "") + items[i].repr();
  return out;
}

std::string json_text(const std::string& text, bool ascii) {
  // nlohmann escapes what json.dumps escapes, except that it writes U+007F in ASCII mode as it is,
  // like Python.
  return Json(text).dump(-1, ' ', ascii, Json::error_handler_t::replace);
}

}  // namespace

void Value::hold(const Value& item) {
  depth_ = std::max(depth_, item.depth_ + 1);
  size_ += item.size_;
  if (depth_ > kMaxValueDepth)
    throw Error(ErrorKind::resource,
                smidgen::str("a template value nested more than ", kMaxValueDepth, " deep"));
  if (size_ > kMaxValueSize)
    throw Error(ErrorKind::resource,
                smidgen::str("a template value of more than ", kMaxValueSize, " bytes"));
}

Value Value::text(std::string value) {
  const size_t size = value.size();
  Value out = Data(std::make_shared<const std::string>(std::move(value)));
  out.size_ += size;
  return out;
}

Value Value::markup(std::string value) {
  Value out = text(std::move(value));
  out.markup_ = true;
  return out;
}

Value Value::view(View value) {
  const auto all = std::make_shared<const View>(std::move(value));
  Value out = Data(all);
  for (const Value& item : all->items) out.hold(item);
  return out;
}

Value Value::list(List value) {
  const auto all = std::make_shared<const List>(std::move(value));
  Value out = Data(all);
  for (const Value& item : *all) out.hold(item);
  return out;
}

Value Value::tuple(List value) {
  const auto all = std::make_shared<const Tuple>(Tuple{std::move(value)});
  Value out = Data(all);
  for (const Value& item : all->items) out.hold(item);
  return out;
}

Value Value::dict(Dict value) {
  const auto all = std::make_shared<const Dict>(std::move(value));
  Value out = Data(all);
  for (const auto& [key, item] : *all) {
    out.hold(key);
    out.hold(item);
  }
  return out;
}

Value Value::callable(Callable value, const Value* bound) {
  Value out = Data(std::make_shared<const Callable>(std::move(value)));
  if (bound) out.hold(*bound);
  return out;
}

Value Value::from_json(const Json& json) {
  switch (json.type()) {
    case Json::value_t::boolean:
      return boolean(json.get<bool>());
    case Json::value_t::number_unsigned:
      if (json.get<uint64_t>() > INT64_MAX)
        throw Error(ErrorKind::unsupported,
                    smidgen::str("the whole number ", json.dump(), " is beyond 64 bits"));
      return integer(json.get<int64_t>());
    case Json::value_t::number_integer:
      return integer(json.get<int64_t>());
    case Json::value_t::number_float:
      return number(json.get<double>());
    case Json::value_t::string:
      return text(json.get<std::string>());
    case Json::value_t::array: {
      List items;
      for (const Json& item : json) items.push_back(from_json(item));
      return list(std::move(items));
    }
    case Json::value_t::object: {
      Dict items;
      for (const auto& [key, item] : json.items()) items.emplace_back(text(key), from_json(item));
      return dict(std::move(items));
    }
    default:
      return none();
  }
}

const List& Value::items() const {
  return is_list() ? *std::get<std::shared_ptr<const List>>(data_)
                   : std::get<std::shared_ptr<const Tuple>>(data_)->items;
}

const Value* Value::find(const Value& key) const {
  if (key.is_text()) return find(key.as_text());
  for (const auto& item : as_dict()) {
    if (item.first.equals(key)) return &item.second;
  }
  return nullptr;
}

const Value* Value::find(const std::string& key) const {
  for (const auto& item : as_dict()) {
    if (item.first.is_text() && item.first.as_text() == key) return &item.second;
  }
  return nullptr;
}

bool Value::hashable() const {
  if (is_tuple())
    return std::all_of(items().begin(), items().end(), [](const Value& v) { return v.hashable(); });
  return !is_list() && !is_dict();
}

bool Value::truthy() const {
  if (is_undefined() || is_none()) return false;
  if (is_float()) return as_double() != 0.0;
  if (is_number()) return as_int() != 0;
  if (is_text()) return !as_text().empty();
  if (is_list() || is_tuple()) return !items().empty();
  if (is_dict()) return !as_dict().empty();
  if (is_view()) return as_view().kind == View::Kind::generator || !as_view().items.empty();
  return true;
}

const char* Value::type() const {
  const char* names[] = {"undefined", "None", "bool",     "int",       "float", "str",     "list",
                         "tuple",     "dict", "iterable", "namespace", "loop",  "function"};
  return names[data_.index()];
}

std::string Value::str() const {
  if (is_text()) return as_text();
  if (is_undefined()) return "";
  return repr();
}

std::string Value::repr() const {
  if (is_undefined()) return "Undefined";
  if (is_none()) return "None";
  if (is_bool()) return as_bool() ? "True" : "False";
  if (is_int()) return std::to_string(as_int());
  if (is_float()) return python_float(as_double());
  if (is_text()) return is_markup() ? "Markup(" + quoted(as_text()) + ")" : quoted(as_text());
  if (is_list()) return "[" + joined(items()) + "]";
  if (is_tuple()) return "(" + joined(items()) + (items().size() == 1 ? ",)" : ")");
  if (is_dict()) {
    std::string out = "{";
    for (const auto& [key, value] : as_dict()) {
      if (out.size() > 1) out += ", ";
      out += key.repr() + ": " + value.repr();
    }
    return out + "}";
  }
  if (is_view()) {
    const View& view = as_view();
    return view.shown +
           (view.kind == View::Kind::dict_view ? "([" + joined(view.items) + "])" : "");
  }
  if (is_slots()) {
    std::string out;
    for (const auto& [key, value] : as_slots().items)
      out += (out.empty() ? "" : ", ") + quoted(key) + ": " +
             (value.is_slots() ? "<Namespace>" : value.repr());
    return "<Namespace {" + out + "}>";
  }
  return smidgen::str("<", type(), ">");
}

bool Value::equals(const Value& other) const {
  if (is_number() && other.is_number()) {
    if (is_float() || other.is_float()) return as_double() == other.as_double();
    return as_int() == other.as_int();
  }
  if (data_.index() != other.data_.index()) return false;
  if (is_undefined() || is_none()) return true;
  if (is_text()) return as_text() == other.as_text();
  if (is_list() || is_tuple())
    return std::equal(items().begin(), items().end(), other.items().begin(), other.items().end(),
                      [](const Value& a, const Value& b) { return a.equals(b); });
  if (is_dict()) {
    if (as_dict().size() != other.as_dict().size()) return false;
    for (const auto& [key, value] : as_dict()) {
      const Value* match = other.find(key);
      if (!match || !value.equals(*match)) return false;
    }
    return true;
  }
  if (is_view() && as_view().kind == View::Kind::range && other.as_view().kind == View::Kind::range)
    return std::equal(as_view().items.begin(), as_view().items.end(), other.as_view().items.begin(),
                      other.as_view().items.end(),
                      [](const Value& a, const Value& b) { return a.equals(b); });
  return same(other);
}

bool Value::same(const Value& other) const {
  if (data_.index() != other.data_.index()) return false;
  if (is_undefined() || is_none()) return true;
  if (is_number() || is_text()) return equals(other);
  if (is_list())
    return std::get<std::shared_ptr<const List>>(data_) ==
           std::get<std::shared_ptr<const List>>(other.data_);
  if (is_tuple())
    return std::get<std::shared_ptr<const Tuple>>(data_) ==
           std::get<std::shared_ptr<const Tuple>>(other.data_);
  if (is_dict()) return &as_dict() == &other.as_dict();
  if (is_view()) return &as_view() == &other.as_view();
  if (is_slots()) return &as_slots() == &other.as_slots();
  if (is_loop()) return &as_loop() == &other.as_loop();
  return &as_callable() == &other.as_callable();
}

namespace {

std::string json_key(const Value& key, const JsonStyle& style) {
  if (key.is_text()) return json_text(key.as_text(), style.ascii);
  if (!key.is_number() && !key.is_none()) throw std::string("dict with such a key");
  return "\"" + to_json(key, style) + "\"";
}

}  // namespace

std::string to_json(const Value& value, const JsonStyle& style, int depth) {
  if (value.is_none()) return "null";
  if (value.is_bool()) return value.as_bool() ? "true" : "false";
  if (value.is_int()) return value.str();
  if (value.is_float()) {
    if (std::isnan(value.as_double())) return "NaN";
    if (std::isinf(value.as_double())) return value.as_double() > 0 ? "Infinity" : "-Infinity";
    return value.str();
  }
  if (value.is_text()) return json_text(value.as_text(), style.ascii);
  if (!value.is_list() && !value.is_tuple() && !value.is_dict()) throw std::string(value.type());
  const bool dict = value.is_dict();
  if (dict ? value.as_dict().empty() : value.items().empty()) return dict ? "{}" : "[]";
  std::string line, last;
  for (int i = 0; style.indent && i <= depth; ++i) {
    line += i ? *style.indent : "\n" + *style.indent;
    last += i ? *style.indent : "\n";
  }
  std::string out;
  if (!dict) {
    for (const Value& item : value.items())
      out += (out.empty() ? "[" : style.item) + line + to_json(item, style, depth + 1);
    return out + last + "]";
  }
  Dict items = value.as_dict();
  if (style.sorted)
    std::sort(items.begin(), items.end(), [](const auto& a, const auto& b) {
      if (a.first.is_text() && b.first.is_text()) return a.first.as_text() < b.first.as_text();
      if (!a.first.is_number() || !b.first.is_number())
        throw std::string("dict with keys of several types");
      return a.first.as_double() < b.first.as_double();
    });
  for (const auto& [key, item] : items)
    out += (out.empty() ? "{" : style.item) + line + json_key(key, style) + style.key +
           to_json(item, style, depth + 1);
  return out + last + "}";
}

size_t count_characters(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return !is_utf8_continuation(c); }));
}

}  // namespace smidgen::tmpl
