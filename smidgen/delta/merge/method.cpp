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

Json describe_merge_methods() {
  using enum MergeField::Kind;
  Json all = Json::object();
  for (const auto& [name, method] : merge_methods().entries()) {
    const MergeTraits::Base base = method->traits().base;
    Json fields = Json::array();
    for (const MergeField& field : method->fields()) {
      Json node = {{"name", field.name},
                   {"type", field.kind == flag      ? "bool"
                            : field.kind == integer ? "int"
                                                    : "float"},
                   {"help", field.help}};
      if (!field.standard) {
        node["required"] = true;
      } else if (field.kind == flag) {
        node["default"] = *field.standard != 0;
      } else if (field.kind == integer) {
        node["default"] = static_cast<int64_t>(*field.standard);
      } else {
        node["default"] = *field.standard;
      }
      node["each_model"] = field.scope != MergeField::Scope::shared;
      fields.push_back(std::move(node));
    }
    all[name] = {{"summary", method->summary()},
                 {"source", method->source()},
                 {"base", base == MergeTraits::Base::ignored    ? "ignored"
                          : base == MergeTraits::Base::optional ? "optional"
                                                                : "required"},
                 {"fields", std::move(fields)}};
  }
  return all;
}

}  // namespace smidgen
