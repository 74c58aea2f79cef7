// For tests that need a tokenizer and no file: byte-level, one end token (256), no merges.
#pragma once

#include "smidgen/text/tokenizer.h"

namespace smidgen {

// The content of its tokenizer.json.
inline Json tiny_tokenizer_json() {
  Json vocabulary = Json::object();
  // GPT-2's spelling of bytes: printable ones stand for themselves, the others for U+0100 and on.
  int next = 256;
  for (int byte = 0; byte < 256; ++byte) {
    const bool printable =
        (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    const int point = printable ? byte : next++;
    std::string spelled;
    if (point < 0x80) {
      spelled += static_cast<char>(point);
    } else {
      spelled += static_cast<char>(0xc0 | point >> 6);
      spelled += static_cast<char>(0x80 | (point & 63));
    }
    vocabulary[spelled] = byte;
  }
  const Json level = {{"type", "ByteLevel"},
                      {"add_prefix_space", false},
                      {"trim_offsets", true},
                      {"use_regex", true}};
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", Json::array({{{"id", 256},
                                         {"content", "</s>"},
                                         {"single_word", false},
                                         {"lstrip", false},
                                         {"rstrip", false},
                                         {"normalized", false},
                                         {"special", true}}})},
          {"normalizer", nullptr},
          {"pre_tokenizer", level},
          {"post_processor", level},
          {"decoder", level},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"continuing_subword_prefix", nullptr},
            {"end_of_word_suffix", nullptr},
            {"fuse_unk", false},
            {"byte_fallback", false},
            {"vocab", vocabulary},
            {"merges", Json::array()}}}};
}

inline Tokenizer tiny_tokenizer() {
  return Tokenizer(read_tokenizer_json(tiny_tokenizer_json(), {{"eos_token", "</s>"}}, nullptr,
                                       "tokenizer.json"));
}

}  // namespace smidgen
