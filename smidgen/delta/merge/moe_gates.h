// What a mixture's routers start from: each expert's row is the direction that its prompts have and
// its negative prompts have not.
//
//   g_le = u(f_l(positive) - f_l(negative)),  u(x) = x / max(|x|, 1e-8)
//   hidden_last   f_l: the stream before layer l at a prompt's last token, the prompts' mean
//   hidden_mean   the same, the mean over a prompt's tokens
//   embeddings    f: u of the sum of all tokens' embeddings; for all layers the same
//   normal        g ~ N(0, 1)
//   uniform       g ~ U(-1 / sqrt(width), 1 / sqrt(width))
//
// Prompts are read by the base, with the BOS token before each where the tokenizer has one, and
// nothing else added.
//
// Source: mergekit 0.1.5 (moe/router.py). Differs: the base runs in fp32, where it runs in bf16;
// prompts are not padded, where hidden_avg counts the padding's hidden states; a base with an
// adapter runs with it, where it runs without; random numbers are a function of seed, layer and
// element.
#pragma once

#include <vector>

#include <ATen/core/Tensor.h>

#include "smidgen/delta/merge/moe_model.h"
#include "smidgen/delta/merge/moe_recipe.h"

namespace smidgen {

struct GateOptions {
  uint64_t seed = 0;
  bool allow_other_base = false;  // for a base with an adapter
};

// fp32 [layers, experts, width]. Throws usage for a prompt without tokens or beyond the base's
// context, data where an expert's rows are all zero.
at::Tensor moe_gates(const MoeRecipe& recipe, const MoeModel& model,
                     const GateOptions& options = {});

// The layers whose rows have a condition number above `limit`: their prompts are too much alike,
// and some experts will hardly be used. mergekit's warning has the same limit.
std::vector<int64_t> alike_layers(const at::Tensor& gates, double limit = 5);

}  // namespace smidgen
