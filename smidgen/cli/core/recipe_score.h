// How good the model is that a merge recipe makes: what a coefficient search asks.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "smidgen/cli/core/data_choice.h"
#include "smidgen/delta/merge/merge_run.h"

namespace smidgen {

// Each file is a task, and all count alike: the mean over them of
//   the loss as `smidgen eval` has it, or
//   1 - accuracy, where there are `choices` (as eval's; auto: the completions of the file).
class RecipeScore {
 public:
  // Trials are merged into `folder`, one at a time, and removed.
  RecipeScore(const MergeRun& run, const DataChoice& data, std::vector<std::string> choices,
              fs::path folder);
  ~RecipeScore();

  double operator()(const std::string& recipe);
  // What the scores depend on beside the recipe.
  Json identity() const;

 private:
  struct Tasks;
  MergeRun run_;
  DataChoice data_;
  std::vector<std::string> choices_;
  fs::path folder_;
  std::vector<fs::path> files_;
  std::unique_ptr<Tasks> tasks_;  // read with the tokenizer of the first trial
};

}  // namespace smidgen
