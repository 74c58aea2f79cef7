// Files of rows, tokenised on all threads in the order of the file.
#include <algorithm>
#include <exception>
#include <optional>

#include <sys/stat.h>

#include "smidgen/base/error.h"
#include "smidgen/base/fs.h"
#include "smidgen/base/log.h"
#include "smidgen/base/sha256.h"
#include "smidgen/base/signals.h"
#include "smidgen/base/threads.h"
#include "smidgen/io/json_file.h"
#include "smidgen/text/chat_template.h"
#include "smidgen/text/dataset.h"
#include "smidgen/text/dataset_row.h"
#include "smidgen/text/row_source.h"
#include "smidgen/text/token_cache.h"
#include "smidgen/text/tokenizer.h"

namespace smidgen {
namespace {

constexpr size_t kShown = 5;                     // lines that a list in a message names
constexpr size_t kBatchBytes = size_t{4} << 20;  // text that is tokenised at a time
constexpr size_t kBatchRows = 8192;

struct FileStamp {
  int64_t bytes = 0, seconds = 0, nanoseconds = 0;
  bool operator==(const FileStamp&) const = default;
};

FileStamp stamp_of(const fs::path& path) {
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0) throw os_error("read", path, errno);
  return {status.st_size, status.st_mtim.tv_sec, status.st_mtim.tv_nsec};
}

// Lines that a message names: the first few, and how many there are.
class Places {
 public:
  void add(const std::string& where) {
    if (shown_.size() < kShown) shown_.push_back(where);
    ++count_;
  }
  int64_t count() const { return count_; }
  std::string text() const {
    const int64_t more = count_ - std::ssize(shown_);
    return more ? str(join(shown_), ", ... (", more, " more)") : join(shown_);
  }

 private:
  std::vector<std::string> shown_;
  int64_t count_ = 0;
};

Error not_cached(const Error& error) {
  return Error(error.kind(), error.message(), error.where(),
               "--data-cache FOLDER puts the tokens somewhere else, --data-cache none holds them "
               "in memory");
}

// A row on its way: what came in, and what came of it.
struct Work {
  RawRow raw;
  RowForm form = RowForm::text;
  std::vector<Sample> samples;
  std::exception_ptr failed;
};

}  // namespace

class DatasetBuilder {
 public:
  DatasetBuilder(const Tokenizer& tokenizer, const ChatTemplate* chat_template,
                 const DatasetOptions& options)
      : tokenizer_(tokenizer), template_(chat_template), options_(options), data_(options.form) {}

