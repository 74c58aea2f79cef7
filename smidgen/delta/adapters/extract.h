// A LoRA adapter out of two checkpoints: what a fine-tuning changed, as low-rank factors.
//
//   D = W_model - W_base ~ B A    the best approximation at min(rank, #{s > sv_epsilon}); s the
//                                 singular values of D [out, in]; A [r, in], B [out, r]
//   bias: b_model - b_base        as the bias of B (lora_bias)
//
// Linear layers become factors. Embeddings and heads are copied whole, unless asked for as factors
// (lora_embedding_A [r, tokens], lora_embedding_B [width, r]); norms and everything else that is no
// matrix are copied whole, as PEFT's modules_to_save. What did not change is left out.
//
// Source: mergekit 0.1.5 (scripts/extract_lora.py). Differs from it: lora_bias is set where a bias
// is written, without which PEFT cannot load it; a head that is tied to its embedding follows what
// becomes of that; unchanged modules are not written; errors are measured and kept; include
// patterns speak of embeddings and norms too; paths of modules instead of last names where a name
// would pick others as well; GPT-2's turned weights are turned.
#pragma once

#include <string>
#include <vector>

#include "smidgen/base/json.h"
#include "smidgen/delta/adapters/truncate.h"
#include "smidgen/delta/source.h"
#include "smidgen/nn/site.h"

namespace smidgen {

struct ExtractOptions {
  int64_t rank = 128;     // at most
  double sv_epsilon = 0;  // singular values up to this are left out
  ScaleOn scale_on = ScaleOn::both;
  bool embeddings = false;                              // as factors
  std::vector<std::string> modules_to_save = {};        // copied whole, by path or the end of it
  std::vector<std::string> include = {}, exclude = {};  // regular expressions, found anywhere
  bool skip_whole = false;  // leave out what would be copied whole, but for modules_to_save
};

// Writes the adapter folder `out`. `sites` are those of the base where its family is known; else
// names and shapes decide what a tensor is. One tensor pair is in memory at a time, and the
// factors. Errors, naming the tensor: shapes that differ (but for the number of tokens, which makes
// a copy with a warning), a tensor that only one model has, values that are not finite, a pattern
// that matches nothing; data where nothing differs. Returns what was done, which smidgen.json
// keeps: {modules, rank, whole: [...], left_out: [...], error, by_module: {module: {rank, error}}};
// `error` is |D - BA| / |D|, the whole over all tensors that differ, those left out included.
Json extract_lora(const Source& base, const Source& model, const std::vector<Site>& sites,
                  const ExtractOptions& options, const fs::path& out);

}  // namespace smidgen
