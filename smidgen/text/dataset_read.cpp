// Files of rows.
#include <algorithm>
#include <fstream>

#include "smidgen/base/error.h"
#include "smidgen/base/fs.h"
#include "smidgen/io/json_file.h"
#include "smidgen/text/dataset.h"
#include "smidgen/text/dataset_row.h"
#include "smidgen/text/utf8.h"

namespace smidgen {
namespace {

constexpr size_t kMaxLine = size_t{256} << 20;
constexpr size_t kShown = 5;  // lines that a list in a message names

}  // namespace

class DatasetBuilder {
 public:
  DatasetBuilder(const Tokenizer& tokenizer, const ChatTemplate* chat_template,
                 const DatasetOptions& options)
      : tokenizer_(tokenizer), template_(chat_template), options_(options) {}

  void read(const fs::path& path) {
    if (fs::is_directory(path))
      throw Error(ErrorKind::data, "a folder where a data file is needed", path.string());
    const MappedFile file(path);
    const std::string_view all(reinterpret_cast<const char*>(file.bytes().data()),
                               file.bytes().size());
    const std::string extension = path.extension().string();
    const bool rows = extension == ".jsonl" || extension == ".json" || extension == ".ndjson";
    if (const size_t good = utf8_valid_prefix(all); good < all.size()) {
      const auto line =
          1 + std::count(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(good), '\n');
      throw Error(ErrorKind::data, str("byte ", good, " is not UTF-8"),
                  str(path.string(), ":", line), "convert the file with iconv -t UTF-8");
    }
    form_line_ = 0;
    std::string_view rest = all.starts_with("\xEF\xBB\xBF") ? all.substr(3) : all;
    std::string document;
    int64_t line_number = 0, begin = 0;
    const auto close = [&] {
      if (!document.empty()) row(Json{{"text", document}}, str(path.string(), ":", begin));
      document.clear();
    };
    while (!rest.empty()) {
      const size_t newline = std::min(rest.find('\n'), rest.size());
      std::string_view line = rest.substr(0, newline);
      rest.remove_prefix(std::min(newline + 1, rest.size()));
      ++line_number;
      if (line.ends_with('\r')) line.remove_suffix(1);
      const std::string where = str(path.string(), ":", line_number);
      if (line.size() > kMaxLine)
        throw Error(ErrorKind::data, str("a line of ", line.size(), " bytes; at most ", kMaxLine),
                    where);
      const bool blank = line.find_first_not_of(" \t") == std::string_view::npos;
      if (rows) {
        if (!blank) checked_row(parse_json(line, path.string(), line_number), where, line_number);
      } else if (blank) {
        close();
      } else {
        if (document.empty()) begin = line_number;
        if (!document.empty()) document += '\n';
        document += line;
      }
    }
    close();
  }

  Dataset finish() {
    const auto lines = [](const std::vector<std::string>& all) { return join(all, ", ", kShown); };
    if (!too_long_.empty() && options_.too_long == TooLong::error)
      throw Error(ErrorKind::data,
                  str(counted(too_long_.size(), "sample"), " longer than max_length ",
                      options_.max_length, " (the longest has ", longest_, " tokens)"),
                  lines(too_long_), "raise max_length, or choose too_long: truncate or skip");
    if (!no_answer_.empty() && !options_.skip_without_answer)
      throw Error(
          ErrorKind::data,
          str(counted(no_answer_.size(), "sample"), " without an answer token to learn from"),
          lines(no_answer_),
          "an assistant turn or completion is missing, or max_length cuts it off");
    if (data_.size() == 0)
      throw Error(ErrorKind::data,
                  data_.skipped_ ? str(counted(data_.skipped_, "sample"), " skipped, none left")
                                 : "the data set is empty",
                  lines(files_));
    return std::move(data_);
  }

 private:
  void checked_row(const Json& json, const std::string& where, int64_t line) {
    const RowForm form = row_form(json, where);
    if (form_line_ == 0) {
      form_ = form;
      form_line_ = line;
    } else if (form != form_) {
      throw Error(ErrorKind::data,
                  str("rows of two forms in one file: line ", form_line_, " is ", to_string(form_),
                      ", line ", line, " is ", to_string(form)),
                  where);
    }
    row(json, where);
  }

  void row(const Json& json, const std::string& where) {
    Sample sample = tokenize_row(json, where, tokenizer_, template_, options_);
    const auto limit = static_cast<size_t>(options_.max_length);
    if (limit > 0 && sample.ids.size() > limit) {
      if (options_.too_long != TooLong::truncate) {
        too_long_.push_back(where);
        longest_ = std::max(longest_, sample.ids.size());
        ++data_.skipped_;
        return;
      }
      sample.ids.resize(limit);
      sample.answer.resize(limit);
      ++data_.truncated_;
    }
    if (std::find(sample.answer.begin(), sample.answer.end(), 1) == sample.answer.end()) {
      no_answer_.push_back(where);
      ++data_.skipped_;
      return;
    }
    data_.add(sample);
  }

 public:
  std::vector<std::string> files_;

 private:
  const Tokenizer& tokenizer_;
  const ChatTemplate* template_;
  const DatasetOptions& options_;
  Dataset data_;
  std::vector<std::string> too_long_, no_answer_;
  size_t longest_ = 0;
  RowForm form_ = RowForm::text;
  int64_t form_line_ = 0;
};

Dataset load_dataset(std::span<const fs::path> files, const Tokenizer& tokenizer,
                     const ChatTemplate* chat_template, const DatasetOptions& options) {
  if (files.empty()) throw Error(ErrorKind::usage, "no data file was named");
  if (options.max_length < 0 || options.max_length == 1)
    throw Error(ErrorKind::usage,
                str("max_length should be 0 (no limit) or at least 2, not ", options.max_length));
  DatasetBuilder builder(tokenizer, chat_template, options);
  for (const fs::path& path : files) {
    builder.files_.push_back(path.string());
    builder.read(path);
  }
  return builder.finish();
}

}  // namespace smidgen
