// MEFT: a pre-trained transformer as a reversible network, by adapters in its blocks and a coupling
// of two streams (Liao, Tan, Monz 2023, arXiv 2306.00477; official code BaohaoLiao/mefts). One
// implementation for the three variants; meft1.cpp and its sisters say which parts meet where.
//
//   x1 = x2 = embeddings;  layer n:  y1 = lambda x1 + F(x2),  y2 = beta x2 + G(y1)
//   at the end  h = x2 or x1, the main stream, or (x1 + x2) / 2
//
//   meft1  F block, an adapter beside its MLP; G adapter; switched; 0.1 and 1; main x2
//   meft2  F adapter; G block, an adapter beside its MLP; switched; 1 and 0.1; main x1
//   meft3  F attention half, an adapter on its output; G MLP half, an adapter beside it; 0.1 and
//          0.1; main x2
//
// Adapters are bottlenecks of 8 with matrices N(0, 0.02^2), so that with a small factor the main
// stream starts near the base's. The halves of a block keep their residual connections and norms.
//
// Differs from the reference: `combine` is main unless told otherwise, since a language model's
// head reads the last hidden state (the reference averages, which its new classifiers learn; with
// main the last adapter of meft1 in G's place would reach nothing and is left out); the inverse is
// exact unless told otherwise (nn/reversible.h), where the reference's loses its digits after three
// or four layers; there is no mode that leaves lower layers out. lambda and beta are the fields
// x1_factor and x2_factor, the reference's names, since losses have a beta.
#pragma once

#include <memory>
#include <string>

#include "smidgen/methods/method.h"

namespace smidgen {

struct MeftVariant {
  std::string name;
  // What F and G are, the other of the two being an adapter of its own; halves: attention in F, the
  // MLP in G.
  enum class Parts { block_first, block_second, halves } parts = Parts::block_first;
  double lambda = 0.1, beta = 1;
};

std::unique_ptr<const Method> make_meft(MeftVariant variant);

}  // namespace smidgen
