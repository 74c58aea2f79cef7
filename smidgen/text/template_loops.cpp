// The for statement and its `loop`.
#include <utility>

#include "smidgen/text/template_eval.h"

namespace smidgen::tmpl {

Renderer::Flow Renderer::exec_for(const Node& node) {
  run_loop(node, eval(*node.kids[1]), 1);
  return Flow::normal;
}

void Renderer::run_loop(const Node& node, const Value& over, int depth) {
  List items = iterate(over);
  if (node.kids[2]) {
    List kept;
    for (const Value& item : items) {
      const Enter scope(*this);
      assign(*node.kids[0], item);
      if (eval(*node.kids[2]).truthy()) kept.push_back(item);
    }
    items = std::move(kept);
  }
  const auto loop = std::make_shared<Loop>();
  loop->items = std::move(items);
  loop->depth = depth;
  loop->node = &node;
  loop->scope = scope_;
  const size_t count = loop->items.size();
  Flow flow = Flow::normal;
  bool finished = false;  // jinja2 runs the else unless some turn reached its end
  for (size_t i = 0; i < count && flow != Flow::stop_loop; ++i) {
    loop->at = i;
    const Enter scope(*this);
    scope_->names.emplace_back("loop", Value(Value::Data(loop)));
    assign(*node.kids[0], loop->items[i]);
    flow = exec_body(*node.kids[3]);
    finished |= flow == Flow::normal;
    charge(1);
  }
  // A `loop` that was kept must not keep its items: loops in loops in loops would be destroyed by
  // recursion.
  loop->items.clear();
  loop->changed.reset();
  loop->scope.reset();
  if (finished || !node.kids[4]) return;
  const Enter scope(*this);
  exec_body(*node.kids[4]);
}

Value Renderer::loop_attribute(const Value& value, const std::string& name) {
  Loop& loop = value.as_loop();
  const auto at = static_cast<int64_t>(loop.at), count = static_cast<int64_t>(loop.items.size());
  if (name == "index") return Value::integer(at + 1);
  if (name == "index0") return Value::integer(at);
  if (name == "revindex") return Value::integer(count - at);
  if (name == "revindex0") return Value::integer(count - at - 1);
  if (name == "first") return Value::boolean(at == 0);
  if (name == "last") return Value::boolean(at + 1 == count);
  if (name == "length") return Value::integer(count);
  if (name == "depth") return Value::integer(loop.depth);
  if (name == "depth0") return Value::integer(loop.depth - 1);
  if (name == "previtem")
    return at > 0 && at <= count ? loop.items[loop.at - 1]
                                 : Value::undefined("there is no previous item");
  if (name == "nextitem")
    return at + 1 < count ? loop.items[loop.at + 1] : Value::undefined("there is no next item");
  if (name == "cycle")
    return Value::callable({name, [this, value](Arguments& a) {
                              if (a.plain.empty()) fail("loop.cycle() without items");
                              return a.plain[value.as_loop().at % a.plain.size()];
                            }});
  if (name == "changed")
    return Value::callable({name, [value](Arguments& a) {
                              std::optional<List>& last = value.as_loop().changed;
                              const bool same =
                                  last && Value::list(*last).equals(Value::list(a.plain));
                              last = a.plain;
                              return Value::boolean(!same);
                            }});
  return Value::undefined(str("the loop has no '", name, "'"));
}

}  // namespace smidgen::tmpl
