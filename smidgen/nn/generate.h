// Continuing sequences token by token with a KV cache, one or several at once.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "smidgen/nn/model.h"
#include "smidgen/nn/sampler.h"

namespace smidgen {

class Tokenizer;

struct Prompt {
  std::vector<int32_t> ids;
  int slot = 0;
  uint64_t stream = 0;  // keeps the draws of equal prompts apart
};

enum class Finish {
  eos,          // a stop token; it is not part of ids
  string,       // a stop string; the text ends before it
  length,       // max_new_tokens
  context,      // the model's context is full
  interrupted,  // asked to
};

std::string_view to_string(Finish finish);

struct GenerateOptions {
  SampleOptions sample;
  int64_t max_new_tokens = 256;
  std::vector<int32_t> stop_tokens;
  std::vector<std::string> stop_strings;  // need a tokenizer
  const Tokenizer* tokenizer = nullptr;   // null: ids only, no text
  std::function<bool()> interrupt;        // asked before every step
  // What is certain by now: whole characters, and nothing that may still turn out to begin a stop
  // string. The pieces of a sequence together are its text.
  std::function<void(size_t sequence, std::string_view text)> on_text;
  std::function<void(size_t sequence, int32_t id)> on_token;
};

struct Generation {
  std::vector<int32_t> ids;  // without the prompt
  std::string text;          // special tokens left out
  Finish finish = Finish::length;
};

// One result per prompt, in their order. A prompt's result does not depend on the others beyond the
// rounding of products. Throws usage for an empty prompt, data for one that is longer than the
// context.
std::vector<Generation> generate(const Model& model, const std::vector<Prompt>& prompts,
                                 const GenerateOptions& options);
Generation generate(const Model& model, const Prompt& prompt, const GenerateOptions& options);

}  // namespace smidgen
