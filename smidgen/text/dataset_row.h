// What a row of a data set may hold: its form and its strings, told without a tokenizer.
#pragma once

#include <string>
#include <vector>

#include "smidgen/base/json.h"

namespace smidgen {

enum class RowForm { messages, completion, text, preference, labelled };

const char* to_string(RowForm form);

// Rows of other programs as ours:
//   Alpaca    {"instruction", "input", "output", "system"}    prompt = instruction, and "\n" input
//             where there is one; completion = output; with "system", messages of three roles
//   ShareGPT  {"conversations": [{"from", "value"}], "system", "tools"}    messages; human and user
//             are the user, gpt, assistant, model and chatgpt the assistant, tool and observation
//             the tool; another "from" is an error
// The prompt of Alpaca is LLaMA-Factory's; the "### Instruction:" frame of the original is left to
// the model's template. A row that is ours already comes back as it is.
Json house_row(const Json& row, const std::string& where);

// Checks the keys of a house row. `meta`, `id` and `source` may stand in a row of any form and are
// not read; every other unknown key is an error with the nearest names. Throws data with `where`.
RowForm row_form(const Json& row, const std::string& where);

// {prompt, chosen, rejected} of a preference row, each a list of messages or each a string. Without
// "prompt": what chosen and rejected begin with alike, as in trl (1.16, extract_prompt): the common
// messages, or the common characters less a space at their end.
Json explicit_prompt(const Json& row, const std::string& where);

// Checks the values too, and returns the form and the strings that a model would see, in order. Of
// a message whose content is a list of parts, each part's "text".
struct RowTexts {
  RowForm form;
  std::vector<std::string> texts;
};
RowTexts row_texts(const Json& row, const std::string& where);

}  // namespace smidgen
