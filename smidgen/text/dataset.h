// Text data sets, tokenised, with a mark on every token that is to be learned.
//
// A file is .jsonl/.json (one JSON object a line) or anything else, which is plain text. All rows
// of one file have one form:
//   {"messages": [{"role": ..., "content": ...}, ...]}   optional "tools"; rendered by the chat
//   template, the
//                                                        assistant's turns are the answers
//   {"prompt": ..., "completion": ...}                   with a chat template: one user and one
//   assistant turn;
//                                                        without (or chat_template none): prompt,
//                                                        completion, eos
//   {"text": ...}                                        every token after the first is an answer;
//   eos appended
// A row of any form may also hold "meta", "id" and "source", whatever they are; they are not read.
// Other keys are errors. Plain text: documents are separated by blank lines, and each is a {"text":
// ...} row. Lines inside stay as they are.
//
// A sample begins with exactly one BOS when the tokenizer adds one; where the template writes it,
// none is added. The end-of-turn token (or eos) is an answer token, since the model must learn to
// stop; white space that the template writes after it is not. An answer that begins with white
// space can share a token with the end of the template's text
// ("\n" and "    x"); that token is an answer token, as in transformers, and no generation prompt
// leads to it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "smidgen/base/json.h"

namespace smidgen {

class ChatTemplate;
class Tokenizer;

struct Sample {
  std::vector<int32_t> ids;
  std::vector<uint8_t>
      answer;  // 1: this token is predicted from those before it, and trained. answer[0] is 0
  std::string where;  // file:line
};

enum class TooLong { error, skip, truncate };
enum class TemplateUse { automatic, none };

struct DatasetOptions {
  int64_t max_length = 0;  // tokens; 0: no limit
  // truncate drops the tail of the sample, as most training programs do; the count is in
  // truncated().
  TooLong too_long = TooLong::error;
  TemplateUse chat_template = TemplateUse::automatic;
  bool skip_without_answer = false;  // else such a sample is an Error data that lists the lines
  Json variables = Json::object();   // handed to the template, over those of the tokenizer
};

// Tokenised samples in flat arrays. Immutable after loading.
class Dataset {
 public:
  Dataset() = default;

  int64_t size() const { return static_cast<int64_t>(lengths_.size()); }
  Sample at(int64_t i) const;
  std::span<const int32_t> ids(int64_t i) const;
  std::span<const uint8_t> answer(int64_t i) const;
  std::string where(int64_t i) const;
  const std::vector<int32_t>& lengths() const { return lengths_; }
  int64_t tokens() const { return static_cast<int64_t>(ids_.size()); }
  int64_t answer_tokens() const { return answer_tokens_; }
  int64_t truncated() const { return truncated_; }
  int64_t skipped() const { return skipped_; }  // too long, or without an answer
  // SHA-256 over lengths, ids and marks: two runs with equal digests saw equal data.
  std::string digest() const;

  // For data that does not come from a file. Throws usage when the sizes disagree or the sample is
  // empty.
  void add(const Sample& sample);

 private:
  friend class DatasetBuilder;
  std::vector<int32_t> ids_;
  std::vector<uint8_t> answer_;
  std::vector<int64_t> begins_;
  std::vector<int32_t> lengths_;
  std::vector<std::string> files_;
  std::vector<uint32_t> file_, line_;
  int64_t answer_tokens_ = 0, truncated_ = 0, skipped_ = 0;
};

// `chat_template` may be null. Errors, each with file:line: broken JSON (line and column), text
// that is not UTF-8, rows of two forms in one file (both lines), wrong types, unknown keys (nearest
// names), too long samples (the first lines and the count), no samples, no answer tokens.
Dataset load_dataset(std::span<const std::filesystem::path> files, const Tokenizer& tokenizer,
                     const ChatTemplate* chat_template, const DatasetOptions& options = {});

// One row, not cut to a length.
Sample tokenize_row(const Json& row, const std::string& where, const Tokenizer& tokenizer,
                    const ChatTemplate* chat_template, const DatasetOptions& options = {});

}  // namespace smidgen
