// The tokenizer of a merge as files.
#pragma once

#include <optional>
#include <string>

#include "smidgen/base/fs.h"
#include "smidgen/io/model_files.h"
#include "smidgen/text/tokenizer_merge.h"

namespace smidgen {

// Into an existing folder: the donor's files where its tokenizer is unchanged, else tokenizer.json,
// special_tokens_map.json and tokenizer_config.json, which keeps the donor's other keys. Templates
// are the donor's unless `chat_template` is given, which takes the place of all of them.
void write_merged_tokenizer(const fs::path& folder, const MergedVocabulary& merged,
                            const ModelFiles& donor,
                            const std::optional<std::string>& chat_template);

// The same for a merge without a tokenizer setting.
void write_chat_template(const fs::path& folder, const std::string& chat_template);

}  // namespace smidgen
