// The parameter of Rice codes.
#pragma once

namespace smidgen {

// Bits of a gap's remainder that make the code shortest where each element is kept with
// probability p, so that gaps are geometric (Sattler et al., arXiv:1903.02891):
//   b = 1 + floor(log2(ln(phi - 1) / ln(1 - p))),   phi = (1 + sqrt(5)) / 2,   at least 0
int rice_parameter(double p);
// Mean bits per element: p (b + 1 / (1 - (1-p)^(2^b)) + 1).
double rice_bits(double p);
// Entropy of an element: -(1-p) log2(1-p) - p log2(p/2).
double ternary_entropy(double p);

}  // namespace smidgen
