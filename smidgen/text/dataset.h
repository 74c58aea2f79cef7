// Text data sets, tokenised, with a mark on every token that is to be learned.
//
// A file is .jsonl or .ndjson (one JSON object a line), .json (the same, or one list of objects),
// or anything else, which is plain text. All rows of one file have one form:
//   {"messages": [{"role": ..., "content": ...}, ...]}   optional "tools"; rendered by the chat
//                                                        template, the assistant's turns are the
//                                                        answers
//   {"prompt": ..., "completion": ...}                   with a chat template: one user and one
//                                                        assistant turn; without (or chat_template
//                                                        none): prompt, completion, eos
//   {"text": ...}                                        every token after the first is an answer;
//                                                        eos appended
// Two more are read as one of these (dataset_row.h): {"instruction", "input", "output"} of Alpaca
// and {"conversations": [{"from", "value"}]} of ShareGPT. Preference losses take
//   {"prompt": ..., "chosen": ..., "rejected": ...}      DataForm::pairs; strings or lists of
//                                                        messages; without "prompt" what chosen and
//                                                        rejected begin with alike is the prompt
//   {"prompt": ..., "completion": ..., "label": true}    DataForm::labelled
// A row of any form may also hold "meta", "id" and "source", whatever they are; they are not read.
// Other keys are errors. Plain text: documents are separated by blank lines, and each is a {"text":
// ...} row. Lines inside stay as they are.
//
// Files are read row by row and never held whole; rows are tokenised on all threads and kept in the
// order of the file. Where DatasetOptions::cache says so the tokens of a file go to disk and are
// mapped (token_cache.h), so that a set may be larger than memory: 12 bytes a sequence stay.
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
#include <memory>
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
  bool label = true;  // DataForm::labelled: whether the answer is a wanted one
};

enum class TooLong { error, skip, truncate };
enum class TemplateUse { automatic, none };
// What one unit of a data set is: a sequence; two of them, the chosen answer and the rejected one;
// a sequence with a label.
enum class DataForm { plain, pairs, labelled };
const char* to_string(DataForm form);

// Where the tokens of a file are kept between runs.
struct DataCache {
  std::filesystem::path folder;  // empty: in memory only
  int64_t least_bytes = 0;       // smaller files are tokenised anew, in memory
  bool needed = true;            // false: where the folder cannot be made, memory does
};

struct DatasetOptions {
  int64_t max_length = 0;  // tokens; 0: no limit
  // truncate drops the tail of the sample, as most training programs do; the count is in
  // truncated().
  TooLong too_long = TooLong::error;
  TemplateUse chat_template = TemplateUse::automatic;
  bool skip_without_answer = false;  // else such a sample is an Error data that lists the lines
  Json variables = Json::object();   // handed to the template, over those of the tokenizer
  DataForm form = DataForm::plain;
  DataCache cache;
};

// The tokens of the sequences of one file, in memory or mapped.
class TokenArrays;

// Tokenised sequences. Immutable after loading. The loader counts in units: a unit is one sequence,
// or with DataForm::pairs the sequences 2u (chosen) and 2u + 1 (rejected).
class Dataset {
 public:
  explicit Dataset(DataForm form = DataForm::plain) : form_(form) {}
  Dataset(Dataset&&) = default;
  Dataset& operator=(Dataset&&) = default;

  DataForm form() const { return form_; }
  int64_t size() const { return static_cast<int64_t>(lengths_.size()); }  // sequences
  int64_t units() const { return form_ == DataForm::pairs ? size() / 2 : size(); }
  Sample at(int64_t i) const;
  std::span<const int32_t> ids(int64_t i) const;
  std::span<const uint8_t> answer(int64_t i) const;
  bool label(int64_t i) const;
  std::string where(int64_t i) const;
  const std::vector<int32_t>& lengths() const { return lengths_; }  // of sequences
  std::vector<int32_t> unit_lengths() const;                        // tokens of each unit
  int64_t tokens() const { return tokens_; }
  int64_t answer_tokens() const { return answer_tokens_; }
  int64_t truncated() const { return truncated_; }
  int64_t skipped() const { return skipped_; }  // units that are too long, or without an answer
  // SHA-256 over lengths, ids, marks and labels of each file, and over these digests where there
  // are several: two runs with equal digests saw equal data.
  std::string digest() const;

  // For data that does not come from a file. Throws usage when the sizes disagree or the sample is
  // empty.
  void add(const Sample& sample);

 private:
  friend class DatasetBuilder;
  struct Part {
    std::string file;
    int64_t first = 0;  // its first sequence
    std::shared_ptr<TokenArrays> tokens;
    std::string digest;  // known where the tokens come from the cache
  };
  const Part& part(int64_t i) const;
  void append(Part part, std::vector<int32_t> lengths);

  DataForm form_ = DataForm::plain;
  std::vector<Part> parts_;
  std::vector<int64_t> begins_;  // of each sequence, in the arrays of its part
  std::vector<int32_t> lengths_;
  int64_t tokens_ = 0, answer_tokens_ = 0, truncated_ = 0, skipped_ = 0;
};

// `chat_template` may be null. Errors, each with file:line: broken JSON (line and column), text
// that is not UTF-8, rows of two forms in one file (both lines), rows of another DataForm, wrong
// types, unknown keys (nearest names), too long samples (the first lines and the count), no
// samples, no answer tokens, a chosen answer that equals the rejected one.
Dataset load_dataset(std::span<const std::filesystem::path> files, const Tokenizer& tokenizer,
                     const ChatTemplate* chat_template, const DatasetOptions& options = {});

// What `data` names, in order: a file stands for itself, a folder for the .jsonl, .ndjson, .json
// and .txt files in it by name, a pattern with * or ? or [ for what it matches. Throws not_found
// for what does not exist or matches nothing.
std::vector<std::filesystem::path> data_files(std::span<const std::string> named);

// The sequences of one row, not cut to a length: two of a pair, else one.
std::vector<Sample> tokenize_unit(const Json& row, const std::string& where,
                                  const Tokenizer& tokenizer, const ChatTemplate* chat_template,
                                  const DatasetOptions& options = {});
// The only one of them.
Sample tokenize_row(const Json& row, const std::string& where, const Tokenizer& tokenizer,
                    const ChatTemplate* chat_template, const DatasetOptions& options = {});

}  // namespace smidgen
