// The overlap of two sets of prompts in the space of a model's hidden states (arXiv 2505.14185,
// experiment 4; CERT-Lab/safety-subspaces, exp-4-activation_spaces/activation_space.py).
//
//   X_l [n, D]  rows are the residual vectors of each prompt's last token, after block l
//   basis of X_l^T at an energy, then the overlap of overlap.h; random: max(k) / D
//
// Hidden states are counted as in transformers: 0 is the embedding, l the stream after l blocks;
// the last one here is the stream too, where transformers gives it after the last norm.
// Differs from the reference: the last token is the last one of the prompt, not of the padding.
#pragma once

#include <span>
#include <vector>

#include "smidgen/base/json.h"
#include "smidgen/delta/subspace/overlap.h"
#include "smidgen/nn/model.h"

namespace smidgen {

struct ActivationOptions {
  // 0.01, 0.1 ... 0.6: the reference's.
  std::vector<double> energies = {0.01, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6};
  int64_t first = 0, last = 0;  // hidden states [first, last); both 0: see default_layers()
  bool centre = false;          // subtract each set's mean
  int64_t batch_tokens = 4096;  // of one pass
};

// [int(0.65 N), int(0.90 N)) of the N = blocks + 1 hidden states, at least one of them.
std::pair<int64_t, int64_t> default_layers(int64_t blocks);

// X_l for every l in [first, last), 1 <= first < last <= blocks: fp32 [prompts, width]. Hangs
// observers at `slot`, whose other attachments act as ever, and takes away whatever hangs there
// afterwards. Throws usage for a prompt without tokens or beyond the context.
std::vector<at::Tensor> last_token_states(Model& model,
                                          const std::vector<std::vector<int32_t>>& prompts,
                                          int64_t first, int64_t last, int slot,
                                          int64_t batch_tokens = 4096);

struct ActivationLayer {
  int64_t layer = 0;
  double norm_a = 0, norm_b = 0;  // root of the mean squared length of a state
  std::vector<Overlap> overlaps;  // by energy
};

// Throws data where states are not finite or all zero.
std::vector<ActivationLayer> activation_overlap(Model& model,
                                                const std::vector<std::vector<int32_t>>& a,
                                                const std::vector<std::vector<int32_t>>& b,
                                                int slot, const ActivationOptions& options = {});
Json to_json(const std::vector<ActivationLayer>& layers);

}  // namespace smidgen
