// The ways in which adapters become one: what is combined (factors put side by side, factors each
// for itself, or the products that they stand for), and by which rule equal places meet.
//
// Source: huggingface/peft 0.21.2 (tuners/lora/model.py, utils/merge_utils.py). TIES:
// arXiv:2306.01708, DARE: arXiv:2311.03099.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

namespace smidgen {

struct Combination {
  enum class Over {
    stack,    // A below A, B beside B: exact, ranks add up
    factors,  // the rule over all A, and over all B: cheap, and B_i meets A_j
    product,  // the rule over s B A, whose best approximation of a rank is kept
  };
  enum class Rule { sum, prune, ties, dare, dare_ties };
  const char* name;
  Over over;
  Rule rule;
  const char* summary;

  bool sparse() const { return rule != Rule::sum; }  // has a density
  bool random() const { return rule == Rule::dare || rule == Rule::dare_ties; }
  bool elects() const { return rule == Rule::ties || rule == Rule::dare_ties; }
};

std::span<const Combination> combinations();
std::vector<std::string> combination_names();
// Throws usage with the nearest names.
const Combination& find_combination(const std::string& name);

struct MixSettings {
  double density = 1;       // share of the elements that are kept, 0 to 1
  bool by_count = false;    // the majority counts signs, instead of adding values up
  uint64_t seed = 0;        // of what DARE drops
  std::string stream = {};  // and for which tensor
};

// One tensor out of several of one shape, fp32; sums in double.
//   sum        sum w_i x_i
//   prune      sum w_i K(x_i)              K keeps the int(density n) largest by magnitude
//   dare       sum w_i x_i m_i / density   m_i is 1 with probability density
//   ties       sum of w_i K(x_i) over the i whose sign is the majority's, divided by their number;
//              the majority of K(x_i), not of w_i K(x_i); + where it is 0
//   dare_ties  ties with the elements that DARE keeps in place of K
// Differs from PEFT: of equal magnitudes the first elements are kept, where PEFT's choice is open;
// density 0 gives zeros, where PEFT's DARE gives NaN.
at::Tensor mix(Combination::Rule rule, const std::vector<at::Tensor>& values,
               const std::vector<double>& weights, const MixSettings& settings);

}  // namespace smidgen
