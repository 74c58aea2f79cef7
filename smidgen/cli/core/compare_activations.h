// Two sets of prompts as a model sees them: `smidgen compare --prompts A --prompts B`.
#pragma once

#include <string>
#include <vector>

#include "smidgen/base/fs.h"
#include "smidgen/delta/subspace/activations.h"
#include "smidgen/methods/open_model.h"

namespace smidgen {

// The tokens of every prompt of a file. Rows of .jsonl and .json hold "prompt", "text" or
// "messages", or have a form of a data set, of which what stands before the last answer counts;
// documents of plain text are prompts as they are. A string becomes a user's turn where the model
// has a chat template, unless `raw`. Throws data with file:line.
std::vector<std::vector<int32_t>> read_prompts(const fs::path& file, LoadedModel& loaded, bool raw);

// Of one model.
struct ActivationComparison {
  std::string model;
  std::vector<std::string> files;  // two
  std::vector<size_t> counts;      // prompts of each
  std::vector<ActivationLayer> layers;
  Json to_json() const;
};

}  // namespace smidgen
