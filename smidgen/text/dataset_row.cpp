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

void read_messages(const Json& messages, const char* key, const std::string& where,
                   std::vector<std::string>& texts) {
  if (!messages.is_array())
    throw Error(ErrorKind::data, str("'", key, "' should be a list, not ", messages.type_name()),
                where);
  if (messages.empty()) throw Error(ErrorKind::data, str("'", key, "' is empty"), where);
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

// A string, or a list of messages.
void read_side(const Json& row, const char* key, const std::string& where,
               std::vector<std::string>& texts) {
  if (row.contains(key) && row[key].is_array()) {
    read_messages(row[key], key, where, texts);
  } else {
    texts.push_back(text_of(row, key, where));
  }
}

// `others` are keys of rows that are of another kind altogether, and may have been meant.
void known_keys(const Json& row, std::vector<std::string> keys, const std::string& where,
                const std::vector<std::string>& others = {}) {
  for (const auto& [key, value] : row.items()) {
    if (std::find(keys.begin(), keys.end(), key) != keys.end()) continue;
    keys.insert(keys.end(), others.begin(), others.end());
    throw Error(ErrorKind::data, str("unknown key '", key, "'"), where,
                did_you_mean(key, keys, str("known: ", join(keys))));
  }
}

// The notes that a row of any form may carry.
void keep_notes(const Json& row, Json& out) {
  for (const char* key : {"meta", "id", "source"}) {
    if (row.contains(key)) out[key] = row[key];
  }
}

Json from_alpaca(const Json& row, const std::string& where) {
  known_keys(row, {"instruction", "input", "output", "system", "meta", "id", "source"}, where);
  std::string prompt = text_of(row, "instruction", where);
  if (row.contains("input") && !row["input"].is_null()) {
    const std::string& input = text_of(row, "input", where);
    if (!input.empty()) prompt += "\n" + input;
  }
  const std::string& output = text_of(row, "output", where);
  Json out;
  if (row.contains("system") && row["system"] != "" && !row["system"].is_null()) {
    out["messages"] = {{{"role", "system"}, {"content", text_of(row, "system", where)}},
                       {{"role", "user"}, {"content", prompt}},
                       {{"role", "assistant"}, {"content", output}}};
  } else {
    out = {{"prompt", prompt}, {"completion", output}};
  }
  keep_notes(row, out);
  return out;
}

Json from_sharegpt(const Json& row, const std::string& where) {
  static const std::vector<std::pair<std::string, const char*>> kRoles = {
      {"human", "user"},      {"user", "user"},         {"gpt", "assistant"},
      {"model", "assistant"}, {"chatgpt", "assistant"}, {"assistant", "assistant"},
      {"system", "system"},   {"tool", "tool"},         {"observation", "tool"}};
  known_keys(row, {"conversations", "system", "tools", "meta", "id", "source"}, where);
  if (!row["conversations"].is_array())
    throw Error(ErrorKind::data,
                str("'conversations' should be a list, not ", row["conversations"].type_name()),
                where);
  Json messages = Json::array();
  if (row.contains("system") && row["system"] != "" && !row["system"].is_null())
    messages.push_back({{"role", "system"}, {"content", text_of(row, "system", where)}});
  size_t at = 0;
  for (const Json& turn : row["conversations"]) {
    if (!turn.is_object())
      throw Error(ErrorKind::data, str("turn ", at, " should be an object, not ", turn.type_name()),
                  where);
    const std::string& from = text_of(turn, "from", where);
    const auto role = std::find_if(kRoles.begin(), kRoles.end(),
                                   [&](const auto& known) { return known.first == from; });
    if (role == kRoles.end()) {
      std::vector<std::string> names;
      for (const auto& known : kRoles) names.push_back(known.first);
      throw Error(ErrorKind::data, str("turn ", at, " is from '", from, "'"), where,
                  did_you_mean(from, names, str("known: ", join(names))));
    }
    messages.push_back({{"role", role->second}, {"content", text_of(turn, "value", where)}});
    ++at;
  }
  Json out = {{"messages", messages}};
  if (row.contains("tools") && row["tools"] != "" && !row["tools"].is_null())
    out["tools"] = row["tools"];
  keep_notes(row, out);
  return out;
}

}  // namespace

const char* to_string(RowForm form) {
  const char* names[] = {"messages", "prompt/completion", "text", "prompt/chosen/rejected",
                         "prompt/completion/label"};
  return names[static_cast<int>(form)];
}

Json house_row(const Json& row, const std::string& where) {
  if (!row.is_object())
    throw Error(ErrorKind::data, str("a row should be an object, not ", row.type_name()), where);
  if (row.contains("instruction")) return from_alpaca(row, where);
  if (row.contains("conversations")) return from_sharegpt(row, where);
  return row;
}

