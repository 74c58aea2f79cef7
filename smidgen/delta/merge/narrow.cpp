#include "smidgen/delta/merge/narrow.h"

#include "smidgen/base/error.h"

namespace smidgen {

namespace {

// As torch.promote_types has it.
Format promoted(Format a, Format b) {
  if (a == b) return a;
  return a == Format::f64 || b == Format::f64 ? Format::f64 : Format::f32;
}

Format own_type(Format stored) {
  const bool plain = is_narrow(stored) || stored == Format::f64;
  return plain ? stored : Format::f32;
}

std::vector<std::string> narrow_methods() {
  std::vector<std::string> names;
  for (const auto& [name, method] : merge_methods().entries()) {
    if (method->traits().narrow) names.push_back(name);
  }
  return names;
}

}  // namespace

void narrow_values(Format arithmetic, std::span<float> values) {
  if (!is_narrow(arithmetic)) return;
  with_narrow(arithmetic, [&](auto type) {
    for (float& value : values) value = narrowed<decltype(type)>(value);
  });
}

void compute_as_mergekit(MergePlan& plan, const std::vector<std::shared_ptr<const Source>>& sources,
                         std::optional<Format> dtype) {
  const bool follows = merge_methods().find(plan.method).traits().narrow;
  for (PlannedTensor& planned : plan.tensors) {
    if (planned.action == PlannedTensor::Action::copy_if_equal) continue;
    std::optional<Format> type = dtype;
    for (const PlannedInput& input : planned.inputs) {
      if (dtype) break;
      const SourceTensor* from = sources.at(input.model)->find(input.tensor);
      SMIDGEN_ASSERT(from);
      const Format own = own_type(from->stored);
      type = type ? promoted(*type, own) : own;
    }
    SMIDGEN_ASSERT(type);
    if (*type == Format::f64)
      throw Error(ErrorKind::unsupported, "float64 is not computed as mergekit does",
                  planned.task.tensor, "dtype: float32, or leave out compat: mergekit");
    if (is_narrow(*type) && !follows)
      throw Error(ErrorKind::unsupported,
                  str(plan.method, " is not computed in 16 bits as mergekit does"),
                  planned.task.tensor,
                  str("dtype: float32, or leave out compat: mergekit; those that are: ",
                      join(narrow_methods())));
    planned.task.arithmetic = *type;
    planned.task.as_mergekit = true;
  }
}

}  // namespace smidgen
