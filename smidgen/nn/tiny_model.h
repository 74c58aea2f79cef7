// Small models with random weights, made in memory: for laws, tests and benchmarks that need a
// model and no file.
#pragma once

#include <cstdint>
#include <memory>

#include "smidgen/io/model_files.h"
#include "smidgen/nn/model.h"

namespace smidgen {

// Every size differs from every other where it can, so that a mixed-up axis does not fit.
struct TinySpec {
  int64_t layers = 2, width = 24, heads = 4, kv_heads = 2, head_dim = 8, inner = 40,
          vocabulary = 67, context = 96;
  double norm_eps = 1e-5, rope_theta = 500;
  bool tied = false, attention_bias = false, mlp_bias = false;
  Format storage = Format::f32;  // f32, bf16 or f16, of the matrices; norms and biases are f32
  double scale =
      1.2;  // standard deviation of x W^T for x of variance 1: large enough for the laws to bite
  uint64_t seed = 1;
};

// How the weights of a tiny model are drawn.
struct TinyWeights {
  Format storage = Format::f32;
  double scale = 1.2;
  uint64_t seed = 1;
};

// A configuration of any family: for every field of its table that has a place in one list of small
// and unusual values, that value. A new family needs nothing here unless it brings a field that no
// other has.
Json tiny_config(const std::string& family);

// The same as far as GGUF has words for it: the fields that it has none for are missing, or what a
// GGUF file implies.
Json tiny_gguf_config(const std::string& family);

// An HF folder that exists in memory only: config and tensors, no tokenizer. Weights are normal
// numbers keyed by (seed, tensor name), so that changing one size leaves the tensors that do not
// depend on it as they are.
ModelFiles tiny_files(const Json& config, const TinyWeights& weights = {});

ModelFiles tiny_llama_files(const TinySpec& spec = {});
std::unique_ptr<Model> make_tiny_llama(const TinySpec& spec = {},
                                       const LoadOptions& options = {.dtype = "fp32"});

}  // namespace smidgen
