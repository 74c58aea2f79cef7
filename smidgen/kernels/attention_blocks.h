// How both passes of flash attention cut their work into blocks and tiles, and where these lie
// while they are worked on. Included by those two files alone.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <numeric>
#include <vector>

#include "smidgen/base/threads.h"
#include "smidgen/kernels/flash_attention.h"
#include "smidgen/kernels/softmax_tile.h"
#include "smidgen/kernels/tile_product.h"

namespace smidgen::attention_blocks {

constexpr int64_t kKeys = kPanelColumns;  // keys in a block

// Rows (a query of one head each) that share packed keys, and those of them whose scores lie in
// the first caches together. Both even: panels over rows hold pairs.
constexpr int64_t kBlockRows = 192, kTileRows = 48;

// Below this, waking a second thread costs more than it saves.
constexpr double kAloneFlops = 2e6;

struct Free {
  void operator()(std::byte* p) const { ::operator delete(p, std::align_val_t(64)); }
};
using Memory = std::unique_ptr<std::byte, Free>;

inline Memory allocate(int64_t bytes) {
  return Memory(
      static_cast<std::byte*>(::operator new(static_cast<size_t>(bytes), std::align_val_t(64))));
}

// Memory of this thread for one purpose, grown and kept: where fresh pages are dear, as in virtual
// machines, asking for them at each call took a sixth of the backward pass.
template <class Purpose>
std::byte* kept(int64_t bytes) {
  thread_local Memory memory;
  thread_local int64_t size = 0;
  if (size < bytes) {
    memory.reset();
    size = 0;
    memory = allocate(bytes);
    size = bytes;
  }
  return memory.get();
}

// Hands out consecutive parts; with a null base it only measures.
struct Carver {
  std::byte* base;
  int64_t used = 0;

  template <class T>
  T* take(int64_t elements) {
    T* part = base ? reinterpret_cast<T*>(base + used) : nullptr;
    used += (elements * static_cast<int64_t>(sizeof(T)) + 63) / 64 * 64;
    return part;
  }
};

inline const TileKernelsOf<Bf16>& kernels_of(Bf16) {
  return tile_kernels();
}
inline const TileKernelsOf<float>& kernels_of(float) {
  return float_tile_kernels();
}

// Consecutive queries of a sequence in all heads that read one head of keys. Row i * group + j is
// query i of head j, so what rows see never falls from one to the next.
struct Block {
  int64_t query0, queries;  // rows of q
  int64_t key0, keys;       // rows of k: the whole sequence
  int64_t kv_head;
  KeyRange seen;  // by any of its rows, from key0
  int64_t sequence;
  double area;  // pairs of row and key
};

struct Plan {
  const FlashAttention& shape;
  int64_t group, queries_per_block;
  std::vector<Block> blocks;  // by sequence, head of keys, query

  explicit Plan(const FlashAttention& s)
      : shape(s),
        group(s.heads / s.kv_heads),
        queries_per_block(std::max<int64_t>(1, kBlockRows / group)) {
    for (size_t i = 0; i + 1 < s.query_starts.size(); ++i) {
      const int64_t begin = s.query_starts[i], end = s.query_starts[i + 1];
      const int64_t key0 = s.key_starts[i], keys = s.key_starts[i + 1] - key0;
      for (int64_t head = 0; head < s.kv_heads; ++head) {
        for (int64_t at = begin; at < end; at += queries_per_block) {
          const int64_t count = std::min(queries_per_block, end - at);
          Block block{at, count, key0, keys, head, {}, static_cast<int64_t>(i), 0};
          const KeyRange first = seen_by(block, 0), last = seen_by(block, count - 1);
          block.seen = {first.begin, last.end};
          block.area = 0.5 * static_cast<double>(count * group) *
                       static_cast<double>(first.end - first.begin + last.end - last.begin);
          blocks.push_back(block);
        }
      }
    }
  }

  KeyRange seen_by(const Block& block, int64_t query) const {
    const size_t s = static_cast<size_t>(block.sequence);
    const int64_t position = block.keys - shape.query_starts[s + 1] + block.query0 + query;
    return visible_keys(shape.mask, shape.window, shape.prefix.empty() ? 0 : shape.prefix[s],
                        position, block.keys);
  }

