#include "smidgen/text/row_source.h"

#include <algorithm>

#include "smidgen/base/error.h"
#include "smidgen/text/utf8.h"

namespace smidgen {
namespace {

constexpr size_t kMaxRow = size_t{256} << 20;
constexpr size_t kReleased = size_t{8} << 20;
constexpr std::string_view kBlank = " \t";
constexpr std::string_view kSpace = " \t\r\n";

const fs::path& a_file(const fs::path& path) {
  if (fs::is_directory(path))
    throw Error(ErrorKind::data, "a folder where a data file is needed", path.string());
  return path;
}

}  // namespace

RowSource::RowSource(const fs::path& path) : file_(a_file(path)) {
  all_ = {reinterpret_cast<const char*>(file_.bytes().data()), file_.bytes().size()};
  rest_ = all_.starts_with("\xEF\xBB\xBF") ? all_.substr(3) : all_;
  const std::string extension = path.extension().string();
  if (extension == ".jsonl" || extension == ".ndjson" || extension == ".json") kind_ = Kind::lines;
  if (extension != ".json") return;
  const size_t begin = rest_.find_first_not_of(kSpace);
  if (begin == std::string_view::npos || rest_[begin] != '[') return;
  kind_ = Kind::list;
  line_ = 1;
  skip_space();
  rest_.remove_prefix(1);
}

void RowSource::refuse(const std::string& message) const {
  throw Error(ErrorKind::format, message, str(file_.path().string(), ":", line_));
}

void RowSource::check_row(std::string_view row, int64_t line) const {
  const std::string where = str(file_.path().string(), ":", line);
  if (row.size() > kMaxRow)
    throw Error(ErrorKind::data, str("a row of ", row.size(), " bytes; at most ", kMaxRow), where);
  const size_t good = utf8_valid_prefix(row);
  if (good == row.size()) return;
  const auto offset = static_cast<size_t>(row.data() - all_.data()) + good;
  const auto lines = std::count(row.begin(), row.begin() + static_cast<std::ptrdiff_t>(good), '\n');
  throw Error(ErrorKind::data, str("byte ", offset, " is not UTF-8"),
              str(file_.path().string(), ":", line + lines),
              "convert the file with iconv -t UTF-8");
}

bool RowSource::next_line(std::string_view& line) {
  if (rest_.empty()) return false;
  const size_t newline = std::min(rest_.find('\n'), rest_.size());
  line = rest_.substr(0, newline);
  rest_.remove_prefix(std::min(newline + 1, rest_.size()));
  ++line_;
  if (line.ends_with('\r')) line.remove_suffix(1);
  check_row(line, line_);
  return true;
}

void RowSource::skip_space() {
  while (!rest_.empty() && kSpace.find(rest_.front()) != std::string_view::npos) {
    line_ += rest_.front() == '\n';
    rest_.remove_prefix(1);
  }
}

// Cuts out one item by its brackets and strings; whether it is JSON is for the parser to say.
bool RowSource::next_item(RawRow& row) {
  skip_space();
  if (rest_.empty()) refuse("the list of rows does not end; a ] is missing");
  if (rest_.front() == ']' && first_) {
    ended_ = true;
  } else if (!first_) {
    const char mark = rest_.front();
    rest_.remove_prefix(1);
    if (mark == ']') {
      ended_ = true;
    } else if (mark != ',') {
      refuse("a comma or ] should follow a row of a list");
    }
    skip_space();
  }
  if (ended_) {
    if (first_) rest_.remove_prefix(1);
    skip_space();
    if (!rest_.empty()) refuse("something follows the list of rows");
    return false;
  }
  if (rest_.empty() || rest_.front() != '{') refuse("a row of a list should be an object");
  int64_t depth = 0;
  bool string = false, escaped = false;
  size_t end = 0;
  int64_t newlines = 0;
  for (; end < rest_.size(); ++end) {
    const char c = rest_[end];
    newlines += c == '\n';
    if (string) {
      if (escaped) {
        escaped = false;
      } else if (c == '\\') {
        escaped = true;
      } else if (c == '"') {
        string = false;
      }
    } else if (c == '"') {
      string = true;
    } else if (c == '{' || c == '[') {
      ++depth;
    } else if ((c == '}' || c == ']') && --depth == 0) {
      ++end;
      break;
    }
  }
  if (depth != 0 || string) refuse("this row does not end");
  check_row(rest_.substr(0, end), line_);
  row.text = rest_.substr(0, end);
  row.line = line_;
  line_ += newlines;
  rest_.remove_prefix(end);
  first_ = false;
  return true;
}

bool RowSource::next(RawRow& row) {
  if (kind_ == Kind::list) return !ended_ && next_item(row);
  row.text.clear();
  std::string_view line;
  while (next_line(line)) {
    const bool blank = line.find_first_not_of(kBlank) == std::string_view::npos;
    if (kind_ == Kind::lines) {
      if (blank) continue;
      row.text = line;
      row.line = line_;
      return true;
    }
    if (blank && !row.text.empty()) return true;
    if (blank) continue;
    if (row.text.empty()) {
      row.line = line_;
    } else {
      row.text += '\n';
    }
    row.text += line;
    if (row.text.size() > kMaxRow)
      throw Error(ErrorKind::data, str("a document of more than ", kMaxRow, " bytes"),
                  str(file_.path().string(), ":", row.line), "blank lines separate documents");
  }
  return !row.text.empty();
}

void RowSource::release() {
  const size_t read = all_.size() - rest_.size();
  if (read - released_ < kReleased) return;  // a call a row would cost more than it gives
  file_.release(file_.bytes().subspan(released_, read - released_));
  released_ = read;
}

}  // namespace smidgen