RowForm row_form(const Json& row, const std::string& where) {
  if (!row.is_object())
    throw Error(ErrorKind::data, str("a row should be an object, not ", row.type_name()), where);
  known_keys(row,
             {"messages", "tools", "prompt", "completion", "chosen", "rejected", "label", "text",
              "meta", "id", "source"},
             where, {"instruction", "conversations"});
  const bool pair = row.contains("chosen") || row.contains("rejected");
  const int forms = row.contains("messages") + pair +
                    (!pair && (row.contains("prompt") || row.contains("completion"))) +
                    row.contains("text");
  if (forms != 1 || (pair && row.contains("completion")))
    throw Error(ErrorKind::data, forms ? "a row of more than one form" : "a row of no known form",
                where,
                "one of: messages; prompt and completion (and label); prompt, chosen and rejected; "
                "text; instruction, input and output; conversations");
  if (row.contains("tools") && !row.contains("messages") && !pair)
    throw Error(ErrorKind::data, "'tools' without 'messages'", where);
  if (row.contains("label") && !(row.contains("prompt") || row.contains("completion")))
    throw Error(ErrorKind::data, "'label' without 'prompt' and 'completion'", where);
  return row.contains("messages") ? RowForm::messages
         : row.contains("text")   ? RowForm::text
         : pair                   ? RowForm::preference
         : row.contains("label")  ? RowForm::labelled
                                  : RowForm::completion;
}

Json explicit_prompt(const Json& row, const std::string& where) {
  for (const char* key : {"chosen", "rejected"}) {
    if (!row.contains(key))
      throw Error(ErrorKind::data, str("the key '", key, "' is missing"), where,
                  "a pair is prompt, chosen and rejected");
    if (!row[key].is_string() && !row[key].is_array())
      throw Error(
          ErrorKind::data,
          str("'", key, "' should be a string or a list of messages, not ", row[key].type_name()),
          where);
  }
  Json out = row;
  const Json &chosen = row["chosen"], &rejected = row["rejected"];
  const bool lists = chosen.is_array();
  if (lists != rejected.is_array())
    throw Error(ErrorKind::data, "one of 'chosen' and 'rejected' is a string, the other a list",
                where);
  if (chosen == rejected)
    throw Error(ErrorKind::data, "'chosen' and 'rejected' are equal: nothing is preferred", where);
  if (row.contains("prompt")) {
    if (row["prompt"].is_array() != lists)
      throw Error(ErrorKind::data, "'prompt' should be of the kind of 'chosen': strings, or lists",
                  where);
    return out;
  }
  if (lists) {
    size_t common = 0;
    while (common < chosen.size() && common < rejected.size() && chosen[common] == rejected[common])
      ++common;
    if (common == 0 || common == chosen.size() || common == rejected.size())
      throw Error(ErrorKind::data,
                  common ? "'chosen' and 'rejected' differ only in that one goes on"
                         : "'chosen' and 'rejected' have no message in common, and there is no "
                           "'prompt'",
                  where);
    const auto cut = [&](const Json& list, bool head) {
      const auto middle = list.begin() + static_cast<std::ptrdiff_t>(common);
      Json part = Json::array();
      for (auto at = head ? list.begin() : middle; at != (head ? middle : list.end()); ++at)
        part.push_back(*at);
      return part;
    };
    out["prompt"] = cut(chosen, true);
    out["chosen"] = cut(chosen, false);
    out["rejected"] = cut(rejected, false);
    return out;
  }
  const std::string a = chosen.get<std::string>(), b = rejected.get<std::string>();
  size_t common = 0;
  while (common < a.size() && common < b.size() && a[common] == b[common]) ++common;
  // Not inside a character.
  while (common > 0 && common < std::max(a.size(), b.size()) &&
         ((common < a.size() && (static_cast<unsigned char>(a[common]) & 0xC0) == 0x80) ||
          (common < b.size() && (static_cast<unsigned char>(b[common]) & 0xC0) == 0x80)))
    --common;
  if (common > 0 && a[common - 1] == ' ') --common;
  out["prompt"] = a.substr(0, common);
  out["chosen"] = a.substr(common);
  out["rejected"] = b.substr(common);
  return out;
}

RowTexts row_texts(const Json& given, const std::string& where) {
  const Json row = house_row(given, where);
  RowTexts out{row_form(row, where), {}};
  switch (out.form) {
    case RowForm::messages:
      read_messages(row["messages"], "messages", where, out.texts);
      break;
    case RowForm::completion:
      for (const char* key : {"prompt", "completion"})
        out.texts.push_back(text_of(row, key, where));
      break;
    case RowForm::labelled:
      if (!row["label"].is_boolean())
        throw Error(ErrorKind::data,
                    str("'label' should be true or false, not ", row["label"].type_name()), where);
      for (const char* key : {"prompt", "completion"}) read_side(row, key, where, out.texts);
      if (row["prompt"].is_array() != row["completion"].is_array())
        throw Error(ErrorKind::data,
                    "one of 'prompt' and 'completion' is a string, the other a list", where);
      break;
    case RowForm::preference: {
      const Json whole = explicit_prompt(row, where);
      for (const char* key : {"prompt", "chosen", "rejected"})
        read_side(whole, key, where, out.texts);
      break;
    }
    case RowForm::text:
      out.texts.push_back(text_of(row, "text", where));
      break;
  }
  return out;
}

}  // namespace smidgen
