#include "smidgen/delta/merge/plan.h"

#include <algorithm>

#include "smidgen/base/error.h"
#include "smidgen/delta/merge/modules.h"
#include "smidgen/delta/merge/plan_tensor.h"

namespace smidgen {

namespace {

class Planner {
 public:
  Planner(const MergeRecipe& recipe, const MergeMethod& method,
          std::span<const ModelTensors> models)
      : recipe_(recipe), traits_(method.traits()), refs_(models_of(recipe)) {
    SMIDGEN_ASSERT(models.size() == refs_.size());
    for (const ModelTensors& model : models) models_.emplace_back(model);
    for (const ModelTensors& model : models) {
      for (const SourceTensor& tensor : model.tensors) all_.add(tensor.name);
    }
  }

  MergePlan run(const MergeMethod& method) {
    MergePlan plan{.method = recipe_.method};
    if (recipe_.base) plan.donor = index_of(*recipe_.base);
    donor_ = plan.donor;
    TensorPlanner tensors(recipe_, method, models_);
    tensors_ = &tensors;
    for (const ModelPart& part : model_parts(recipe_, all_.names())) plan_part(part);
    plan.tensors = tensors.finish(plan.notes);
    plan.stacks = std::move(stacks_);
    return plan;
  }

 private:
  size_t index_of(const ModelRef& model) const {
    const auto found = std::find(refs_.begin(), refs_.end(), model);
    SMIDGEN_ASSERT(found != refs_.end());
    return static_cast<size_t>(found - refs_.begin());
  }

  // Which source is the base, and whether the method takes so many inputs.
  void set_base(PlannedSlice& slice, const std::optional<ModelRef>& base) const {
    using enum MergeTraits::Base;
    if (traits_.base == required && !base)
      throw Error(ErrorKind::usage, str(recipe_.method, " needs [base_model]"),
                  recipe_.method_place);
    if (traits_.base != ignored && base) {
      const size_t wanted = index_of(*base);
      for (size_t i = slice.sources.size(); i-- > 0;) {
        if (slice.sources[i].model == wanted) slice.base = i;
      }
      if (!slice.base)
        throw Error(ErrorKind::usage,
                    str("base_model '", base->text(), "' is not a source of this slice"),
                    slice.place, "a slice lists every model that it is made of, the base too");
    }
    const size_t inputs = slice.sources.size() - (slice.base ? 1 : 0);
    if (inputs >= traits_.least && (!traits_.most || inputs <= *traits_.most)) return;
    const bool exact = traits_.most == traits_.least, few = inputs < traits_.least;
    throw Error(ErrorKind::usage,
                str(recipe_.method, " takes ",
                    exact ? "exactly "
                    : few ? "at least "
                          : "at most ",
                    counted(few ? traits_.least : *traits_.most, "model"),
                    slice.base ? " beside the base" : "", ", and here are ", inputs),
                slice.place);
  }

  PlannedSlice slice_of_models(const ModelPart& part, const std::string& prefix) const {
    PlannedSlice slice{.module = &part.spec->parameters, .place = part.spec->place};
    for (const SourceSpec& spec : part.spec->models) {
      slice.sources.push_back({.model = index_of(spec.model),
                               .parameters = &spec.parameters,
                               .place = spec.place,
                               .statistics = spec.statistics});
    }
    if (recipe_.base &&
        std::none_of(slice.sources.begin(), slice.sources.end(), [&](const PlannedSource& source) {
          return source.model == index_of(*recipe_.base);
        })) {
      slice.sources.push_back(
          {.model = index_of(*recipe_.base), .place = recipe_.base->place, .added = true});
    }
    for (PlannedSource& source : slice.sources) source.end = models_[source.model].layers(prefix);
    for (const PlannedSource& source : slice.sources) {
      if (source.end == slice.layers()) continue;
      const auto& first = slice.sources.front();
      throw Error(ErrorKind::mismatch,
                  str("the models have different numbers of layers under ", prefix, ": ", first.end,
                      " in '", models_[first.model].label(), "' and ", source.end, " in '",
                      models_[source.model].label(), "'"),
                  source.place, "slices choose layers of each");
    }
    set_base(slice, recipe_.base);
    require_statistics(slice);
    return slice;
  }

  void require_statistics(const PlannedSlice& slice) const {
    if (!traits_.statistics) return;
    for (size_t i = 0; i < slice.sources.size(); ++i) {
      const PlannedSource& source = slice.sources[i];
      if (i == slice.base || !source.statistics.empty()) continue;
      throw Error(ErrorKind::usage,
                  str(recipe_.method, " needs statistics of every model, and '",
                      models_[source.model].label(), "' has none"),
                  source.place,
                  source.added ? str("base_model is an input of ", recipe_.method,
                                     " like any other; leave it out")
                               : str("statistics: FILE beside its model; `smidgen statistics "
                                     "--kind ",
                                     traits_.statistics, "` writes one"));
    }
  }

  PlannedSlice slice_of(const SliceSpec& spec, const ModelPart& part,
                        const std::string& prefix) const {
    PlannedSlice slice{
        .parameters = &spec.parameters, .module = &part.spec->parameters, .place = spec.place};
    for (const SourceSpec& source : spec.sources) {
      const size_t model = index_of(source.model);
      const int64_t layers = models_[model].layers(prefix);
      if (source.end > layers)
        throw Error(ErrorKind::usage,
                    str("layer_range ends at ", source.end, ", and '", models_[model].label(),
                        "' has ", counted(layers, "layer"), " under ", prefix),
                    source.place);
      slice.sources.push_back({.model = model,
                               .begin = source.begin,
                               .end = source.end,
                               .parameters = &source.parameters,
                               .place = source.place,
                               .statistics = source.statistics});
    }
    set_base(slice, spec.base ? spec.base : recipe_.base);
    require_statistics(slice);
    return slice;
  }

