// The tokens of the sequences of one file, end to end: vectors that grow, or arrays mapped from the
// token cache. For dataset.cpp, the cache and the reader.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "smidgen/base/fs.h"

namespace smidgen {

class TokenArrays {
 public:
  std::span<const int32_t> ids;
  std::span<const uint8_t> answer;  // as long as ids
  std::span<const uint32_t> lines;  // one a sequence; 0: none is known
  std::span<const uint8_t> labels;  // one a sequence, or empty: all true

  // Appends to the vectors. Not for mapped arrays.
  void push(std::span<const int32_t> more_ids, std::span<const uint8_t> more_answer, uint32_t line,
            bool label, bool labelled) {
    own_ids_.insert(own_ids_.end(), more_ids.begin(), more_ids.end());
    own_answer_.insert(own_answer_.end(), more_answer.begin(), more_answer.end());
    own_lines_.push_back(line);
    if (labelled) own_labels_.push_back(label);
    ids = own_ids_, answer = own_answer_, lines = own_lines_, labels = own_labels_;
  }
  bool mapped() const { return !files_.empty(); }

  // Keeps the file mapped for the life of the object.
  template <class T>
  std::span<const T> map(const fs::path& path) {
    files_.emplace_back(path);
    const auto bytes = files_.back().bytes();
    return {reinterpret_cast<const T*>(bytes.data()), bytes.size() / sizeof(T)};
  }

  // SHA-256 over lengths, ids, marks and labels. Of mapped arrays in pieces whose pages are given
  // back, so that checking them costs no memory.
  std::string digest(std::span<const int32_t> lengths) const;

 private:
  std::vector<int32_t> own_ids_;
  std::vector<uint8_t> own_answer_, own_labels_;
  std::vector<uint32_t> own_lines_;
  std::vector<MappedFile> files_;
};

}  // namespace smidgen
