// Which tokens of two tokenizers mean the same, though they may be spelt otherwise.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "smidgen/text/tokenizer.h"

namespace smidgen {

// [donor.vocabulary_size()]: for each id of the donor the id of that token in the other tokenizer,
// or -1. Special tokens match by their role (the first of bos, eos, unk, pad that both give a
// token), else by spelling; all others by the bytes that they stand for, so that U+0120 "the" of a
// byte-level vocabulary is U+2581 "the" of SentencePiece, and <0x0A> is a newline. Of several
// tokens with the same bytes the one that is spelt the same counts, else the lowest id, whole
// pieces before single bytes.
// mergekit 0.1.5 (tokenizer/normalization.py) knows two marks of word starts, and bytes only where
// a flag asks for them.
std::vector<int32_t> match_tokens(const Tokenizer& donor, const Tokenizer& other);

// Rewrites the ids under bos_token_id, eos_token_id, pad_token_id, unk_token_id, sep_token_id,
// cls_token_id, mask_token_id and decoder_start_token_id (each an id or a list) of a configuration
// that was written for the tokenizer `from`. An id whose token is gone is dropped, with a note;
// where that leaves none, the token that `to` itself has in that role takes its place.
void move_token_ids(Json& config, const Tokenizer& from, const Tokenizer& to,
                    std::vector<std::string>& notes);

}  // namespace smidgen
