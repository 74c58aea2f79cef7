#include "smidgen/text/template_eval.h"

#include <algorithm>
#include <cmath>
#include <ctime>
#include <utility>

#include "smidgen/text/utf8.h"

namespace smidgen::tmpl {
namespace {

constexpr int kMaxDepth = 400;          // of the evaluation; bounds the C++ stack
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

const Value* argument(const Arguments& arguments, size_t place, const std::string& name) {
  if (place < arguments.plain.size()) return &arguments.plain[place];
  for (const auto& [key, value] : arguments.named) {
    if (key == name) return &value;
  }
  return nullptr;
}

void Renderer::fail(const std::string& what, ErrorKind kind) const {
  throw Error(kind, what, str(name_, ", line ", line_));
}

void Renderer::charge(size_t steps) {
  steps_ += static_cast<int64_t>(steps);
  if (steps_ > limits_.steps)
    fail(str("the template takes more than ", limits_.steps, " steps"), ErrorKind::resource);
}

void Renderer::check_size(size_t bytes) const {
  if (bytes > limits_.output)
    fail(str("the template makes more than ", limits_.output, " bytes"), ErrorKind::resource);
}

Slots* Renderer::new_slots(std::string what) {
  slots_.push_back(std::make_unique<Slots>(Slots{std::move(what), {}}));
  return slots_.back().get();
}

std::string Renderer::run(const Node& body, Dict variables) {
  scopes_.assign(1, {});
  for (auto& item : variables) scopes_[0].push_back(std::move(item));
  out_.assign(1, "");
  try {
    exec_body(body);
  } catch (const Error& error) {
    if (error.where().empty())
      fail(error.message(), error.kind());  // a value that grew too large knows no line
    throw;
  }
  return std::move(out_[0]);
}

void Renderer::write(const std::string& text) {
  out_.back() += text;
  check_size(out_.back().size());
  charge(1 + text.size() / 64);
}

std::string Renderer::capture(const Node& body) {
  out_.emplace_back();
  scopes_.emplace_back();
  exec_body(body);
  scopes_.pop_back();
  std::string text = std::move(out_.back());
  out_.pop_back();
  return text;
}

// ---- statements

Renderer::Flow Renderer::exec_body(const Node& node) {
  for (const NodePtr& kid : node.kids) {
    const Flow flow = exec(*kid);
    if (flow != Flow::normal) return flow;
  }
  return Flow::normal;
}

Renderer::Flow Renderer::exec(const Node& node) {
  line_ = node.line;
  charge(1);
  switch (node.kind) {
    case NodeKind::text:
      write(node.text);
      break;
    case NodeKind::output:
      write(eval(*node.kids[0]).str());
      break;
    case NodeKind::if_chain:
      return exec_if(node);
    case NodeKind::for_loop:
      return exec_for(node);
    case NodeKind::set:
      assign(*node.kids[0], eval(*node.kids[1]));
      break;
    case NodeKind::set_block:
      exec_set(node);
      break;
    case NodeKind::macro:
      exec_macro(node);
      break;
    case NodeKind::call_block:
      exec_call(node);
      break;
    case NodeKind::filter_block: {
      const std::string text = capture(*node.kids[1]);
      scopes_.push_back({{kBlockInput, Value::text(text)}});
      const Value result = eval(*node.kids[0]);
      scopes_.pop_back();
      write(result.str());
      break;
    }
    case NodeKind::generation: {
      const std::string text = capture(*node.kids[0]);
      if (out_.size() > 1)
        fail("{% generation %} inside a macro or a captured block", ErrorKind::unsupported);
      spans_.push_back({out_[0].size(), out_[0].size() + text.size()});
      write(text);
      break;
    }
    case NodeKind::break_loop:
      return Flow::stop_loop;
    case NodeKind::continue_loop:
      return Flow::next_turn;
    default:
      SMIDGEN_ASSERT(false);
  }
  return Flow::normal;
}

Renderer::Flow Renderer::exec_if(const Node& node) {
  size_t i = 0;
  for (; i + 1 < node.kids.size(); i += 2) {
    if (eval(*node.kids[i]).truthy()) return exec_body(*node.kids[i + 1]);
  }
  return i < node.kids.size() ? exec_body(*node.kids[i]) : Flow::normal;
}

Renderer::Flow Renderer::exec_for(const Node& node) {
  if (++depth_ > kMaxDepth) fail("too deeply nested", ErrorKind::resource);
  List items = iterate(eval(*node.kids[1]));
  if (node.kids[2]) {
    List kept;
    scopes_.emplace_back();
    for (const Value& item : items) {
      assign(*node.kids[0], item);
      if (eval(*node.kids[2]).truthy()) kept.push_back(item);
    }
    scopes_.pop_back();
    items = std::move(kept);
  }
  // One scope and one `loop` for all turns. A closure over `loop` cannot outlive its turn, so they
  // may be reused.
  const auto count = static_cast<int64_t>(items.size());
  Slots* loop = new_slots("loop");
  Flow flow = Flow::normal;
  bool finished = false;  // jinja2 runs the else unless some turn reached its end
  for (int64_t i = 0; i < count && flow != Flow::stop_loop; ++i) {
    const auto at = static_cast<size_t>(i);
    loop->items = {
        {"index", Value::integer(i + 1)},
        {"index0", Value::integer(i)},
        {"revindex", Value::integer(count - i)},
        {"revindex0", Value::integer(count - i - 1)},
        {"first", Value::boolean(i == 0)},
        {"last", Value::boolean(i + 1 == count)},
        {"length", Value::integer(count)},
        {"depth", Value::integer(1)},
        {"depth0", Value::integer(0)},
        {"previtem", i > 0 ? items[at - 1] : Value::undefined("there is no previous item")},
        {"nextitem", i + 1 < count ? items[at + 1] : Value::undefined("there is no next item")},
        {"cycle", Value::callable({"cycle", [this, i](Arguments& a) {
                                     if (a.plain.empty()) fail("loop.cycle() without items");
                                     return a.plain[static_cast<size_t>(i) % a.plain.size()];
                                   }})}};
    scopes_.push_back({{"loop", Value::slots(loop)}});
    assign(*node.kids[0], items[at]);
    flow = exec_body(*node.kids[3]);
    scopes_.pop_back();
    finished |= flow == Flow::normal;
    charge(1);
  }
  if (!finished && node.kids[4]) exec_body(*node.kids[4]);
  loop->items.clear();
  --depth_;
  return Flow::normal;
}

void Renderer::exec_set(const Node& node) {
  std::string text = capture(*node.kids[2]);
  if (!node.kids[1]) return assign(*node.kids[0], Value::text(std::move(text)));
  scopes_.push_back({{kBlockInput, Value::text(std::move(text))}});
  const Value value = eval(*node.kids[1]);
  scopes_.pop_back();
  assign(*node.kids[0], value);
}

bool Renderer::holds_slots(const Value& value) const {
  if (value.is_slots()) return true;
  if (value.is_list() || value.is_tuple())
    return std::any_of(value.items().begin(), value.items().end(),
                       [this](const Value& v) { return holds_slots(v); });
  if (value.is_dict())
    return std::any_of(value.as_dict().begin(), value.as_dict().end(),
                       [this](const auto& v) { return holds_slots(v.second); });
  return false;
}

void Renderer::assign(const Node& target, const Value& value) {
  if (target.kind == NodeKind::tuple) {
    const List items = iterate(value);
    if (items.size() != target.kids.size())
      fail(str(items.size(), " values for ", target.kids.size(), " names"));
    for (size_t i = 0; i < items.size(); ++i) assign(*target.kids[i], items[i]);
    return;
  }
  Scope* scope = &scopes_.back();
  if (target.kind == NodeKind::attribute) {
    const Value object = eval(*target.kids[0]);
    if (!object.is_slots() || object.as_slots().what != "namespace")
      fail(str("cannot set '", target.text, "' on a ", object.type(), ": only on a namespace"));
    if (holds_slots(value)) fail("a namespace inside a namespace", ErrorKind::unsupported);
    scope = &object.as_slots().items;
  }
  for (auto& [key, old] : *scope) {
    if (key != target.text) continue;
    old = value;
    return;
  }
  scope->emplace_back(target.text, value);
}

void Renderer::exec_macro(const Node& node) {
  const Value macro = Value::callable(
      {node.text, [this, &node](Arguments& arguments) { return call_macro(node, arguments); }});
  scopes_.back().emplace_back(node.text, macro);
  auto& scope = scopes_.back();
  for (auto& [key, value] : scope) {
    if (key == node.text) value = macro;
  }
}

Value Renderer::call_macro(const Node& node, Arguments& arguments) {
  if (++depth_ > kMaxDepth) fail("macros call each other too deeply", ErrorKind::resource);
  Scope scope;
  const size_t wanted = node.names.size();
  if (arguments.plain.size() > wanted)
    fail(str("the macro '", node.text, "' takes ", wanted, " arguments, not ",
             arguments.plain.size()));
  for (size_t i = 0; i < arguments.plain.size(); ++i)
    scope.emplace_back(node.names[i], arguments.plain[i]);
  for (auto& [key, value] : arguments.named) {
    const bool known =
        key == "caller" || std::find(node.names.begin(), node.names.end(), key) != node.names.end();
    if (!known) fail(str("the macro '", node.text, "' has no parameter '", key, "'"));
    scope.emplace_back(key, value);
  }
  const size_t floor = floor_;
  const int line = line_;
  floor_ = scopes_.size();
  scopes_.push_back(std::move(scope));
  for (size_t i = arguments.plain.size(); i < wanted; ++i) {
    const auto& given = scopes_.back();
    if (std::any_of(given.begin(), given.end(),
                    [&](const auto& item) { return item.first == node.names[i]; }))
      continue;
    Value value = node.kids[i + 1]
                      ? eval(*node.kids[i + 1])
                      : Value::undefined(str("parameter '", node.names[i], "' was not provided"));
    scopes_.back().emplace_back(node.names[i], std::move(value));
  }
  std::string text = capture(*node.kids[0]);
  scopes_.pop_back();
  floor_ = floor;
  line_ = line;
  --depth_;
  return Value::text(std::move(text));
}

void Renderer::exec_call(const Node& node) {
  // The body sees the scopes of this place, although it runs inside the macro.
  const size_t size = scopes_.size(), floor = floor_;
  const Value caller = Value::callable(
      {"caller", [this, &node, size, floor](Arguments& arguments) {
         std::vector<Scope> above(
             std::make_move_iterator(scopes_.begin() + static_cast<std::ptrdiff_t>(size)),
             std::make_move_iterator(scopes_.end()));
         scopes_.resize(size);
         const size_t inner = std::exchange(floor_, floor);
         Scope scope;
         for (size_t i = 0; i < node.names.size() && i < arguments.plain.size(); ++i)
           scope.emplace_back(node.names[i], arguments.plain[i]);
         scopes_.push_back(std::move(scope));
         std::string text = capture(*node.kids[1]);
         scopes_.resize(size);
         for (Scope& one : above) scopes_.push_back(std::move(one));
         floor_ = inner;
         return Value::text(std::move(text));
       }});
  const Node& call_node = *node.kids[0];
  const Value function = eval(*call_node.kids[0]);
  Arguments arguments = eval_arguments(call_node, 1);
  arguments.named.emplace_back("caller", caller);
  write(call(function, arguments).str());
}

// ---- names

Value Renderer::lookup(const std::string& name) {
  const auto search = [&](const Scope& scope) -> const Value* {
    for (auto item = scope.rbegin(); item != scope.rend(); ++item) {
      if (item->first == name) return &item->second;
    }
    return nullptr;
  };
  for (size_t i = scopes_.size(); i-- > floor_;) {
    if (const Value* found = search(scopes_[i])) return *found;
  }
  if (const Value* found = search(scopes_[0])) return *found;
  return global(name);
}

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

// ---- expressions

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

Value Renderer::eval_unary(const Node& node) {
  const Value value = eval(*node.kids[0]);
  if (node.text == "not") return Value::boolean(!value.truthy());
  if (!value.is_number()) fail(str("'", node.text, "' of a ", value.type()));
  if (value.is_float())
    return Value::number(node.text == "-" ? -value.as_double() : value.as_double());
  int64_t out = value.as_int();
  if (node.text == "-" && __builtin_sub_overflow(int64_t{0}, out, &out))
    fail("a whole number beyond 64 bits");
  return Value::integer(out);
}

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

bool Renderer::less(const Value& a, const Value& b) const {
  if (a.is_number() && b.is_number())
    return a.is_float() || b.is_float() ? a.as_double() < b.as_double() : a.as_int() < b.as_int();
  if (a.is_text() && b.is_text()) return a.as_text() < b.as_text();
  if ((a.is_list() && b.is_list()) || (a.is_tuple() && b.is_tuple()))
    return std::lexicographical_compare(
        a.items().begin(), a.items().end(), b.items().begin(), b.items().end(),
        [this](const Value& x, const Value& y) { return less(x, y); });
  fail(str("a ", a.type(), " and a ", b.type(), " have no order"));
}

Value Renderer::eval_compare(const Node& node) {
  Value left = eval(*node.kids[0]);
  for (size_t i = 0; i < node.names.size(); ++i) {
    Value right = eval(*node.kids[i + 1]);
    const std::string& op = node.names[i];
    bool holds;
    if (op == "==" || op == "!=") {
      holds = left.equals(right) == (op == "==");
    } else if (op == "in" || op == "not in") {
      holds = contains(right, left) == (op == "in");
    } else if (op == "<") {
      holds = less(left, right);
    } else if (op == ">") {
      holds = less(right, left);
    } else if (op == "<=") {
      holds = less(left, right) || left.equals(right);
    } else {
      holds = less(right, left) || left.equals(right);
    }
    if (!holds) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

Value Renderer::eval_binary(const Node& node) {
  const Value a = eval(*node.kids[0]);
  const Value b = eval(*node.kids[1]);
  const std::string& op = node.text;
  if (op == "~") {
    std::string text = a.str() + b.str();
    check_size(text.size());
    charge(text.size() / 64);
    return Value::text(std::move(text));
  }
  if (a.is_undefined()) fail(a.name());
  if (b.is_undefined()) fail(b.name());
  if (op == "+" && a.is_text() && b.is_text()) {
    check_size(a.as_text().size() + b.as_text().size());
    charge((a.as_text().size() + b.as_text().size()) / 64);
    return Value::text(a.as_text() + b.as_text());
  }
  if (op == "+" && ((a.is_list() && b.is_list()) || (a.is_tuple() && b.is_tuple()))) {
    List items = a.items();
    items.insert(items.end(), b.items().begin(), b.items().end());
    charge(items.size());
    return a.is_list() ? Value::list(std::move(items)) : Value::tuple(std::move(items));
  }
  const bool a_repeats = (a.is_int() || a.is_bool()) && (b.is_text() || b.is_list());
  if (op == "*" && (a_repeats || ((b.is_int() || b.is_bool()) && (a.is_text() || a.is_list())))) {
    const Value& what = a_repeats ? b : a;
    const auto times = static_cast<size_t>(std::max<int64_t>(0, (a_repeats ? a : b).as_int()));
    const size_t size = what.is_text() ? what.as_text().size() : what.items().size();
    if (size > 0 && times > limits_.output / size) check_size(limits_.output + 1);
    charge(size * times);
    List items;
    std::string text;
    for (size_t i = 0; i < times && size > 0; ++i) {
      if (what.is_text()) {
        text += what.as_text();
      } else {
        items.insert(items.end(), what.items().begin(), what.items().end());
      }
    }
    return what.is_text() ? Value::text(std::move(text)) : Value::list(std::move(items));
  }
  if (op == "%" && a.is_text()) fail("'%' formatting of a string", ErrorKind::unsupported);
  if (!a.is_number() || !b.is_number())
    fail(str("'", op, "' of a ", a.type(), " and a ", b.type()));
  if ((op == "/" || op == "//" || op == "%") && b.as_double() == 0.0) fail("division by zero");
  if (op == "/") return Value::number(a.as_double() / b.as_double());
  if (a.is_float() || b.is_float() || (op == "**" && b.as_int() < 0)) {
    const double x = a.as_double(), y = b.as_double();
    if (op == "+") return Value::number(x + y);
    if (op == "-") return Value::number(x - y);
    if (op == "*") return Value::number(x * y);
    if (op == "//") return Value::number(std::floor(x / y));
    if (op == "**") return Value::number(std::pow(x, y));
    const double rest = std::fmod(x, y);
    return Value::number(rest != 0 && (rest < 0) != (y < 0) ? rest + y : rest);
  }
  const int64_t x = a.as_int(), y = b.as_int();
  int64_t out = 0;
  bool over = false;
  if (op == "+") {
    over = __builtin_add_overflow(x, y, &out);
  } else if (op == "-") {
    over = __builtin_sub_overflow(x, y, &out);
  } else if (op == "*") {
    over = __builtin_mul_overflow(x, y, &out);
  } else if (op == "**") {
    out = x == 0 && y > 0 ? 0 : x == -1 && y % 2 ? -1 : 1;
    const bool grows = x < -1 || x > 1;  // then 64 turns are enough to overflow
    for (int64_t i = 0; i < y && !over && grows; ++i) over = __builtin_mul_overflow(out, x, &out);
  } else if (y == -1) {
    over = op == "//" && __builtin_sub_overflow(int64_t{0}, x, &out);
  } else {
    const int64_t rest = x % y;
    const bool fix = rest != 0 && (rest < 0) != (y < 0);
    out = op == "//" ? x / y - fix : rest + (fix ? y : 0);
  }
  if (over) fail("a whole number beyond 64 bits");
  return Value::integer(out);
}

}  // namespace smidgen::tmpl
