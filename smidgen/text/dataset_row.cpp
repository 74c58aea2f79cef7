#include "smidgen/text/dataset_row.h"

#include <algorithm>

#include "smidgen/base/error.h"

namespace smidgen {
namespace {

const std::string& text_of(const Json& row, const char* key, const std::string& where) {
  if (!row.contains(key))
    throw Error(ErrorKind::data, str("the key '", key, "' is missing"), where);
  if (!row[key].is_string())
    throw Error(ErrorKind::data, str("'", key, "' should be a string, not ", row[key].type_name()),
                where);
  return row[key].get_ref<const std::string&>();
}

void read_messages(const Json& messages, const std::string& where,
                   std::vector<std::string>& texts) {
  if (!messages.is_array())
    throw Error(ErrorKind::data, str("'messages' should be a list, not ", messages.type_name()),
                where);
  if (messages.empty()) throw Error(ErrorKind::data, "'messages' is empty", where);
  for (size_t i = 0; i < messages.size(); ++i) {
    if (!messages[i].is_object() || !messages[i].contains("role") ||
        !messages[i]["role"].is_string())
      throw Error(ErrorKind::data, str("message ", i, " should be an object with a 'role'"), where);
    const std::string& role = messages[i]["role"].get_ref<const std::string&>();
    static const std::vector<std::string> kRoles = {"system",    "user",     "assistant", "tool",
                                                    "developer", "function", "ipython"};
    if (std::find(kRoles.begin(), kRoles.end(), role) == kRoles.end())
      throw Error(ErrorKind::data, str("message ", i, " has the role '", role, "'"), where,
                  did_you_mean(role, kRoles, str("known: ", join(kRoles))));
    const bool calls = messages[i].contains("tool_calls");
    if (!messages[i].contains("content") && !calls)
      throw Error(ErrorKind::data, str("message ", i, " has no 'content'"), where);
    const Json content = messages[i].value("content", Json(nullptr));
    if (content.is_string()) {
      texts.push_back(content.get<std::string>());
    } else if (content.is_array()) {
      for (const Json& part : content) {
        if (!part.is_object())
          throw Error(ErrorKind::data,
                      str("a part of message ", i, " should be an object, not ", part.type_name()),
                      where);
        if (part.contains("text")) texts.push_back(text_of(part, "text", where));
      }
    } else if (!content.is_null() || !calls) {
      throw Error(
          ErrorKind::data,
          str("the 'content' of message ", i, " should be a string, not ", content.type_name()),
          where);
    }
  }
}

}  // namespace

const char* to_string(RowForm form) {
  const char* names[] = {"messages", "prompt/completion", "text"};
  return names[static_cast<int>(form)];
}

RowForm row_form(const Json& row, const std::string& where) {
  if (!row.is_object())
    throw Error(ErrorKind::data, str("a row should be an object, not ", row.type_name()), where);
  static const std::vector<std::string> kKeys = {"messages", "tools", "prompt", "completion",
                                                 "text",     "meta",  "id",     "source"};
  for (const auto& [key, value] : row.items()) {
    if (std::find(kKeys.begin(), kKeys.end(), key) == kKeys.end())
      throw Error(ErrorKind::data, str("unknown key '", key, "'"), where,
                  did_you_mean(key, kKeys, str("known: ", join(kKeys))));
  }
  const int forms = row.contains("messages") +
                    (row.contains("prompt") || row.contains("completion")) + row.contains("text");
  if (forms != 1)
    throw Error(ErrorKind::data, forms ? "a row of more than one form" : "a row of no known form",
                where, "one of: messages; prompt and completion; text");
  if (row.contains("tools") && !row.contains("messages"))
    throw Error(ErrorKind::data, "'tools' without 'messages'", where);
  return row.contains("messages") ? RowForm::messages
         : row.contains("text")   ? RowForm::text
                                  : RowForm::completion;
}

RowTexts row_texts(const Json& row, const std::string& where) {
  RowTexts out{row_form(row, where), {}};
  switch (out.form) {
    case RowForm::messages:
      read_messages(row["messages"], where, out.texts);
      break;
    case RowForm::completion:
      for (const char* key : {"prompt", "completion"})
        out.texts.push_back(text_of(row, key, where));
      break;
    case RowForm::text:
      out.texts.push_back(text_of(row, "text", where));
      break;
  }
  return out;
}

}  // namespace smidgen
