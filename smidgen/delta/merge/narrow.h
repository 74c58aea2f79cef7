// Arithmetic in the steps of mergekit, which are torch's, also in bf16 and f16 as torch does it on
// processors: each operation on an element is made in fp32 and rounded to the format, ties to even;
// a sum over models is made in fp32 and rounded once.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include "smidgen/delta/merge/plan.h"
#include "smidgen/delta/source.h"
#include "smidgen/io/tensor_view.h"

namespace smidgen {

inline bool is_narrow(Format arithmetic) {
  return arithmetic == Format::bf16 || arithmetic == Format::f16;
}

// x rounded to T, which is c10::BFloat16, c10::Half or float.
template <class T>
float narrowed(float x) {
  return static_cast<float>(T(x));
}

// visit(T()) with the type that stands for the format.
template <class Visit>
auto with_narrow(Format arithmetic, Visit&& visit) {
  if (arithmetic == Format::f32) return visit(float());
  return arithmetic == Format::bf16 ? visit(c10::BFloat16()) : visit(c10::Half());
}

// Does nothing unless the format is narrow.
void narrow_values(Format arithmetic, std::span<float> values);

// For `compat: mergekit`: MergeTask::as_mergekit is set, and arithmetic becomes `dtype`, without
// one what the types of a tensor's inputs are promoted to. Throws unsupported for float64, and for
// 16 bits where the method does not follow (MergeTraits::narrow).
void compute_as_mergekit(MergePlan& plan, const std::vector<std::shared_ptr<const Source>>& sources,
                         std::optional<Format> dtype);

}  // namespace smidgen
