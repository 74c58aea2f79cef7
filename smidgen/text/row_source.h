// The rows of a data file one after the other, as text. The file is mapped, and what was read is
// given back, so that memory does not grow with it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "smidgen/base/fs.h"

namespace smidgen {

struct RawRow {
  std::string text;  // JSON of one row, or a document of a plain text file
  int64_t line = 0;  // that it begins on, from 1
};

// .jsonl and .ndjson: a row a line, blank lines between them. .json: the same, or one list whose
// items are the rows, however it is laid out. Else: documents between blank lines. CRLF is read as
// LF. Throws data or format with file:line: text that is not UTF-8, a row over 256 MiB, what is no
// list of objects.
class RowSource {
 public:
  explicit RowSource(const fs::path& path);
  bool json() const { return kind_ != Kind::text; }
  bool next(RawRow& row);  // false at the end
  // Gives back the pages of what was returned so far.
  void release();

 private:
  enum class Kind { lines, list, text };
  bool next_line(std::string_view& line);
  bool next_item(RawRow& row);
  void skip_space();
  [[noreturn]] void refuse(const std::string& message) const;
  void check_row(std::string_view row, int64_t line) const;

  MappedFile file_;
  std::string_view all_, rest_;
  Kind kind_ = Kind::text;
  int64_t line_ = 0;  // of `rest_` in a list; of the line last returned otherwise
  bool first_ = true, ended_ = false;
  size_t released_ = 0;
};

}  // namespace smidgen
