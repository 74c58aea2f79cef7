// What a merge will do, known before the first byte is read: every tensor of the result, where its
// values come from, and with which settings.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "smidgen/base/json.h"
#include "smidgen/delta/merge/method.h"
#include "smidgen/io/tensor_view.h"

namespace smidgen {

struct PlannedInput {
  size_t model = 0;  // index into MergePlan::models
  std::string tensor;
};

struct PlannedTensor {
  MergeTask task;                    // its name is that of the output
  std::vector<PlannedInput> inputs;  // task.inputs of them
  std::optional<PlannedInput> base;  // where task.base
  Format format = Format::f32;       // that it is written in
  // Taken from this one input as it is, bytes and all: passthrough, a tensor that only one model
  // has, a buffer that is no real number.
  std::optional<PlannedInput> copy;
};

struct MergePlan {
  std::string method;
  std::vector<std::string> models;       // as open_source takes them
  std::vector<PlannedTensor> tensors;    // in the order of the output
  size_t donor = 0;                      // the model whose configuration and tokenizer are taken
  Json config_changes = Json::object();  // keys of config.json: layers, dtype, tie_word_embeddings
  std::vector<std::string> notes;        // one line each, for the user
};

}  // namespace smidgen
