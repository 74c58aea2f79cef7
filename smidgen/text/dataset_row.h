// The form of a row, shared by the reader of files and the tokeniser of rows.
#pragma once

#include <string>

#include "smidgen/base/json.h"

namespace smidgen {

enum class RowForm { messages, completion, text };

// Checks the keys. Throws data with `where`.
RowForm row_form(const Json& row, const std::string& where);

}  // namespace smidgen
