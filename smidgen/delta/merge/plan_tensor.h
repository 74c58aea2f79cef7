// The plan of single tensors: which inputs have it, whether they fit, and the method's values.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "smidgen/delta/merge/model_index.h"
#include "smidgen/delta/merge/plan.h"

namespace smidgen {

// A slice as planning sees it, whatever the recipe wrote.
struct PlannedSource {
  size_t model = 0;
  int64_t begin = 0, end = 0;
  const Parameters* parameters = nullptr;
  std::string place;
  bool added = false;           // base_model, which no entry names
  std::string statistics = {};  // the file that its entry names
};
struct PlannedSlice {
  std::vector<PlannedSource> sources;
  std::optional<size_t> base;  // among the sources, where the method uses one
  const Parameters* parameters = nullptr;
  const Parameters* module = nullptr;
  std::string place;

  int64_t layers() const { return sources.front().end - sources.front().begin; }
};

class TensorPlanner {
 public:
  TensorPlanner(const MergeRecipe& recipe, const MergeMethod& method,
                const std::vector<ModelIndex>& models)
      : recipe_(recipe), traits_(method.traits()), fields_(method.fields()), models_(models) {}

  // Source i gives `names[i]`.
  void plan(const std::string& tensor, const std::vector<std::string>& names,
            const PlannedSlice& slice, double t);

  // Throws mismatch if anything did not fit.
  std::vector<PlannedTensor> finish(std::vector<std::string>& notes);

 private:
  struct Found {
    size_t source = 0;
    PlannedInput input;
    const SourceTensor* tensor = nullptr;
    bool stored = true;  // by its own name, not a tied one's
    std::string name;    // its own
  };
  enum class Fate { merge, copy, leave_out, problem };

  std::vector<Found> find(const std::vector<std::string>& names, const PlannedSlice& slice) const;
  Fate fate(const std::string& tensor, const std::vector<Found>& found, const PlannedSlice& slice);
  bool fits(const std::string& tensor, const std::vector<Found>& found, PlannedTensor& planned);
  void set_values(PlannedTensor& planned, const std::vector<Found>& inputs,
                  const PlannedSlice& slice, double t) const;
  double value(const MergeField& field, const PlannedSlice& slice, const PlannedSource* source,
               const std::string& tensor, double t) const;

  const MergeRecipe& recipe_;
  MergeTraits traits_;
  std::vector<MergeField> fields_;
  const std::vector<ModelIndex>& models_;
  std::vector<PlannedTensor> tensors_;
  std::vector<std::string> problems_, copied_, left_out_;
  bool rows_differ_ = false;
};

}  // namespace smidgen
