// What the post-processor puts around one text. Source: tokenizers 0.23 (src/processors).
#pragma once

#include <string>
#include <vector>

#include "smidgen/text/json_node.h"
#include "smidgen/text/tokenizer_spec.h"

namespace smidgen {

// The text itself, or fixed ids.
struct TemplatePiece {
  bool is_text = false;
  std::string name;  // of the special token
  std::vector<int32_t> ids;
};

// Understood: TemplateProcessing (the template for one text), BertProcessing, RobertaProcessing,
// ByteLevel (offsets only, and ours follow the bytes), Sequence, where each acts on what the one
// before gave. Empty: nothing is added. Throws unsupported or format.
std::vector<TemplatePiece> read_post_processor(const JsonNode& node);

// A TemplateProcessing that puts the tokenizer's bos in front and its eos behind, each if it is
// wanted and there is one; null for neither.
Json bos_eos_template(const TokenizerSpec& spec, bool bos, bool eos);

}  // namespace smidgen
