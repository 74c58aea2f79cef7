// What every template can name: range, namespace, dict, joiner, raise_exception, strftime_now.
#include <algorithm>
#include <ctime>
#include <memory>
#include <utility>

#include "smidgen/text/template_eval.h"

namespace smidgen::tmpl {
namespace {

constexpr int64_t kMaxRange = 100'000;  // jinja2's sandbox has the same

Value range(Renderer& renderer, const Arguments& arguments) {
  int64_t bounds[3] = {0, 0, 1};
  const size_t count = arguments.plain.size();
  if (count < 1 || count > 3) renderer.fail("range() takes one to three numbers");
  for (size_t i = 0; i < count; ++i) {
    if (!arguments.plain[i].is_int() && !arguments.plain[i].is_bool())
      renderer.fail("range() takes whole numbers");
    bounds[count == 1 ? 1 : i] = arguments.plain[i].as_int();
  }
  if (bounds[2] == 0) renderer.fail("range() with a step of 0");
  View view{View::Kind::range, str("range(", bounds[0], ", ", bounds[1])};
  view.shown += bounds[2] == 1 ? ")" : str(", ", bounds[2], ")");
  for (__int128 i = bounds[0]; bounds[2] > 0 ? i < bounds[1] : i > bounds[1]; i += bounds[2]) {
    if (static_cast<int64_t>(view.items.size()) >= kMaxRange)
      renderer.fail(str("range() with more than ", kMaxRange, " numbers"));
    view.items.push_back(Value::integer(static_cast<int64_t>(i)));
  }
  renderer.charge(view.items.size());
  return Value::view(std::move(view));
}

std::string formatted_time(const std::string& format) {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  std::string buffer(format.size() * 16 + 256, '\0');
  buffer.resize(std::strftime(buffer.data(), buffer.size(), format.c_str(), &local));
  return buffer;
}

// dict(mapping or pairs, name=value...)
Dict dict_of(Renderer& renderer, const std::string& name, const Arguments& arguments) {
  Dict items;
  if (arguments.plain.size() > 1) renderer.fail(str(name, "() takes one mapping and keywords"));
  if (!arguments.plain.empty()) {
    const Value& first = arguments.plain[0];
    if (first.is_dict()) {
      items = first.as_dict();
    } else {
      for (const Value& pair : renderer.iterate(first)) {
        const List two = renderer.iterate(pair);
        if (two.size() != 2) renderer.fail(str(name, "() of something other than pairs"));
        put(renderer, items, two[0], two[1]);
      }
    }
  }
  for (const auto& [key, value] : arguments.named) put(renderer, items, Value::text(key), value);
  return items;
}

Value joiner(Renderer& renderer, const Arguments& arguments) {
  const Given given(renderer, "joiner()", arguments, {"sep"});
  const auto used = std::make_shared<bool>(false);
  const std::string between = given[0] ? given[0]->str() : ", ";
  return Value::callable({"joiner", [used, between](Arguments&) {
                            return Value::text(std::exchange(*used, true) ? between : "");
                          }});
}

}  // namespace

Value Renderer::global(const std::string& name) {
  const auto function = [&](auto call) {
    return Value::callable({name, [this, call](Arguments& a) -> Value { return call(*this, a); }});
  };
  if (name == "range") return function(range);
  if (name == "joiner") return function(joiner);
  if (name == "raise_exception")
    return function([](Renderer& r, Arguments& a) -> Value {
      if (a.plain.size() + a.named.size() != 1) r.fail("raise_exception() takes one message");
      r.fail(str("the template refuses this conversation: ",
                 a.plain.empty() ? a.named[0].second.str() : a.plain[0].str()));
    });
  if (name == "strftime_now")
    return function([](Renderer& r, Arguments& a) -> Value {
      const Given given(r, "strftime_now()", a, {"format"});
      return r.new_text(formatted_time(given.text(0)));
    });
  if (name == "dict")
    return function(
        [](Renderer& r, Arguments& a) -> Value { return Value::dict(dict_of(r, "dict", a)); });
  if (name == "namespace")
    return function([](Renderer& r, Arguments& a) -> Value {
      Slots* slots = r.new_slots();
      for (const auto& [key, value] : dict_of(r, "namespace", a)) {
        if (!key.is_text()) r.fail("a namespace takes names only");
        if (key.as_text().starts_with("_"))
          r.fail(
              str("a namespace takes no name that begins with '_', such as '", key.as_text(), "'"));
        slots->items.emplace_back(key.as_text(), value);
      }
      return Value::slots(slots);
    });
  // The template's own blocks, of which there are none here.
  if (name == "self") return Value::slots(new_slots());
  if (name == "cycler" || name == "lipsum")
    return function([name](Renderer& r, Arguments&) -> Value {
      r.unsupported(str("the function '", name, "' of jinja2"));
    });
  return Value::undefined(str("'", name, "' is undefined"));
}

}  // namespace smidgen::tmpl
