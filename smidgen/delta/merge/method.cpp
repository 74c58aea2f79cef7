#include "smidgen/delta/merge/method.h"

namespace smidgen {

namespace {

double at(const std::map<std::string, double>& values, const std::string& name) {
  const auto found = values.find(name);
  SMIDGEN_ASSERT(found != values.end());
  return found->second;
}

}  // namespace

double MergeTask::value(const std::string& name) const {
  return at(shared, name);
}

double MergeTask::value(size_t input, const std::string& name) const {
  return at(by_input.at(input), name);
}

std::optional<PassSize> TensorMerge::pass_size(int) const {
  return std::nullopt;
}

void TensorMerge::reduce(int, const Chunk&, const Partial&) const {
  SMIDGEN_ASSERT(!"a method with passes reduces");
}

void TensorMerge::finish(int, std::span<const double>, std::span<const uint64_t>) {
  SMIDGEN_ASSERT(!"a method with passes finishes them");
}

const Registry<MergeMethod>& merge_methods() {
  static const Registry<MergeMethod> registry = [] {
    Registry<MergeMethod> made("merge method");
    register_all(made);
    return made;
  }();
  return registry;
}

}  // namespace smidgen
