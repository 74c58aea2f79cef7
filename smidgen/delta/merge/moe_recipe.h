// A mixture of experts out of dense models, as mergekit-moe's YAML describes it. What it becomes:
// moe_model.h and moe_gates.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "smidgen/delta/merge/model_ref.h"
#include "smidgen/io/tensor_view.h"

namespace smidgen {

// What the rows of the routers are made of.
enum class GateMode {
  hidden_last,  // hidden states of the prompts' last tokens; `hidden` is the same
  hidden_mean,  // of all their tokens; hidden_avg
  embeddings,   // their tokens' embeddings; cheap_embed
  normal,       // N(0, 1); random
  uniform,      // within +- 1 / sqrt(width); uniform_random
};

struct ExpertSpec {
  ModelRef model;  // whose MLPs it is
  std::vector<std::string> positive, negative;
  double noise = 0;  // deviation of what is added to each element
  double scale = 1;  // of down_proj
  std::string place;
};

struct MoeRecipe {
  std::string file;
  ModelRef base;  // all but the MLPs
  std::vector<ExpertSpec> experts;
  GateMode gates = GateMode::hidden_last;
  int64_t used = 2;  // experts per token
  std::optional<Format> dtype;
  std::string architecture;  // the beginning of its name; empty: what the base's family becomes
  uint64_t seed = 0;         // smidgen: {seed: N}
  std::vector<std::string> ignored;

  bool prompted() const { return gates != GateMode::normal && gates != GateMode::uniform; }
};

// Nothing where the text is another kind of merge recipe: none of its documents has the key
// `experts`. As mergekit 0.1.5; differs: uniform_random needs no prompts, as it has no use for
// them; experts that are all one model are let through with a note, where mergekit wants a flag;
// misspelt keys are errors. Throws usage with the place: no experts, fewer than a token uses, an
// expert without prompts, the same prompts for all; unsupported: shared experts.
std::optional<MoeRecipe> parse_moe_recipe(std::string_view text, const std::string& file,
                                          bool strict = false);

// The distinct models, the base first.
std::vector<ModelRef> models_of(const MoeRecipe& recipe);

}  // namespace smidgen
