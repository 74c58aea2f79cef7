// What every template can name: range, namespace, dict, raise_exception, strftime_now.
#include <algorithm>
#include <ctime>
#include <utility>

#include "smidgen/text/template_eval.h"

namespace smidgen::tmpl {
namespace {

constexpr int64_t kMaxRange = 100'000;  // jinja2's sandbox has the same

Value range(Renderer& renderer, Arguments& arguments) {
  int64_t bounds[3] = {0, 0, 1};
  const size_t count = arguments.plain.size();
  if (count < 1 || count > 3) renderer.fail("range() takes one to three numbers");
  for (size_t i = 0; i < count; ++i) {
    if (!arguments.plain[i].is_int() && !arguments.plain[i].is_bool())
      renderer.fail("range() takes whole numbers");
    bounds[count == 1 ? 1 : i] = arguments.plain[i].as_int();
  }
  if (bounds[2] == 0) renderer.fail("range() with a step of 0");
  List items;
  for (__int128 i = bounds[0]; bounds[2] > 0 ? i < bounds[1] : i > bounds[1]; i += bounds[2]) {
    if (static_cast<int64_t>(items.size()) >= kMaxRange)
      renderer.fail(str("range() with more than ", kMaxRange, " numbers"));
    items.push_back(Value::integer(static_cast<int64_t>(i)));
  }
  renderer.charge(items.size());
  return Value::list(std::move(items));
}

std::string formatted_time(const std::string& format) {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  std::string buffer(format.size() * 16 + 256, '\0');
  buffer.resize(std::strftime(buffer.data(), buffer.size(), format.c_str(), &local));
  return buffer;
}

}  // namespace

Value Renderer::global(const std::string& name) {
  if (name == "range")
    return Value::callable({name, [this](Arguments& a) { return range(*this, a); }});
  if (name == "raise_exception")
    return Value::callable({name, [this](Arguments& a) -> Value {
                              fail(str("the template refuses this conversation: ",
                                       a.plain.empty() ? "" : a.plain[0].str()));
                            }});
  if (name == "strftime_now")
    return Value::callable({name, [this](Arguments& a) {
                              if (a.plain.size() != 1 || !a.plain[0].is_text())
                                fail("strftime_now() takes a format");
                              return Value::text(formatted_time(a.plain[0].as_text()));
                            }});
  if (name == "namespace" || name == "dict")
    return Value::callable(
        {name, [this, name](Arguments& a) {
           Dict items;
           if (!a.plain.empty()) {
             if (!a.plain[0].is_dict())
               fail(str(name, "() of a ", a.plain[0].type()), ErrorKind::unsupported);
             items = a.plain[0].as_dict();
           }
           for (auto& [key, value] : a.named) {
             const auto old =
                 std::find_if(items.begin(), items.end(),
                              [&key = key](const auto& item) { return item.first == key; });
             if (old != items.end()) {
               old->second = value;
             } else {
               items.emplace_back(key, value);
             }
           }
           if (name == "dict") return Value::dict(std::move(items));
           for (const auto& item : items) {
             if (holds_slots(item.second))
               fail("a namespace inside a namespace", ErrorKind::unsupported);
           }
           Slots* slots = new_slots("namespace");
           slots->items = std::move(items);
           return Value::slots(slots);
         }});
  return Value::undefined(str("'", name, "' is undefined"));
}

}  // namespace smidgen::tmpl
