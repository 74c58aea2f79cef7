// One row of a data set to tokens and marks.
#include <algorithm>

#include "smidgen/base/error.h"
#include "smidgen/text/chat_template.h"
#include "smidgen/text/characters.h"
#include "smidgen/text/dataset.h"
#include "smidgen/text/dataset_row.h"
#include "smidgen/text/tokenizer.h"

namespace smidgen {
namespace {

const std::string& text_of(const Json& row, const char* key, const std::string& where) {
  if (!row.contains(key)) throw Error(ErrorKind::data, str("the key '", key, "' is missing"), where);
  if (!row[key].is_string()) throw Error(ErrorKind::data, str("'", key, "' should be a string, not ", row[key].type_name()), where);
  return row[key].get_ref<const std::string&>();
}

int32_t need_eos(const Tokenizer& tokenizer, const std::string& where) {
  if (tokenizer.eos()) return *tokenizer.eos();
  throw Error(ErrorKind::mismatch, "the tokenizer has no end-of-text token, so a model could not learn to stop", where,
              "set eos_token in tokenizer_config.json");
}

void put(Sample& sample, const std::vector<int32_t>& ids, bool answer) {
  sample.ids.insert(sample.ids.end(), ids.begin(), ids.end());
  sample.answer.insert(sample.answer.end(), ids.size(), answer);
}

void put_bos(Sample& sample, const Tokenizer& tokenizer) {
  if (tokenizer.adds_bos()) put(sample, {*tokenizer.bos()}, false);
}

constexpr EncodeOptions kPlain{.add_special = false};

void check_messages(const Json& messages, const std::string& where) {
  if (!messages.is_array()) throw Error(ErrorKind::data, str("'messages' should be a list, not ", messages.type_name()), where);
  if (messages.empty()) throw Error(ErrorKind::data, "'messages' is empty", where);
  for (size_t i = 0; i < messages.size(); ++i) {
    if (!messages[i].is_object() || !messages[i].contains("role") || !messages[i]["role"].is_string())
      throw Error(ErrorKind::data, str("message ", i, " should be an object with a 'role'"), where);
    const std::string& role = messages[i]["role"].get_ref<const std::string&>();
    static const std::vector<std::string> kRoles = {"system", "user", "assistant", "tool", "developer", "function", "ipython"};
    if (std::find(kRoles.begin(), kRoles.end(), role) == kRoles.end())
      throw Error(ErrorKind::data, str("message ", i, " has the role '", role, "'"), where, did_you_mean(role, kRoles, str("known: ", join(kRoles))));
    if (!messages[i].contains("content") && !messages[i].contains("tool_calls"))
      throw Error(ErrorKind::data, str("message ", i, " has no 'content'"), where);
  }
}

Sample from_messages(const Json& messages, const Json& row, const std::string& where, const Tokenizer& tokenizer,
                     const ChatTemplate& chat_template, const DatasetOptions& options) {
  Json variables = template_variables(tokenizer);
  variables.update(options.variables);
  if (row.contains("tools")) variables["tools"] = row["tools"];
  RenderedChat chat;
  try {
    chat = chat_template.render_with_spans(messages, variables);
  } catch (const Error& error) {
    throw Error(error.kind(), error.message(), str(where, ", ", error.where()), error.hint());
  }
  const Encoding encoding = tokenizer.encode_with_offsets(chat.text, kPlain);
  Sample sample;
  sample.where = where;
  if (tokenizer.adds_bos() && (encoding.ids.empty() || encoding.ids[0] != *tokenizer.bos())) put_bos(sample, tokenizer);
  const size_t shift = sample.ids.size();
  put(sample, encoding.ids, false);
  for (const TextSpan& span : chat.answers) {
    size_t first = encoding.ids.size(), last = 0, turn_end = encoding.ids.size();
    for (size_t i = 0; i < encoding.ids.size(); ++i) {
      if (encoding.ends[i] <= span.begin || encoding.begins[i] >= span.end) continue;
      first = std::min(first, i);
      last = i;
      if (tokenizer.is_special(encoding.ids[i])) turn_end = i;
    }
    // White space after the end of the turn is the template's, and no model ever writes it.
    if (turn_end < encoding.ids.size()) {
      const std::string_view rest = std::string_view(chat.text).substr(encoding.ends[turn_end], span.end - encoding.ends[turn_end]);
      if (leading_space(rest) == rest.size()) last = turn_end;
    }
    for (size_t i = first; i <= last && i < encoding.ids.size(); ++i) sample.answer[i + shift] = 1;
  }
  if (!sample.answer.empty()) sample.answer[0] = 0;
  return sample;
}

}  // namespace

RowForm row_form(const Json& row, const std::string& where) {
  if (!row.is_object()) throw Error(ErrorKind::data, str("a row should be an object, not ", row.type_name()), where);
  static const std::vector<std::string> kKeys = {"messages", "tools", "prompt", "completion", "text"};
  for (const auto& [key, value] : row.items()) {
    if (std::find(kKeys.begin(), kKeys.end(), key) == kKeys.end())
      throw Error(ErrorKind::data, str("unknown key '", key, "'"), where, did_you_mean(key, kKeys, str("known: ", join(kKeys))));
  }
  const int forms = row.contains("messages") + (row.contains("prompt") || row.contains("completion")) + row.contains("text");
  if (forms != 1)
    throw Error(ErrorKind::data, forms ? "a row of more than one form" : "a row of no known form", where,
                "one of: messages; prompt and completion; text");
  if (row.contains("tools") && !row.contains("messages")) throw Error(ErrorKind::data, "'tools' without 'messages'", where);
  return row.contains("messages") ? RowForm::messages : row.contains("text") ? RowForm::text : RowForm::completion;
}

Sample tokenize_row(const Json& row, const std::string& where, const Tokenizer& tokenizer, const ChatTemplate* chat_template,
                    const DatasetOptions& options) {
  const RowForm form = row_form(row, where);
  const bool use_template = chat_template && options.chat_template == TemplateUse::automatic;
  Sample sample;
  sample.where = where;
  if (form == RowForm::messages) {
    check_messages(row["messages"], where);
    if (!use_template)
      throw Error(ErrorKind::mismatch, chat_template ? "'messages' with the chat template switched off" : "'messages' for a model without a chat template",
                  where, "use prompt and completion, or a model with a chat template");
    return from_messages(row["messages"], row, where, tokenizer, *chat_template, options);
  }
  if (form == RowForm::completion) {
    const std::string &prompt = text_of(row, "prompt", where), &completion = text_of(row, "completion", where);
    if (use_template) {
      const Json messages = {{{"role", "user"}, {"content", prompt}}, {{"role", "assistant"}, {"content", completion}}};
      return from_messages(messages, row, where, tokenizer, *chat_template, options);
    }
    put_bos(sample, tokenizer);
    put(sample, tokenizer.encode(prompt, kPlain), false);
    put(sample, tokenizer.encode(completion, kPlain), true);
  } else {
    put_bos(sample, tokenizer);
    put(sample, tokenizer.encode(text_of(row, "text", where), kPlain), true);
  }
  const int32_t eos = need_eos(tokenizer, where);
  // A text that ends with the token already is not ended twice.
  if (sample.ids.empty() || sample.ids.back() != eos || !sample.answer.back()) put(sample, {eos}, true);
  // Nor does it begin twice.
  if (tokenizer.adds_bos() && sample.ids.size() > 1 && sample.ids[1] == *tokenizer.bos()) {
    sample.ids.erase(sample.ids.begin());
    sample.answer.erase(sample.answer.begin());
  }
  sample.answer[0] = 0;
  return sample;
}

}  // namespace smidgen
