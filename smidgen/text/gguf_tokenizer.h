// A tokenizer as GGUF metadata (tokenizer.ggml.*), for a writer of GGUF files.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace smidgen {

class Tokenizer;

enum class GgufTokenType : int32_t {
  normal = 1,
  unknown = 2,
  control = 3,
  user_defined = 4,
  unused = 5,
  byte = 6
};

// Values without their "tokenizer.ggml." in front. Empty members are left out of the file.
struct GgufTokenizer {
  std::string model, pre;
  std::vector<std::string> tokens;
  std::vector<float> scores;
  std::vector<int32_t> token_type;  // GgufTokenType
  std::vector<std::string> merges;
  std::vector<std::pair<std::string, uint32_t>> ids;  // "bos_token_id" ...
  std::vector<std::pair<std::string, bool>> flags;    // "add_bos_token" ...
  std::string precompiled_charsmap;                   // bytes
};

// What read_tokenizer_gguf turns into a tokenizer with the same ids. `vocabulary_size`: rows of the
// model's embedding; ids between the tokenizer's and it become unused tokens "[PAD<id>]", as in
// llama.cpp's converter. Throws unsupported, with the part that GGUF has no word for: a
// pre-tokeniser that is not one of gguf_pre.h, a normaliser, a template of other shape than
// bos + text + eos, added tokens with lstrip, rstrip, single_word or normalized that would change
// ids.
GgufTokenizer gguf_tokenizer(const Tokenizer& tokenizer, int64_t vocabulary_size);

}  // namespace smidgen
