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

// The assistant's turns before message `from` are no answers.
Sample from_messages(const Json& messages, const Json& row, const std::string& where,
                     const Tokenizer& tokenizer, const ChatTemplate& chat_template,
                     const DatasetOptions& options, size_t from = 0) {
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
  const auto earlier =
      std::count_if(messages.begin(), messages.begin() + static_cast<std::ptrdiff_t>(from),
                    [](const Json& m) { return m["role"] == "assistant"; });
  chat.answers.erase(
      chat.answers.begin(),
      chat.answers.begin() + std::min<std::ptrdiff_t>(earlier, std::ssize(chat.answers)));
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

// Prompt and completion without a template.
Sample from_strings(const std::string& prompt, const std::string& completion,
                    const std::string& where, const Tokenizer& tokenizer) {
  Sample sample;
  sample.where = where;
  put_bos(sample, tokenizer);
  put(sample, tokenizer.encode(prompt, kPlain), false);
  put(sample, tokenizer.encode(completion, kPlain), true);
  return sample;
}

Sample ended(Sample sample, const Tokenizer& tokenizer) {
  const int32_t eos = need_eos(tokenizer, sample.where);
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

class Unit {
 public:
  Unit(const std::string& where, const Tokenizer& tokenizer, const ChatTemplate* chat_template,
       const DatasetOptions& options)
      : where_(where), tokenizer_(tokenizer), given_(chat_template), options_(options) {
    if (options.chat_template == TemplateUse::automatic) template_ = chat_template;
  }

  Sample messages(const Json& messages, const Json& row, size_t from = 0) const {
    if (!template_)
      throw Error(ErrorKind::mismatch,
                  given_ ? "'messages' with the chat template switched off"
                         : "'messages' for a model without a chat template",
                  where_, "use prompt and completion, or a model with a chat template");
    return from_messages(messages, row, where_, tokenizer_, *template_, options_, from);
  }

  // An answer to a prompt, each a string or a list of messages.
  Sample answer(const Json& prompt, const Json& completion, const Json& row) const {
    if (prompt.is_array()) {
      Json all = prompt;
      for (const Json& message : completion) all.push_back(message);
      return messages(all, row, prompt.size());
    }
    const auto text = completion.get<std::string>();
    if (template_)
      return messages(
          {{{"role", "user"}, {"content", prompt}}, {{"role", "assistant"}, {"content", text}}},
          row);
    return ended(from_strings(prompt.get<std::string>(), text, where_, tokenizer_), tokenizer_);
  }

 private:
  const std::string& where_;
  const Tokenizer& tokenizer_;
  const ChatTemplate *given_, *template_ = nullptr;
  const DatasetOptions& options_;
};

void check_form(RowForm form, DataForm wanted, const std::string& where) {
  const DataForm found = form == RowForm::preference ? DataForm::pairs
                         : form == RowForm::labelled ? DataForm::labelled
                                                     : DataForm::plain;
  if (found == wanted) return;
  const char* needs[] = {"the loss learns from messages, prompt/completion or text",
                         "the loss compares pairs: rows need prompt, chosen and rejected",
                         "the loss needs prompt, completion and label"};
  const char* hints[] = {"tune --loss cross_entropy or distill", "tune --loss dpo, orpo or simpo",
                         "tune --loss kto"};
  throw Error(ErrorKind::data,
              str("a row of ", to_string(form), ", and ", needs[static_cast<int>(wanted)]), where,
              str("rows of this form are for ", hints[static_cast<int>(found)]));
}

}  // namespace

std::vector<Sample> tokenize_unit(const Json& given, const std::string& where,
                                  const Tokenizer& tokenizer, const ChatTemplate* chat_template,
                                  const DatasetOptions& options) {
  const Json row = house_row(given, where);
  const auto [form, texts] = row_texts(row, where);
  check_form(form, options.form, where);
  const Unit unit(where, tokenizer, chat_template, options);
  std::vector<Sample> out;
  switch (form) {
    case RowForm::messages:
      out.push_back(unit.messages(row["messages"], row));
      break;
    case RowForm::completion:
      out.push_back(unit.answer(row["prompt"], row["completion"], row));
      break;
    case RowForm::labelled:
      out.push_back(unit.answer(row["prompt"], row["completion"], row));
      out.back().label = row["label"].get<bool>();
      break;
    case RowForm::preference: {
      const Json whole = explicit_prompt(row, where);
      for (const char* side : {"chosen", "rejected"})
        out.push_back(unit.answer(whole["prompt"], whole[side], row));
      break;
    }
    case RowForm::text: {
      Sample sample;
      sample.where = where;
      put_bos(sample, tokenizer);
      put(sample, tokenizer.encode(texts[0], kPlain), true);
      out.push_back(ended(std::move(sample), tokenizer));
      break;
    }
  }
  return out;
}

Sample tokenize_row(const Json& row, const std::string& where, const Tokenizer& tokenizer,
                    const ChatTemplate* chat_template, const DatasetOptions& options) {
  auto all = tokenize_unit(row, where, tokenizer, chat_template, options);
  SMIDGEN_ASSERT(all.size() == 1);
  return std::move(all[0]);
}

}  // namespace smidgen
