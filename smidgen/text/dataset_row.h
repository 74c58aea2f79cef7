// What a row of a data set may hold: its form and its strings, told without a tokenizer.
#pragma once

#include <string>
#include <vector>

#include "smidgen/base/json.h"

namespace smidgen {

enum class RowForm { messages, completion, text };

const char* to_string(RowForm form);

// Checks the keys. `meta`, `id` and `source` may stand in a row of any form and are not read; every
// other unknown key is an error with the nearest names. Throws data with `where`.
RowForm row_form(const Json& row, const std::string& where);

// Checks the values too, and returns the form and the strings that a model would see, in order. Of
// a message whose content is a list of parts, each part's "text".
struct RowTexts {
  RowForm form;
  std::vector<std::string> texts;
};
RowTexts row_texts(const Json& row, const std::string& where);

}  // namespace smidgen