  int64_t most_rows() const { return queries_per_block * group; }
  double flops(double area, int products) const {
    return area * static_cast<double>(2 * products * shape.width);
  }
};

// Runs body(scratch, i) for each of `count` pieces of work of the given flops, the longest first;
// whoever is free takes the next. Pieces write apart, so the order changes no result.
template <class Scratch, class Body>
void run_by_size(const Plan& plan, const std::vector<double>& flops, Body&& body) {
  std::vector<size_t> order(flops.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return flops[a] > flops[b]; });
  const double all = std::accumulate(flops.begin(), flops.end(), 0.0);
  const int64_t workers =
      all < kAloneFlops ? 1 : std::min<int64_t>(thread_count(), static_cast<int64_t>(order.size()));
  std::atomic<size_t> next{0};
  Carver measure{nullptr};
  static_cast<void>(Scratch(plan, measure));
  parallel_for(workers, 1, [&](int64_t, int64_t) {
    Carver carver{kept<Scratch>(measure.used)};
    const Scratch scratch(plan, carver);
    for (size_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < order.size();)
      body(scratch, order[i]);
  });
}

inline int64_t panels(int64_t width) {
  return (width + kPanelColumns - 1) / kPanelColumns;
}

// Calls body(column0, columns, offset of the panel) for each panel that [most, width] takes.
template <class Body>
void for_panels(int64_t most, int64_t width, Body&& body) {
  for (int64_t p = 0; p < panels(width); ++p) {
    const int64_t column0 = p * kPanelColumns;
    body(column0, std::min(kPanelColumns, width - column0), p * panel_elements(most));
  }
}

// The panels of b [k, width], each with room for `most` rows.
template <class T>
void pack_all(int64_t most, int64_t width, int64_t k, const T* b, int64_t ldb, T* to) {
  for_panels(most, width, [&](int64_t column0, int64_t columns, int64_t offset) {
    kernels_of(T()).pack(k, columns, b + column0, ldb, to + offset);
  });
}

// The rows of a block, [rows, width] without gaps.
template <class T>
void gather(const Plan& plan, const Block& block, HeadRows<const T> from, T* to) {
  const int64_t width = plan.shape.width;
  for (int64_t i = 0; i < block.queries; ++i) {
    for (int64_t j = 0; j < plan.group; ++j, to += width) {
      std::memcpy(static_cast<void*>(to), from.at(block.query0 + i, block.kv_head * plan.group + j),
                  static_cast<size_t>(width) * sizeof(T));
    }
  }
}

template <class T>
void scatter(const Plan& plan, const Block& block, const float* from, float factor,
             HeadRows<T> to) {
  const int64_t width = plan.shape.width;
  for (int64_t i = 0; i < block.queries; ++i) {
    for (int64_t j = 0; j < plan.group; ++j, from += width) {
      scaled(width, factor, from, to.at(block.query0 + i, block.kv_head * plan.group + j));
    }
  }
}

// Calls body(row0, tile) for the tiles of a block that see something of the keys from `key0` on.
template <class Body>
void for_tiles(int64_t rows, int64_t key0, int64_t keys, const KeyRange* seen, Body&& body) {
  for (int64_t row0 = 0; row0 < rows; row0 += kTileRows) {
    const int64_t n = std::min(kTileRows, rows - row0), end = seen[row0 + n - 1].end;
    if (end <= key0 || seen[row0].begin >= key0 + keys) continue;
    body(row0, ScoreTile{n, std::min(keys, end - key0), key0, seen + row0});
  }
}

inline void fill_seen(const Plan& plan, const Block& block, KeyRange* seen) {
  for (int64_t i = 0; i < block.queries; ++i)
    std::fill_n(seen + i * plan.group, plan.group, plan.seen_by(block, i));
}

// Calls body(first key of the block, keys in it), both within the sequence.
template <class Body>
void for_key_blocks(const Block& block, Body&& body) {
  for (int64_t key = block.seen.begin / kKeys * kKeys; key < block.seen.end; key += kKeys)
    body(key, std::min(kKeys, block.keys - key));
}

}  // namespace smidgen::attention_blocks
