#include "smidgen/text/dataset.h"

#include <algorithm>

#include "smidgen/base/error.h"
#include "smidgen/base/sha256.h"
#include "smidgen/text/token_arrays.h"

namespace smidgen {

const char* to_string(DataForm form) {
  const char* names[] = {"plain", "pairs", "labelled"};
  return names[static_cast<int>(form)];
}

std::string TokenArrays::digest(std::span<const int32_t> lengths) const {
  constexpr size_t kPiece = size_t{16} << 20;
  Sha256 hash;
  const auto add = [&](std::span<const std::byte> bytes) {
    for (; !bytes.empty(); bytes = bytes.subspan(std::min(kPiece, bytes.size()))) {
      const auto piece = bytes.first(std::min(kPiece, bytes.size()));
      hash.update(piece);
      if (mapped()) files_.front().release(piece);
    }
  };
  hash.update(std::as_bytes(lengths));
  add(std::as_bytes(ids));
  add(std::as_bytes(answer));
  add(std::as_bytes(labels));
  return hash.hex();
}

const Dataset::Part& Dataset::part(int64_t i) const {
  if (i < 0 || i >= size())
    throw Error(ErrorKind::usage, str("there is no sample ", i, " among ", size()));
  return *std::prev(std::upper_bound(parts_.begin(), parts_.end(), i,
                                     [](int64_t at, const Part& p) { return at < p.first; }));
}

std::span<const int32_t> Dataset::ids(int64_t i) const {
  const Part& p = part(i);
  const auto at = static_cast<size_t>(i);
  return p.tokens->ids.subspan(static_cast<size_t>(begins_[at]), static_cast<size_t>(lengths_[at]));
}

std::span<const uint8_t> Dataset::answer(int64_t i) const {
  const Part& p = part(i);
  const auto at = static_cast<size_t>(i);
  return p.tokens->answer.subspan(static_cast<size_t>(begins_[at]),
                                  static_cast<size_t>(lengths_[at]));
}

bool Dataset::label(int64_t i) const {
  const Part& p = part(i);
  return p.tokens->labels.empty() || p.tokens->labels[static_cast<size_t>(i - p.first)];
}

std::string Dataset::where(int64_t i) const {
  const Part& p = part(i);
  const uint32_t line = p.tokens->lines[static_cast<size_t>(i - p.first)];
  return line ? str(p.file, ":", line) : p.file;
}

Sample Dataset::at(int64_t i) const {
  const auto all = ids(i);
  const auto marks = answer(i);
  return {{all.begin(), all.end()}, {marks.begin(), marks.end()}, where(i), label(i)};
}

std::vector<int32_t> Dataset::unit_lengths() const {
  if (form_ != DataForm::pairs) return lengths_;
  std::vector<int32_t> both(lengths_.size() / 2);
  for (size_t u = 0; u < both.size(); ++u) both[u] = lengths_[2 * u] + lengths_[2 * u + 1];
  return both;
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
  if (parts_.empty() || parts_.back().file != file || parts_.back().tokens->mapped())
    parts_.push_back({file, size(), std::make_shared<TokenArrays>(), ""});
  TokenArrays& tokens = *parts_.back().tokens;
  begins_.push_back(static_cast<int64_t>(tokens.ids.size()));
  lengths_.push_back(static_cast<int32_t>(sample.ids.size()));
  tokens.push(sample.ids, sample.answer, has_line ? static_cast<uint32_t>(std::stoul(tail)) : 0,
              sample.label, form_ == DataForm::labelled);
  tokens_ += static_cast<int64_t>(sample.ids.size());
  for (const uint8_t mark : sample.answer) answer_tokens_ += mark != 0;
}

void Dataset::append(Part part, std::vector<int32_t> lengths) {
  part.first = size();
  int64_t begin = 0;
  for (const int32_t length : lengths) {
    begins_.push_back(begin);
    lengths_.push_back(length);
    begin += length;
  }
  tokens_ += begin;
  parts_.push_back(std::move(part));
}

std::string Dataset::digest() const {
  std::vector<std::string> digests;
  for (size_t k = 0; k < parts_.size(); ++k) {
    const auto first = static_cast<size_t>(parts_[k].first);
    const size_t end =
        k + 1 < parts_.size() ? static_cast<size_t>(parts_[k + 1].first) : lengths_.size();
    digests.push_back(
        parts_[k].digest.empty()
            ? parts_[k].tokens->digest(std::span(lengths_).subspan(first, end - first))
            : parts_[k].digest);
  }
  return digests.size() == 1 ? digests[0] : sha256(join(digests, "\n"));
}

}  // namespace smidgen
