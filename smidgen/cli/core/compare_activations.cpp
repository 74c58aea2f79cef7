#include "smidgen/cli/core/compare_activations.h"

#include "smidgen/base/error.h"
#include "smidgen/io/json_file.h"
#include "smidgen/text/dataset_row.h"
#include "smidgen/text/row_source.h"

namespace smidgen {

namespace {

// A string, or messages that end before the assistant speaks.
Json prompt_of(const Json& given, const std::string& where) {
  const Json house = house_row(given, where);
  const Json row = house.contains("chosen") ? explicit_prompt(house, where) : house;
  if (row.contains("messages") || (row.contains("prompt") && row["prompt"].is_array())) {
    Json messages = row.contains("messages") ? row["messages"] : row["prompt"];
    row_texts({{"messages", messages}}, where);  // checks them
    while (!messages.empty() && messages.back()["role"] == "assistant")
      messages.erase(messages.size() - 1);
    if (messages.empty()) throw Error(ErrorKind::data, "there is nothing before the answer", where);
    return messages;
  }
  for (const char* key : {"prompt", "text"}) {
    if (!row.contains(key)) continue;
    if (row[key].is_string()) return row[key];
    throw Error(ErrorKind::data, str("'", key, "' should be a string, not ", row[key].type_name()),
                where);
  }
  throw Error(ErrorKind::data, "the row holds no prompt", where,
              "rows need prompt, messages or text");
}

}  // namespace

std::vector<std::vector<int32_t>> read_prompts(const fs::path& file, LoadedModel& loaded,
                                               bool raw) {
  std::vector<std::vector<int32_t>> prompts;
  RowSource source(file);
  for (RawRow row; source.next(row);) {
    const std::string where = str(file.string(), ":", row.line);
    const Json prompt = source.json()
                            ? prompt_of(parse_json(row.text, file.string(), row.line), where)
                            : Json(row.text);
    const bool turns = prompt.is_array() || (!raw && loaded.chat_template());
    std::vector<int32_t> ids =
        !turns ? loaded.tokenizer().encode(prompt.get<std::string>())
               : chat_ids(loaded, prompt.is_array()
                                      ? prompt
                                      : Json::array({{{"role", "user"}, {"content", prompt}}}));
    const auto length = static_cast<int64_t>(ids.size());
    if (length == 0 || length > loaded.model->context())
      throw Error(ErrorKind::data, str("the prompt has ", counted(length, "token")), where,
                  str("the model reads from 1 to ", loaded.model->context()));
    prompts.push_back(std::move(ids));
    source.release();
  }
  if (prompts.empty()) throw Error(ErrorKind::data, "the file has no prompts", file.string());
  return prompts;
}

Json ActivationComparison::to_json() const {
  return {{"model", model},
          {"prompts", files},
          {"counts", counts},
          {"layers", smidgen::to_json(layers)}};
}

}  // namespace smidgen
