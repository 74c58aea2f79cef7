// A vector of -1, 0 and +1 as two bitsets: bit i % 64 of word i / 64 stands for element i. No
// element has both bits, and bits behind the last element are zero.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace smidgen {

inline int64_t sign_words(int64_t count) {
  return (count + 63) / 64;
}

// Some consecutive elements, from a multiple of 64 on.
struct SignView {
  std::span<const uint64_t> positive, negative;  // sign_words(count) each
  int64_t count = 0;

  int64_t kept() const;
};

struct SignSpan {
  std::span<uint64_t> positive, negative;
  int64_t count = 0;

  operator SignView() const { return {positive, negative, count}; }
  // Writes to `out` scale, -scale, or `zero`.
  void expand(float scale, float zero, std::span<float> out) const;
};

struct Signs {
  explicit Signs(int64_t size)
      : count(size), positive(static_cast<size_t>(sign_words(size))), negative(positive.size()) {}

  // All zero, in the memory that is there.
  void reset(int64_t size) {
    count = size;
    positive.assign(static_cast<size_t>(sign_words(size)), 0);
    negative.assign(positive.size(), 0);
  }
  SignView view() const { return {positive, negative, count}; }
  SignSpan span() { return {positive, negative, count}; }
  // Elements [begin, begin + size), begin a multiple of 64.
  SignSpan part(int64_t begin, int64_t size) {
    const auto first = static_cast<size_t>(begin / 64);
    const auto words = static_cast<size_t>(sign_words(size));
    return {std::span(positive).subspan(first, words), std::span(negative).subspan(first, words),
            size};
  }

  int64_t count = 0;
  std::vector<uint64_t> positive, negative;
};

}  // namespace smidgen
