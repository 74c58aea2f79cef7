// What the post-processor puts around one text. Source: tokenizers 0.23 (src/processors).
#pragma once

#include <string>
#include <vector>

#include "smidgen/text/json_node.h"

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

}  // namespace smidgen
