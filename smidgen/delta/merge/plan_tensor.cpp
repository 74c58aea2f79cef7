#include "smidgen/delta/merge/plan_tensor.h"

#include <algorithm>
#include <array>
#include <functional>
#include <numeric>

#include "smidgen/base/error.h"
#include "smidgen/delta/merge/layers.h"

namespace smidgen {

namespace {

constexpr size_t kNamed = 8;  // tensors that an error or a note names

bool gives(const Parameters* parameters, const std::string& name) {
  return parameters &&
         std::any_of(parameters->begin(), parameters->end(),
                     [&](const MergeParameter& parameter) { return parameter.name == name; });
}

// The same but for the number of rows.
bool same_columns(const std::vector<int64_t>& a, const std::vector<int64_t>& b) {
  return a.size() == b.size() && !a.empty() && std::equal(a.begin() + 1, a.end(), b.begin() + 1);
}

}  // namespace

std::vector<TensorPlanner::Found> TensorPlanner::find(const std::vector<std::string>& names,
                                                      const PlannedSlice& slice) const {
  std::vector<Found> found;
  for (size_t i = 0; i < slice.sources.size(); ++i) {
    const size_t model = slice.sources[i].model;
    const SourceTensor* tensor = models_[model].find(names[i]);
    const bool stored = tensor != nullptr;
    if (!stored) {
      for (const std::string& name : tied_names(names[i])) {
        if ((tensor = models_[model].find(name))) break;
      }
    }
    if (!tensor) continue;
    const PlannedInput input{model, tensor->name, slice.sources[i].statistics};
    found.push_back({i, input, tensor, stored, names[i]});
  }
  return found;
}

TensorPlanner::Fate TensorPlanner::fate(const std::string& tensor, const std::vector<Found>& found,
                                        const PlannedSlice& slice) {
  using enum MergeTraits::Missing;
  if (std::none_of(found.begin(), found.end(), [](const Found& f) { return f.stored; })) {
    // A head that all inputs tie needs no words; one that only a model of other slices has does.
    if (found.empty()) left_out_.push_back(tensor);
    return Fate::leave_out;
  }
  if (found.size() == slice.sources.size()) return Fate::merge;
  if (is_recomputed(tensor)) {
    left_out_.push_back(tensor);
    return Fate::leave_out;
  }
  const bool has_base = slice.base && std::any_of(found.begin(), found.end(), [&](const Found& f) {
                          return f.source == *slice.base;
                        });
  const bool single = found.size() == 1;
  if (single && (traits_.missing == copy_single ||
                 (has_base && (traits_.missing == copy_base || traits_.missing == base_or_skip)))) {
    copied_.push_back(str(tensor, " of '", models_[found[0].input.model].label(), "'"));
    return Fate::copy;
  }
  if (traits_.missing == base_or_skip) {
    if (has_base && found.size() - 1 >= traits_.least) return Fate::merge;
    if (found.size() < traits_.least + 1) {
      left_out_.push_back(tensor);
      return Fate::leave_out;
    }
  }
  std::vector<std::string> lacking;
  for (size_t i = 0; i < slice.sources.size(); ++i) {
    if (std::none_of(found.begin(), found.end(), [&](const Found& f) { return f.source == i; }))
      lacking.push_back(str("'", models_[slice.sources[i].model].label(), "'"));
  }
  problems_.push_back(str(tensor, " is not in ", join(lacking, " and ")));
  return Fate::problem;
}

bool TensorPlanner::fits(const std::string& tensor, const std::vector<Found>& found,
                         PlannedTensor& planned) {
  const Found& first = found.front();
  planned.vocabulary = is_vocabulary(tensor);
  bool numbers = true;
  for (const Found& other : found) {
    const FormatInfo& format = info(other.tensor->stored);
    numbers = numbers && format.floating;
    const auto& label = models_[other.input.model].label();
    const auto problem = [&](const auto&... parts) {
      problems_.push_back(str(tensor, parts...));
      return false;
    };
    if (other.tensor->shape != first.tensor->shape) {
      const bool rows =
          planned.vocabulary && same_columns(other.tensor->shape, first.tensor->shape);
      rows_differ_ = rows_differ_ || rows;
      if (!rows || !recipe_.tokenizer)
        return problem(" has the shape ", shape_str(first.tensor->shape), " in '",
                       models_[first.input.model].label(), "' and ", shape_str(other.tensor->shape),
                       " in '", label, "'");
    }
    if ((!format.floating || !info(first.tensor->stored).floating) &&
        other.tensor->stored != first.tensor->stored)
      return problem(" is stored as ", to_string(first.tensor->stored), " in '",
                     models_[first.input.model].label(), "' and as ", format.name, " in '", label,
                     "'");
    if (format.floating && !format.readable)
      return problem(" is stored as ", format.name, " in '", label,
                     "', which cannot be read as numbers");
  }
  if (!numbers) planned.action = PlannedTensor::Action::copy_if_equal;
  return true;
}

double TensorPlanner::value(const MergeField& field, const PlannedSlice& slice,
                            const PlannedSource* source, const std::string& tensor,
                            double t) const {
  const std::array<const Parameters*, 4> scopes = {
      source ? source->parameters : nullptr, slice.parameters, slice.module, &recipe_.parameters};
  if (const auto found = resolve(field, scopes, tensor, t)) return *found;
  std::string hint = source ? "write it under parameters of the model's entry or of the recipe"
                            : "write it under parameters of the recipe";
  if (std::any_of(scopes.begin(), scopes.end(),
                  [&](const Parameters* scope) { return gives(scope, field.name); })) {
    hint = "none of its filters fits that name; an entry without a filter fits every name";
  } else if (source && source->added) {
    hint = str("base_model is an input of ", recipe_.method,
               " like any other; give it an entry in "
               "models, or leave it out");
  } else if (!source &&
             std::any_of(slice.sources.begin(), slice.sources.end(),
                         [&](const PlannedSource& s) { return gives(s.parameters, field.name); })) {
    hint =
        "it is one value for all inputs, and is not looked for in the entry of one model; write "
        "it under parameters of the slice or of the recipe";
  }
  const std::string of = source ? str(" of '", models_[source->model].label(), "'") : std::string();
  throw Error(
      ErrorKind::usage,
      str(recipe_.method, " needs ", field.name, ", and the recipe has none for ", tensor, of),
      source ? source->place : slice.place, hint);
}

void TensorPlanner::set_values(PlannedTensor& planned, const std::vector<Found>& inputs,
                               const PlannedSlice& slice, double t) const {
  MergeTask& task = planned.task;
  task.by_input.resize(task.inputs);
  for (const MergeField& field : fields_) {
    if (field.scope == MergeField::Scope::shared) {
      task.shared[field.name] = value(field, slice, nullptr, task.tensor, t);
      continue;
    }
    for (size_t i = 0; i < task.inputs; ++i)
      task.by_input[i][field.name] =
          value(field, slice, &slice.sources[inputs[i].source], inputs[i].name, t);
  }
}

void TensorPlanner::plan(const std::string& tensor, const std::vector<std::string>& names,
                         const PlannedSlice& slice, double t) {
  std::vector<Found> found = find(names, slice);
  const Fate what = fate(tensor, found, slice);
  if (what == Fate::leave_out || what == Fate::problem) return;
  // The base last, as TensorPorts counts.
  const auto base = std::stable_partition(found.begin(), found.end(), [&](const Found& f) {
    return what == Fate::copy || !slice.base || f.source != *slice.base;
  });
  PlannedTensor planned;
  if (!fits(tensor, found, planned)) return;
  if (what == Fate::copy) planned.action = PlannedTensor::Action::copy;
  MergeTask& task = planned.task;
  task.tensor = tensor;
  task.shape = found.front().tensor->shape;
  task.elements =
      std::accumulate(task.shape.begin(), task.shape.end(), int64_t{1}, std::multiplies<int64_t>());
  task.columns = task.shape.empty() ? 1 : task.shape.back();
  task.inputs = static_cast<size_t>(base - found.begin());
  task.base = base != found.end();
  task.seed = recipe_.seed;
  for (const Found& f : found) planned.inputs.push_back(f.input);
  if (planned.action == PlannedTensor::Action::merge) set_values(planned, found, slice, t);
  tensors_.push_back(std::move(planned));
}

std::vector<PlannedTensor> TensorPlanner::finish(std::vector<std::string>& notes) {
  if (!problems_.empty())
    throw Error(ErrorKind::mismatch,
                str("the models do not fit together in ", counted(problems_.size(), "tensor"), ": ",
                    join(problems_, "; ", kNamed)),
                recipe_.file,
                rows_differ_ && !recipe_.tokenizer
                    ? "their vocabularies differ: tokenizer: {source: union} brings them together"
                    : "");
  if (!copied_.empty())
    notes.push_back(str("copied from the one model that has them: ", join(copied_, ", ", kNamed)));
  if (!left_out_.empty())
    notes.push_back(
        str("left out, since not all inputs have them: ", join(left_out_, ", ", kNamed)));
  return std::move(tensors_);
}

}  // namespace smidgen
