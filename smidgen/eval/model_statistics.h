// What a model's tensors mean to it, measured on data: what merging weighs models by.
//
//   fisher   the diagonal of the Fisher matrix, for every tensor of the model and of its shape:
//              F = 1/S sum_s (d log p(answer_s | what stands before it) / d theta)^2
//            over the S sequences with an answer, the gradient of the sum over its tokens; the
//            answers are those of the data (the empirical Fisher matrix). Matena and Raffel 2022
//            (arXiv:2111.09832) take the mean over answers that the model itself would give.
//   gram     for every linear layer of `in` inputs, X^T X [in, in], the rows of X being what it
//            reads at every token. Jin et al. 2023 (arXiv:2212.09849).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "smidgen/base/fs.h"
#include "smidgen/nn/model.h"
#include "smidgen/text/dataset.h"

namespace smidgen {

enum class StatisticsKind { fisher, gram };
const char* to_string(StatisticsKind kind);

struct StatisticsOptions {
  int slot = 0;                 // of the adapters that count as part of the model
  int64_t micro_tokens = 2048;  // tokens of one forward pass for gram
  std::function<bool()> stop;   // asked between passes; true ends with Error interrupted
  std::function<void(int64_t done)> progress;  // tokens
};

struct ModelStatistics {
  StatisticsKind kind = StatisticsKind::fisher;
  // fp32, by the names of Model::tensors(), in their order. A tied tensor comes once. Layers that
  // share an input share one matrix, which stands under the name of each.
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  int64_t samples = 0;  // sequences that counted
  int64_t tokens = 0;   // rows of X; for fisher answer tokens
};

// Hangs what observes at the slot (at 1 where that is 0), beside the adapters there, and takes away
// whatever hangs there afterwards. Memory: fisher, four fp32 copies of the model, one sequence at
// a time; gram, the matrices. Throws data where no sequence has an answer (fisher), unsupported for
// layers whose files hold the weight as [in, out] (gram), and where an adapter brings its own
// weights (fisher).
ModelStatistics measure(StatisticsKind kind, Model& model, const Dataset& data,
                        const StatisticsOptions& options = {});

// A safetensors file; kind, samples and tokens are in its metadata.
void write_statistics(const fs::path& path, const ModelStatistics& statistics);

}  // namespace smidgen
