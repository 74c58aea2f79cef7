// One row of a data set to tokens and marks.
#include <algorithm>

#include "smidgen/base/error.h"
#include "smidgen/text/characters.h"
#include "smidgen/text/chat_template.h"
#include "smidgen/text/dataset.h"
#include "smidgen/text/dataset_row.h"
#include "smidgen/text/tokenizer.h"

namespace smidgen {
namespace {

int32_t need_eos(const Tokenizer& tokenizer, const std::string& where) {
  if (tokenizer.eos()) return *tokenizer.eos();
  throw Error(ErrorKind::mismatch,
              "the tokenizer has no end-of-text token, so a model could not learn to stop", where,
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

Sample from_messages(const Json& messages, const Json& row, const std::string& where,
                     const Tokenizer& tokenizer, const ChatTemplate& chat_template,
                     const DatasetOptions& options) {
  Json variables = template_variables(tokenizer);
  variables.update(options.variables);
  if (row.contains("tools")) variables["tools"] = row["tools"];
  RenderedChat chat;
  try {
    chat = chat_template.render_with_spans(messages, variables);
  } catch (const Error& error) {
    throw Error(error.kind(), error.message(),
                error.where().empty() ? where : str(where, ", ", error.where()), error.hint());
  }
  const Encoding encoding = tokenizer.encode_with_offsets(chat.text, kPlain);
  Sample sample;
  sample.where = where;
  if (tokenizer.adds_bos() && (encoding.ids.empty() || encoding.ids[0] != *tokenizer.bos()))
    put_bos(sample, tokenizer);
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
      const std::string_view rest = std::string_view(chat.text).substr(
          encoding.ends[turn_end], span.end - encoding.ends[turn_end]);
      if (leading_space(rest) == rest.size()) last = turn_end;
    }
    for (size_t i = first; i <= last && i < encoding.ids.size(); ++i) sample.answer[i + shift] = 1;
  }
  if (!sample.answer.empty()) sample.answer[0] = 0;
  return sample;
}

}  // namespace

Sample tokenize_row(const Json& row, const std::string& where, const Tokenizer& tokenizer,
                    const ChatTemplate* chat_template, const DatasetOptions& options) {
  const auto [form, texts] = row_texts(row, where);
  const bool use_template = chat_template && options.chat_template == TemplateUse::automatic;
  Sample sample;
  sample.where = where;
  if (form == RowForm::messages) {
    if (!use_template)
      throw Error(ErrorKind::mismatch,
                  chat_template ? "'messages' with the chat template switched off"
                                : "'messages' for a model without a chat template",
                  where, "use prompt and completion, or a model with a chat template");
    return from_messages(row["messages"], row, where, tokenizer, *chat_template, options);
  }
  if (form == RowForm::completion) {
    const std::string &prompt = texts[0], &completion = texts[1];
    if (use_template) {
      const Json messages = {{{"role", "user"}, {"content", prompt}},
                             {{"role", "assistant"}, {"content", completion}}};
      return from_messages(messages, row, where, tokenizer, *chat_template, options);
    }
    put_bos(sample, tokenizer);
    put(sample, tokenizer.encode(prompt, kPlain), false);
    put(sample, tokenizer.encode(completion, kPlain), true);
  } else {
    put_bos(sample, tokenizer);
    put(sample, tokenizer.encode(texts[0], kPlain), true);
  }
  const int32_t eos = need_eos(tokenizer, where);
  // A text that ends with the token already is not ended twice.
  if (sample.ids.empty() || sample.ids.back() != eos || !sample.answer.back())
    put(sample, {eos}, true);
  // Nor does it begin twice.
  if (tokenizer.adds_bos() && sample.ids.size() > 1 && sample.ids[1] == *tokenizer.bos()) {
    sample.ids.erase(sample.ids.begin());
    sample.answer.erase(sample.answer.begin());
  }
  sample.answer[0] = 0;
  return sample;
}

}  // namespace smidgen
