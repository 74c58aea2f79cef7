// The words by which GGUF names a pre-tokeniser (tokenizer.ggml.pre), and the rule of each.
#pragma once

#include <string>
#include <vector>

#include "smidgen/base/json.h"

namespace smidgen {

struct GgufPre {
  std::vector<std::string> words;  // the first is written; all are read
  Json normalizer, pre_tokenizer;  // as tokenizer.json writes them
  bool ignore_merges = false;
  bool adds_bos = false;  // where the file does not say
};

// Source of the words and patterns: llama.cpp (src/llama-vocab.cpp, 2026), with the original
// expressions of the models' tokenizer.json where it quotes them. qwen2 differs from it: the
// original's NFC is applied, which llama.cpp leaves out. Words whose rule is code there, not
// patterns, are absent, and so is `default`, which means that the writer did not know.
const std::vector<GgufPre>& gguf_pre_tokenizers();
const GgufPre* find_gguf_pre(const std::string& word);  // null: unknown

}  // namespace smidgen
