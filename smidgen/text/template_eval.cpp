// The rendering as a whole, its limits, and statements.
#include "smidgen/text/template_eval.h"

#include <utility>

#include "smidgen/text/template_value.h"

namespace smidgen::tmpl {

void Renderer::fail(const std::string& what, ErrorKind kind) const {
  throw Error(kind, what, str(name_, ", line ", line_));
}

void Renderer::unsupported(const std::string& what, const std::string& hint) const {
  throw Error(ErrorKind::unsupported, what, str(name_, ", line ", line_), hint);
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

Value Renderer::new_text(std::string text) {
  check_size(text.size());
  charge(text.size() / 64);
  return Value::text(std::move(text));
}

Slots* Renderer::new_slots() {
  charge(16);  // they live as long as the rendering
  slots_.push_back(std::make_unique<Slots>());
  return slots_.back().get();
}

std::string Renderer::run(const Node& body, Named variables) {
  scope_ = std::make_shared<Scope>();
  scope_->names = std::move(variables);
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

const std::vector<TextSpan>& Renderer::spans() const {
  if (hidden_mark_)
    throw Error(ErrorKind::unsupported, "{% generation %} inside a macro or a captured block",
                str(name_, ", line ", hidden_mark_));
  return spans_;
}

void Renderer::write(const std::string& text) {
  out_.back() += text;
  check_size(out_.back().size());
  charge(1 + text.size() / 64);
}

std::string Renderer::capture(const Node& body) {
  out_.emplace_back();
  const Enter scope(*this);
  exec_body(body);
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
  const Deeper deeper(*this);
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
    case NodeKind::set_block: {
      std::string text = capture(*node.kids[2]);
      assign(*node.kids[0],
             node.kids[1] ? filtered(*node.kids[1], std::move(text)) : new_text(std::move(text)));
      break;
    }
    case NodeKind::with:
      exec_with(node);
      break;
    case NodeKind::macro:
      set_name(node.text, make_macro(node));
      break;
    case NodeKind::call_block: {
      const Node& call_node = *node.kids[0];
      const Value function = eval(*call_node.kids[0]);
      Arguments arguments = eval_arguments(call_node, 1);
      arguments.named.emplace_back("caller", make_macro(*node.kids[1]));
      write(call(function, arguments).str());
      break;
    }
    case NodeKind::filter_block:
      write(filtered(*node.kids[0], capture(*node.kids[1])).str());
      break;
    case NodeKind::generation:
      exec_generation(node);
      break;
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

void Renderer::exec_with(const Node& node) {
  // The values are those of outside, whatever the names before them.
  List values;
  for (size_t i = 1; i + 1 < node.kids.size(); i += 2) values.push_back(eval(*node.kids[i + 1]));
  const Enter scope(*this);
  for (size_t i = 0; i < values.size(); ++i) assign(*node.kids[2 * i + 1], values[i]);
  exec_body(*node.kids[0]);
}

void Renderer::exec_generation(const Node& node) {
  const std::string text = capture(*node.kids[0]);
  if (out_.size() > 1) hidden_mark_ = node.line;
  spans_.push_back({out_[0].size(), out_[0].size() + text.size()});
  write(text);
}

Value Renderer::filtered(const Node& filters, std::string text) {
  const Enter scope(*this);
  scope_->names.emplace_back(kBlockInput, new_text(std::move(text)));
  return eval(filters);
}

}  // namespace smidgen::tmpl
