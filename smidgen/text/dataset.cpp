#include "smidgen/text/dataset.h"

#include "smidgen/base/error.h"
#include "smidgen/base/sha256.h"

namespace smidgen {

std::span<const int32_t> Dataset::ids(int64_t i) const {
  if (i < 0 || i >= size())
    throw Error(ErrorKind::usage, str("there is no sample ", i, " among ", size()));
  const auto at = static_cast<size_t>(i);
  return std::span(ids_).subspan(static_cast<size_t>(begins_[at]),
                                 static_cast<size_t>(lengths_[at]));
}

std::span<const uint8_t> Dataset::answer(int64_t i) const {
  const size_t length = ids(i).size();
  return std::span(answer_).subspan(static_cast<size_t>(begins_[static_cast<size_t>(i)]), length);
}

std::string Dataset::where(int64_t i) const {
  ids(i);
  const auto at = static_cast<size_t>(i);
  return line_[at] ? str(files_[file_[at]], ":", line_[at]) : files_[file_[at]];
}

Sample Dataset::at(int64_t i) const {
  const auto all = ids(i);
  const auto marks = answer(i);
  return {{all.begin(), all.end()}, {marks.begin(), marks.end()}, where(i)};
}

void Dataset::add(const Sample& sample) {
  if (sample.ids.size() != sample.answer.size())
    throw Error(ErrorKind::usage,
                str(sample.answer.size(), " marks for ", sample.ids.size(), " tokens"),
                sample.where);
  if (sample.ids.empty()) throw Error(ErrorKind::usage, "a sample without tokens", sample.where);
  if (sample.answer[0])
    throw Error(ErrorKind::usage, "the first token has nothing to be predicted from", sample.where);
  // "file:line" is kept as two numbers; anything else whole.
  const size_t colon = sample.where.rfind(':');
  const std::string tail = colon == std::string::npos ? "" : sample.where.substr(colon + 1);
  const bool has_line = !tail.empty() && tail.size() < 10 &&
                        tail.find_first_not_of("0123456789") == std::string::npos && tail[0] != '0';
  const std::string file = has_line ? sample.where.substr(0, colon) : sample.where;
  if (files_.empty() || files_.back() != file) files_.push_back(file);
  file_.push_back(static_cast<uint32_t>(files_.size() - 1));
  line_.push_back(has_line ? static_cast<uint32_t>(std::stoul(tail)) : 0);
  begins_.push_back(tokens());
  lengths_.push_back(static_cast<int32_t>(sample.ids.size()));
  ids_.insert(ids_.end(), sample.ids.begin(), sample.ids.end());
  answer_.insert(answer_.end(), sample.answer.begin(), sample.answer.end());
  for (const uint8_t mark : sample.answer) answer_tokens_ += mark != 0;
}

std::string Dataset::digest() const {
  Sha256 hash;
  hash.update(std::as_bytes(std::span(lengths_)));
  hash.update(std::as_bytes(std::span(ids_)));
  hash.update(std::as_bytes(std::span(answer_)));
  return hash.hex();
}

}  // namespace smidgen