  void add(const fs::path& path) {
    files_.push_back(path.string());
    const DataCache& cache = options_.cache;
    if (cache.folder.empty() || !fs::is_regular_file(path) ||
        stamp_of(path).bytes < std::max<int64_t>(1, cache.least_bytes)) {
      read(path, nullptr);
      return;
    }
    const FileStamp stamp = stamp_of(path);
    const std::string key = key_of(path);
    if (auto found = open_cached_tokens(cache.folder, key)) {
      take(path, std::move(*found));
      return;
    }
    std::optional<TokenCacheWriter> writer;
    try {
      writer.emplace(cache.folder, key);
    } catch (const Error& error) {
      if (cache.needed) throw not_cached(error);
      log_note("tokens are held in memory, not in the cache: ", error.message(), " (",
               error.where(), ")");
      read(path, nullptr);
      return;
    }
    log_line("tokenising ", path.string(), " (", bytes_str(static_cast<uint64_t>(stamp.bytes)),
             ")");
    try {
      read(path, &*writer);
      if (stamp_of(path) != stamp)
        throw Error(ErrorKind::data, "the file changed while it was read", path.string());
      const bool refused = (too_long_.count() && options_.too_long == TooLong::error) ||
                           (no_answer_.count() && !options_.skip_without_answer);
      if (refused || writer->sequences() == 0) {
        data_.skipped_ += skipped_;
        return;
      }
      take(path, writer->commit({{"version", kTokenCacheVersion},
                                 {"file", fs::absolute(path).string()},
                                 {"form", to_string(options_.form)},
                                 {"answer_tokens", answer_tokens_},
                                 {"truncated", truncated_},
                                 {"skipped", skipped_}}));
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::resource) throw;
      throw not_cached(error);
    }
  }

  Dataset finish() {
    if (too_long_.count() && options_.too_long == TooLong::error)
      throw Error(ErrorKind::data,
                  str(counted(too_long_.count(), "sample"), " longer than max_length ",
                      options_.max_length, " (the longest has ", longest_, " tokens)"),
                  too_long_.text(), "raise max_length, or choose too_long: truncate or skip");
    if (no_answer_.count() && !options_.skip_without_answer)
      throw Error(
          ErrorKind::data,
          str(counted(no_answer_.count(), "sample"), " without an answer token to learn from"),
          no_answer_.text(),
          "an assistant turn or completion is missing, or max_length cuts it off");
    if (data_.size() == 0)
      throw Error(ErrorKind::data,
                  data_.skipped_ ? str(counted(data_.skipped_, "sample"), " skipped, none left")
                                 : "the data set is empty",
                  join(files_, ", ", kShown));
    return std::move(data_);
  }

 private:
  // Everything that decides the tokens.
  std::string key_of(const fs::path& path) {
    if (tokenizer_digest_.empty()) {
      const auto token = [](const std::optional<int32_t>& id) { return id ? Json(*id) : Json(); };
      tokenizer_digest_ = sha256(Json({{"tokenizer", tokenizer_json(tokenizer_)},
                                       {"bos", token(tokenizer_.bos())},
                                       {"eos", token(tokenizer_.eos())},
                                       {"adds_bos", tokenizer_.adds_bos()},
                                       {"variables", template_variables(tokenizer_)}})
                                     .dump(-1, ' ', false, Json::error_handler_t::replace));
    }
    const bool uses_template = template_ && options_.chat_template == TemplateUse::automatic;
    const std::string extension = path.extension().string();
    const Json decides = {{"version", kTokenCacheVersion},
                          {"file", sha256_file(path)},
                          {"kind", extension == ".ndjson" ? ".jsonl" : extension},
                          {"tokenizer", tokenizer_digest_},
                          {"template", uses_template ? template_->sources() : ""},
                          {"has_template", uses_template},
                          {"variables", options_.variables},
                          {"max_length", options_.max_length},
                          {"too_long", static_cast<int>(options_.too_long)},
                          {"skip_without_answer", options_.skip_without_answer},
                          {"form", to_string(options_.form)}};
    return sha256(decides.dump(-1, ' ', false, Json::error_handler_t::replace));
  }

  void take(const fs::path& path, CachedTokens found) {
    data_.answer_tokens_ += found.entry["answer_tokens"].get<int64_t>();
    data_.truncated_ += found.entry["truncated"].get<int64_t>();
    data_.skipped_ += found.entry["skipped"].get<int64_t>();
    data_.append({path.string(), 0, std::move(found.tokens), std::move(found.digest)},
                 std::move(found.lengths));
  }

  void read(const fs::path& path, TokenCacheWriter* writer) {
    form_line_ = 0;
    answer_tokens_ = truncated_ = skipped_ = 0;
    RowSource source(path);
    std::vector<Work> batch;
    for (bool more = true; more;) {
      throw_if_stopped();
      size_t bytes = 0;
      batch.clear();
      std::exception_ptr broken;
      try {
        while (bytes < kBatchBytes && batch.size() < kBatchRows) {
          RawRow raw;
          more = source.next(raw);
          if (!more) break;
          bytes += raw.text.size();
          batch.push_back({std::move(raw), RowForm::text, {}, nullptr});
        }
      } catch (const Error&) {
        broken = std::current_exception();  // after what the rows before it have to say
      }
      parallel_for(static_cast<int64_t>(batch.size()), 1, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i)
          tokenize(batch[static_cast<size_t>(i)], path, source.json());
      });
      for (Work& work : batch) keep(work, path, writer);
      if (broken) std::rethrow_exception(broken);
      source.release();
    }
    if (!writer) {
      data_.truncated_ += truncated_;
      data_.skipped_ += skipped_;
    }
  }

  void tokenize(Work& work, const fs::path& path, bool json) const {
    try {
      const std::string where = str(path.string(), ":", work.raw.line);
      Json row;
      if (json) {
        row = house_row(parse_json(work.raw.text, path.string(), work.raw.line), where);
        work.form = row_form(row, where);
      } else {
        row = {{"text", work.raw.text}};
      }
      work.samples = tokenize_unit(row, where, tokenizer_, template_, options_);
    } catch (...) {
      work.failed = std::current_exception();
    }
  }

  void keep(Work& work, const fs::path& path, TokenCacheWriter* writer) {
    // A row of another form is told before what is wrong in it, unless it could not be read at all.
    if (form_line_ == 0) {
      form_ = work.form;
      form_line_ = work.raw.line;
    } else if (work.form != form_ && !(work.failed && work.form == RowForm::text)) {
      throw Error(ErrorKind::data,
                  str("rows of two forms in one file: line ", form_line_, " is ", to_string(form_),
                      ", line ", work.raw.line, " is ", to_string(work.form)),
                  str(path.string(), ":", work.raw.line));
    }
    if (work.failed) std::rethrow_exception(work.failed);
    const auto limit = static_cast<size_t>(options_.max_length);
    const std::string& where = work.samples.front().where;
    bool cut = false;
    for (Sample& sample : work.samples) {
      if (limit == 0 || sample.ids.size() <= limit) continue;
      if (options_.too_long != TooLong::truncate) {
        too_long_.add(where);
        longest_ = std::max(longest_, sample.ids.size());
        ++skipped_;
        return;
      }
      sample.ids.resize(limit);
      sample.answer.resize(limit);
      cut = true;
    }
    truncated_ += cut;
    for (const Sample& sample : work.samples) {
      if (std::find(sample.answer.begin(), sample.answer.end(), 1) != sample.answer.end()) continue;
      no_answer_.add(where);
      ++skipped_;
      return;
    }
    if (work.samples.size() == 2 && work.samples[0].ids == work.samples[1].ids)
      throw Error(ErrorKind::data,
                  "the chosen and the rejected answer have the same tokens: nothing is preferred",
                  where, cut ? "max_length cuts off where they differ" : "");
    for (const Sample& sample : work.samples) {
      if (writer) {
        for (const uint8_t mark : sample.answer) answer_tokens_ += mark != 0;
        writer->push(sample.ids, sample.answer, static_cast<uint32_t>(work.raw.line), sample.label,
                     options_.form == DataForm::labelled);
      } else {
        data_.add(sample);
      }
    }
  }

  const Tokenizer& tokenizer_;
  const ChatTemplate* template_;
  const DatasetOptions& options_;
  Dataset data_;
  std::vector<std::string> files_;
  Places too_long_, no_answer_;
  std::string tokenizer_digest_;
  size_t longest_ = 0;
  // Of the file that is being read.
  RowForm form_ = RowForm::text;
  int64_t form_line_ = 0, answer_tokens_ = 0, truncated_ = 0, skipped_ = 0;
};

Dataset load_dataset(std::span<const fs::path> files, const Tokenizer& tokenizer,
                     const ChatTemplate* chat_template, const DatasetOptions& options) {
  if (files.empty()) throw Error(ErrorKind::usage, "no data file was named");
  if (options.max_length < 0 || options.max_length == 1)
    throw Error(ErrorKind::usage,
                str("max_length should be 0 (no limit) or at least 2, not ", options.max_length));
  DatasetBuilder builder(tokenizer, chat_template, options);
  for (const fs::path& path : files) builder.add(path);
  return builder.finish();
}

}  // namespace smidgen
