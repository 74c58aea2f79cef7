// LoRA adapters into one, without their base: PEFT's add_weighted_adapter over files.
//
//   D = sum w_i s_i B_i A_i     w_i the weights, s_i each module's own scale (alpha / rank, or
//                               alpha / sqrt(rank); rank and alpha patterns count)
//
// The result has scale 1 everywhere: alpha = rank, use_rslora false. A module that only some
// adapters have is combined from those. What combination.h lists works on these terms:
//   stack     A = [w_1 s_1 A_1; ...], B = [B_1 ...]: D, up to one rounding to fp32
//   factors   the rule over the A_i with weights sign(w_i s_i) sqrt|w_i s_i|, over the B_i with
//             sqrt|w_i s_i|; equal ranks only
//   product   the rule over the s_i B_i A_i with weights w_i, then the best approximation of a
//   rank:
//             B = U S, A = V. For a plain sum nothing is ever dense.
//   bias of B the rule over s_i b_i with weights w_i
//
// Source: huggingface/peft 0.21.2. Differs from it: use_rslora does not survive (there the result
// is sqrt(rank) too large); biases of B are combined, and DoRA and KaSA refused, where it loses
// them (issue 3761); modules may have different ranks, and keep them, where it pads or writes what
// cannot be loaded (issue 3737); one adapter is treated as several are, where it always takes
// `linear`; of what is linear in the weights, an adapter of weight 0 leaves nothing behind; copies
// of modules go along where they are equal and their weights add up to 1, and are refused
// elsewhere, where it drops a lone one. One adapter of weight 1 from which nothing is dropped is
// written as it was read.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "smidgen/delta/adapters/lora_file.h"

namespace smidgen {

struct CombineOptions {
  std::string type = "cat";
  std::optional<double> density;    // needed by prune, ties and dare, and refused elsewhere
  std::optional<std::string> sign;  // total or frequency; of ties
  std::optional<int64_t> rank;      // of ..._svd; the largest of a module's adapters without it
  std::optional<double> clamp;      // of ..._svd: both factors to +- this quantile of them both
  std::optional<uint64_t> seed;     // of dare
  bool allow_other_base = false;
};

struct WeightedAdapter {
  const LoraFile* file = nullptr;
  double weight = 1;
};

// Writes the folder `out`. Errors: adapters of different bases (their digests), of different
// architectures (a module of two shapes, or no layers in common), of different ranks where factors
// are combined, values that are not finite, settings that the type has no use for. Returns what was
// done, which the folder's smidgen.json keeps: {type, adapters: [{path, weight}], modules, rank,
// error, by_module: {module: {rank, error}}}. `error` is |result - sum| / |sum| in the Frobenius
// norm, over the rule's sum before it is truncated; null where nothing is truncated and the rule is
// no weighted sum.
Json combine_adapters(const std::vector<WeightedAdapter>& adapters, const CombineOptions& options,
                      const fs::path& out);

}  // namespace smidgen
