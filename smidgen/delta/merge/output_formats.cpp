#include "smidgen/delta/merge/output_formats.h"

#include "smidgen/base/error.h"

namespace smidgen {

namespace {

// The narrowest of the formats that merges are written in that holds both.
Format promoted(Format a, Format b) {
  if (a == b) return a;
  return a == Format::f64 || b == Format::f64 ? Format::f64 : Format::f32;
}

Format plain(Format stored) {
  switch (stored) {
    case Format::f64:
    case Format::bf16:
    case Format::f16:
      return stored;
    default:
      return Format::f32;
  }
}

}  // namespace

std::vector<Format> output_formats(const MergePlan& plan,
                                   const std::vector<std::shared_ptr<const Source>>& sources,
                                   std::optional<Format> wanted) {
  std::vector<Format> formats;
  for (const PlannedTensor& tensor : plan.tensors) {
    std::optional<Format> format;
    for (const PlannedInput& input : tensor.inputs) {
      const SourceTensor* from = sources.at(input.model)->find(input.tensor);
      SMIDGEN_ASSERT(from);
      const bool number = info(from->stored).floating;
      const Format own = number ? wanted.value_or(plain(from->stored)) : from->stored;
      format = format ? promoted(*format, own) : own;
    }
    SMIDGEN_ASSERT(format);
    formats.push_back(*format);
  }
  return formats;
}

}  // namespace smidgen
