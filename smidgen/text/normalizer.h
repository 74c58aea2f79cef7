// Unicode normalisation with a way back to places in the original text.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "smidgen/text/tokenizer_spec.h"

namespace smidgen {

// Places where both texts are known to correspond, rising, from {0,0} to both ends. Between two
// that are equally far apart in both texts offsets carry over; else they are only known to lie
// between.
class Alignment {
 public:
  void add(size_t normalised, size_t original) { marks_.emplace_back(normalised, original); }
  void clear() { marks_.clear(); }
  bool identity() const { return marks_.empty(); }
  size_t begin(size_t normalised) const;  // original offset at or before
  size_t end(size_t normalised) const;    // at or after

 private:
  std::vector<std::pair<size_t, size_t>> marks_;
};

// `text` is valid UTF-8. When nothing changes, `out` is left empty and false is returned.
bool normalize(std::string_view text, const std::vector<NormalizerKind>& kinds, std::string& out,
               Alignment& alignment);

}  // namespace smidgen
