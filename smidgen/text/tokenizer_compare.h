// In what two tokenizers differ, for people: they may share words and still not mean the same.
#pragma once

#include <string>
#include <vector>

#include "smidgen/text/tokenizer.h"

namespace smidgen {

// A line for each difference of the kind of model, the normaliser, the pre-tokeniser, and special
// tokens that both have under other ids. Nothing about the vocabularies themselves.
std::vector<std::string> tokenizer_differences(const Tokenizer& one, const Tokenizer& other);

}  // namespace smidgen
