// The rendering as a whole, its limits, and statements.
#include "smidgen/text/template_eval.h"

#include <algorithm>
#include <utility>

namespace smidgen::tmpl {

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

}  // namespace smidgen::tmpl
