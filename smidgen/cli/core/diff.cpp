// smidgen diff: what differs between two models or adapters. Exit code 0: nothing, 1: something.
#include <algorithm>
#include <optional>

#include "smidgen/base/console.h"
#include "smidgen/base/progress.h"
#include "smidgen/base/schema.h"
#include "smidgen/base/signals.h"
#include "smidgen/cli/core/verb.h"
#include "smidgen/delta/diff/subject.h"
#include "smidgen/report/svg.h"

namespace smidgen {

namespace {

struct DiffConfig {
  std::string first, second;
  int64_t top = 20;
  bool allow_other_base = false;
};

template <class V>
void fields(V& v, DiffConfig& c) {
  v("first", c.first,
    {.help = "Model, adapter, GGUF or safetensors file; BASE+ADAPTER is a model",
     .required = true});
  v("second", c.second, {.help = "The same kind of thing", .required = true});
  v("top", c.top,
    {.help = "Tensors and keys that are printed, those with the largest relative difference first; "
             "0: all",
     .min = 0});
  v("allow_other_base", c.allow_other_base,
    {.help = "Add an adapter to another base than it was trained on"});
}

std::string value_line(const std::optional<Json>& value) {
  if (!value) return "absent";
  const std::string text = value->dump(-1, ' ', false, Json::error_handler_t::replace);
  if (text.size() <= 60) return text;
  size_t end = 57;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return text.substr(0, end) + "...";
}

std::string shape_text(const SourceTensor& tensor) {
  return str(to_string(tensor.stored), " [", join(tensor.shape), "]");
}

std::string tensor_line(const TensorDifference& t) {
  std::string line = str("  ", t.name, ": ");
  if (!t.first || !t.second)
    return str(line, "only in ", t.first ? "A" : "B", ", ",
               shape_text(t.first ? *t.first : *t.second), "\n");
  if (t.first->shape != t.second->shape || t.first->stored != t.second->stored)
    line += str(shape_text(*t.first), " | ", shape_text(*t.second), t.values ? "; " : "");
  if (!t.values) return str(line, t.first->shape == t.second->shape ? "other bytes" : "", "\n");
  const ValueDifference& v = *t.values;
  if (v.differing == 0) return str(line, "equal values, other bits\n");
  line += str("max ", format_number(v.max_abs), ", relative ", format_number(v.relative()),
              ", rms ", format_number(v.rms()), ", ", v.differing, " of ", v.elements, " elements");
  if (v.not_finite) line += str(", ", v.not_finite, " of them not finite");
  return line + "\n";
}

// What stands first in the list: other sets of tensors, other shapes, then by size.
double weight(const TensorDifference& t) {
  if (!t.first || !t.second) return 1e300;
  if (!t.values) return 1e299;
  return t.values->not_finite ? 1e298 : t.values->relative();
}

void print(const Difference& d, int64_t top) {
  const auto most = top ? static_cast<size_t>(top) : SIZE_MAX;
  std::string text;
  std::string file;
  for (size_t i = 0; i < std::min(most, d.keys.size()); ++i) {
    if (d.keys[i].file != file) text += str(file = d.keys[i].file, "\n");
    text += str("  ", d.keys[i].key, ": ", value_line(d.keys[i].first), " | ",
                value_line(d.keys[i].second), "\n");
  }
  if (d.keys.size() > most) text += str("  and ", d.keys.size() - most, " more: --top 0\n");
  std::vector<const TensorDifference*> differing;
  for (const TensorDifference& t : d.tensors) {
    if (!t.equal()) differing.push_back(&t);
  }
  std::stable_sort(differing.begin(), differing.end(),
                   [](const auto* a, const auto* b) { return weight(*a) > weight(*b); });
  if (!differing.empty())
    text += str("tensors: ", differing.size(), " of ", d.tensors.size(), " differ\n");
  for (size_t i = 0; i < std::min(most, differing.size()); ++i) text += tensor_line(*differing[i]);
  if (differing.size() > most) text += str("  and ", differing.size() - most, " more: --top 0\n");
  console().print(text);
}

int run_diff(const Invocation& invocation) {
  const auto config = read_config<DiffConfig>(invocation.recipe.values);
  std::optional<Progress> progress;
  const Difference d = difference(config.first, config.second, config.allow_other_base,
                                  [&](int64_t done, int64_t total) {
                                    throw_if_stopped();
                                    if (!progress) progress.emplace("diff", total);
                                    progress->update(done);
                                  });
  progress.reset();
  if (invocation.output.json) {
    print_json(d.to_json());
  } else {
    print(d, config.top);
  }
  return d.equal() ? 0 : 1;
}

}  // namespace

CoreVerb diff_verb() {
  return {.name = "diff",
          .summary = "Tell what differs between two models or adapters",
          .examples = Json::array(
              {Json::array({"smidgen diff model tuned", "tensors, configuration, tokenizer"}),
               Json::array({"smidgen diff run/adapter other/adapter --top 0 --json",
                            "every tensor and key of two adapters"})}),
          .describe = [] { return describe<DiffConfig>(); },
          .positional = "first second",
          .answer = run_diff};
}

}  // namespace smidgen