  void plan_loose(const ModelPart& part, const PlannedSlice& slice, bool before) {
    for (const std::string& name : part.loose) {
      if (is_before_layers(name) != before) continue;
      tensors_->plan(name, std::vector<std::string>(slice.sources.size(), name), slice, 0);
    }
  }

  void plan_layer(const std::string& prefix, const PlannedSlice& slice, int64_t offset,
                  PlannedStack& stack) {
    NameUnion rests;
    for (const PlannedSource& source : slice.sources) {
      for (const std::string& rest : models_[source.model].in_layer(prefix, source.begin + offset))
        rests.add(rest);
    }
    const auto from = std::find_if(slice.sources.begin(), slice.sources.end(),
                                   [&](const PlannedSource& s) { return s.model == donor_; });
    const PlannedSource& origin = from == slice.sources.end() ? slice.sources.front() : *from;
    const auto number = static_cast<int64_t>(stack.layers.size());
    stack.layers.push_back({origin.model, origin.begin + offset});
    const double t = slice.layers() == 1
                         ? 1.0
                         : static_cast<double>(offset) / static_cast<double>(slice.layers() - 1);
    for (const std::string& rest : rests.names()) {
      std::vector<std::string> names;
      for (const PlannedSource& source : slice.sources)
        names.push_back(LayerName{prefix, 0, rest}.in_layer(source.begin + offset));
      tensors_->plan(LayerName{prefix, 0, rest}.in_layer(number), names, slice, t);
    }
  }

  void plan_stack(const std::string& prefix, const std::vector<PlannedSlice>& slices) {
    PlannedStack stack{.prefix = prefix, .before = models_[donor_].layers(prefix)};
    for (const PlannedSlice& slice : slices) {
      for (int64_t i = 0; i < slice.layers(); ++i) plan_layer(prefix, slice, i, stack);
    }
    stacks_.push_back(std::move(stack));
  }

  void plan_part(const ModelPart& part) {
    std::vector<std::vector<PlannedSlice>> by_stack;
    for (const LayerStack& stack : part.stacks) {
      auto& slices = by_stack.emplace_back();
      if (!part.spec->models.empty()) slices.push_back(slice_of_models(part, stack.prefix));
      for (const SliceSpec& spec : part.spec->slices)
        slices.push_back(slice_of(spec, part, stack.prefix));
    }
    // Outside of layers there are the first slice's models and the last one's.
    const PlannedSlice all = part.spec->models.empty() ? PlannedSlice{} : slice_of_models(part, "");
    const bool cut = part.spec->models.empty();
    plan_loose(part, cut ? by_stack.front().front() : all, true);
    for (size_t i = 0; i < part.stacks.size(); ++i) plan_stack(part.stacks[i].prefix, by_stack[i]);
    plan_loose(part, cut ? by_stack.front().back() : all, false);
  }

  const MergeRecipe& recipe_;
  MergeTraits traits_;
  std::vector<ModelRef> refs_;
  std::vector<ModelIndex> models_;
  NameUnion all_;
  size_t donor_ = 0;
  TensorPlanner* tensors_ = nullptr;
  std::vector<PlannedStack> stacks_;
};

// Every parameter of the recipe against the method's.
void check_all(const MergeRecipe& recipe, const MergeMethod& method,
               const Registry<MergeMethod>& methods, RecipeReading& reading) {
  const std::vector<MergeField> fields = method.fields();
  // Of methods of other versions too: mergekit has dropped these and ignores them.
  std::vector<std::string> others = {"consensus_method", "embed_slerp", "int8_mask"};
  for (const auto& entry : methods.entries()) {
    for (const MergeField& field : entry.second->fields()) others.push_back(field.name);
  }
  const auto check = [&](const Parameters& parameters, bool of_one_model) {
    check_parameters(parameters, fields, others, of_one_model, reading);
  };
  const auto check_source = [&](const SourceSpec& source) {
    check(source.parameters, true);
    if (!source.statistics.empty() && !method.traits().statistics)
      reading.ignore("statistics", source.place, str("the method ", recipe.method));
  };
  const auto check_module = [&](const ModuleSpec& module) {
    check(module.parameters, false);
    for (const SourceSpec& source : module.models) check_source(source);
    for (const SliceSpec& slice : module.slices) {
      check(slice.parameters, false);
      for (const SourceSpec& source : slice.sources) check_source(source);
    }
  };
  check(recipe.parameters, false);
  check_module(recipe.body);
  for (const ModuleSpec& module : recipe.modules) check_module(module);
}

}  // namespace

MergePlan plan_merge(const MergeRecipe& recipe, const Registry<MergeMethod>& methods,
                     std::span<const ModelTensors> models) {
  if (!methods.contains(recipe.method))
    throw Error(
        ErrorKind::usage, str("there is no merge method '", recipe.method, "'"),
        recipe.method_place,
        did_you_mean(recipe.method, methods.names(), str("known: ", join(methods.names()))));
  const MergeMethod& method = methods.find(recipe.method);
  RecipeReading reading{.file = recipe.file, .strict = recipe.strict, .ignored = recipe.ignored};
  check_all(recipe, method, methods, reading);
  MergePlan plan = Planner(recipe, method, models).run(method);
  if (!reading.ignored.empty())
    plan.notes.insert(plan.notes.begin(), ignored_note(reading.ignored));
  return plan;
}

}  // namespace smidgen
