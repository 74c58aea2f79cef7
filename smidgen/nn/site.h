// Named places in a model where something can attach.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "smidgen/base/field.h"
#include "smidgen/io/tensor_view.h"

namespace smidgen {

// Weights, and modules as wholes, which have none of their own.
enum class SiteKind { linear, embedding, norm, mlp, attention, block, stack };

std::string_view to_string(SiteKind kind);
// A word for every site of a kind.
bool is_kind_word(std::string_view item);

// `name` is the HF module path ("model.layers.3.self_attn.q_proj"), so that adapter files need no
// mapping.
struct Site {
  std::string name;
  SiteKind kind = SiteKind::linear;
  int64_t out = 0,
          in = 0;  // weight [out, in]; embedding [vocabulary, width]; norm [out] with in = 1;
                   // a module maps rows of `in` to rows of `out`
  bool bias = false;
  int64_t layer = -1;  // first number in the path, -1 outside the blocks
  bool output_head =
      false;  // maps the last hidden state to the vocabulary; "all-linear" leaves it out
  bool transposed = false;      // HF's files hold the weight as [in, out]: GPT-2's Conv1D
  std::string tied_to;          // site that owns the same weight, empty when the weight is its own
  Format stored = Format::f32;  // of the weight in the model's files
};

// The sites that `targets` picks, in model order: "all-linear" is every linear site but the output
// head, "all-mlp", "all-attention" and "all-blocks" every such module; "re:..." is matched against
// the whole path as Python's re.fullmatch does; any other item equals a path or ends it after a
// dot. `exclude` takes the same forms and wins. With `must_match`,
// an item that picks nothing is a usage error that names the nearest modules that exist; loading
// leaves it out, because there the tensors are the truth. Source: huggingface/peft 0.21.2,
// tuners/tuners_utils.py.
std::vector<const Site*> match(const std::vector<Site>& sites, const Targets& targets,
                               const Targets& exclude = {}, bool must_match = true);

}  // namespace smidgen
