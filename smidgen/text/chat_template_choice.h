// Which chat template a merged model gets.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace smidgen {

// The names of the templates that are built in, and their sources. The formats are those that the
// models of that name were trained with; mergekit 0.1.5 has the same names, with stray newlines in
// llama3 and exaone, and without an end of turn in alpaca.
const std::vector<std::pair<std::string, std::string>>& built_in_chat_templates();

// `setting` is "auto" (the most frequent of `inputs`, without white space around it, the first of
// equals; nothing where no model has one), a built-in name, or a template itself. `inputs` are the
// models' default templates, empty for none. Throws usage for a text that is none of these (under
// 20 characters, or without a brace), format for broken Jinja.
std::optional<std::string> choose_chat_template(const std::string& setting,
                                                const std::vector<std::string>& inputs);

}  // namespace smidgen
