// Which keys a query sees.
#pragma once

#include <algorithm>
#include <cstdint>

namespace smidgen {

// A sequence's queries are the LAST rows of its keys: with m queries and l keys, query i stands at
// position p = l - m + i (cached decoding has m < l). `full` alone allows m > l.
enum class MaskKind {
  causal,  // keys 0 .. p
  full,    // all keys of the sequence
  window,  // keys max(0, p - window + 1) .. p
  prefix,  // keys 0 .. max(p, prefix - 1): the first `prefix` keys see each other
};

// [begin, end), empty only where the sequence has no keys. Neither bound ever falls from one
// query to the next.
struct KeyRange {
  int64_t begin = 0, end = 0;
};

inline KeyRange visible_keys(MaskKind mask, int64_t window, int64_t prefix, int64_t position,
                             int64_t keys) {
  switch (mask) {
    case MaskKind::causal:
      return {0, position + 1};
    case MaskKind::full:
      return {0, keys};
    case MaskKind::window:
      return {std::max<int64_t>(0, position + 1 - window), position + 1};
    case MaskKind::prefix:
      return {0, std::max(position + 1, std::min(prefix, keys))};
  }
  return {};
}

}  // namespace smidgen
