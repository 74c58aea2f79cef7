#include "smidgen/kernels/flash_attention.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <numeric>
#include <type_traits>
#include <vector>

#include "smidgen/base/threads.h"
#include "smidgen/kernels/softmax_tile.h"
#include "smidgen/kernels/tile_product.h"

namespace smidgen {
namespace {

constexpr int64_t kKeys = kPanelColumns;  // keys in a block

// Rows (a query of one head each) that share packed keys, and those of them whose scores lie in
// the first caches together. Both even: panels over rows hold pairs.
constexpr int64_t kBlockRows = 192, kTileRows = 48;

// Below this, waking a second thread costs more than it saves.
constexpr double kAloneFlops = 2e6;

// A sequence's queries are divided for the backward pass where each share has this much to do.
constexpr double kShareFlops = 128e6;
constexpr int64_t kMostShares = 4, kShares = 32;

// More than this is not kept from call to call.
constexpr int64_t kMostKept = int64_t{64} << 20;

struct Free {
  void operator()(std::byte* p) const { ::operator delete(p, std::align_val_t(64)); }
};
using Memory = std::unique_ptr<std::byte, Free>;

Memory allocate(int64_t bytes) {
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

const TileKernelsOf<Bf16>& kernels_of(Bf16) {
  return tile_kernels();
}
const TileKernelsOf<float>& kernels_of(float) {
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

int64_t panels(int64_t width) {
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

template <class T>
struct ForwardScratch {
  T *q, *k, *v, *p;
  float *s, *o, *largest, *sums, *logs;
  KeyRange* seen;

  ForwardScratch(const Plan& plan, Carver& carver)
      : q(carver.take<T>(plan.most_rows() * plan.shape.width)),
        k(carver.take<T>(panel_elements(plan.shape.width))),
        v(carver.take<T>(panels(plan.shape.width) * panel_elements(kKeys))),
        p(carver.take<T>(kTileRows * kKeys)),
        s(carver.take<float>(kTileRows * kKeys)),
        o(carver.take<float>(plan.most_rows() * plan.shape.width)),
        largest(carver.take<float>(plan.most_rows())),
        sums(carver.take<float>(plan.most_rows() * kSumLanes)),
        logs(carver.take<float>(plan.most_rows())),
        seen(carver.take<KeyRange>(plan.most_rows())) {}
};

void fill_seen(const Plan& plan, const Block& block, KeyRange* seen) {
  for (int64_t i = 0; i < block.queries; ++i)
    std::fill_n(seen + i * plan.group, plan.group, plan.seen_by(block, i));
}

// Calls body(first key of the block, keys in it), both within the sequence.
template <class Body>
void for_key_blocks(const Block& block, Body&& body) {
  for (int64_t key = block.seen.begin / kKeys * kKeys; key < block.seen.end; key += kKeys)
    body(key, std::min(kKeys, block.keys - key));
}

}  // namespace

template <class T>
void flash_attention(const FlashAttention& shape, HeadRows<const T> q, HeadRows<const T> k,
                     HeadRows<const T> v, HeadRows<T> out, float* log_sums) {
  const Plan plan(shape);
  const TileKernelsOf<T>& kernels = kernels_of(T());
  const int64_t c = shape.width, group = plan.group;
  const ScoreRule rule{shape.scale, shape.softcap};
  std::vector<double> work;
  for (const Block& block : plan.blocks) work.push_back(plan.flops(block.area, 2));

  run_by_size<ForwardScratch<T>>(plan, work, [&](const ForwardScratch<T>& my, size_t at) {
    const Block& block = plan.blocks[at];
    const int64_t rows = block.queries * group;
    gather(plan, block, q, my.q);
    fill_seen(plan, block, my.seen);
    std::fill_n(my.o, rows * c, 0.0f);
    std::fill_n(my.sums, rows * kSumLanes, 0.0f);
    std::fill_n(my.largest, rows, -std::numeric_limits<float>::infinity());
    for_key_blocks(block, [&](int64_t key, int64_t keys) {
      const int64_t row = block.key0 + key;
      kernels.pack_transposed(c, keys, k.at(row, block.kv_head), k.row, my.k);
      pack_all(kKeys, c, keys, v.at(row, block.kv_head), v.row, my.v);
      for_tiles(rows, key, keys, my.seen, [&](int64_t row0, const ScoreTile& tile) {
        float* o = my.o + row0 * c;
        kernels.multiply(tile.rows, c, my.q + row0 * c, c, my.k, tile.columns, my.s, kKeys, false);
        softmax_tile(tile, rule, my.s, my.p, my.largest + row0, my.sums + row0 * kSumLanes, c, o);
        for_panels(kKeys, c, [&](int64_t column0, int64_t columns, int64_t offset) {
          kernels.multiply(tile.rows, tile.columns, my.p, kKeys, my.v + offset, columns,
                           o + column0, c, true);
        });
      });
    });
    if (block.keys > 0) softmax_finish(rows, my.largest, my.sums, c, my.o, my.logs);
    scatter(plan, block, my.o, 1.0f, out);
    for (int64_t r = 0; r < rows; ++r) {
      log_sums[(block.query0 + r / group) * shape.heads + block.kv_head * group + r % group] =
          block.keys > 0 ? my.logs[r] : -std::numeric_limits<float>::infinity();
    }
  });
}

namespace {

// Some consecutive blocks of one sequence and head of keys, and what they add to dk and dv of the
// keys they see.
struct Share {
  size_t first, last;  // blocks
  KeyRange seen;
  double flops;
  float *dk, *dv;
};

// Shares by sequence and head of keys; those of unit u = sequence * kv_heads + head are
// [starts[u], starts[u + 1]).
struct Shares {
  std::vector<Share> all;
  std::vector<size_t> starts{0};

  explicit Shares(const Plan& plan) {
    const std::vector<Block>& blocks = plan.blocks;
    double whole = 0;
    for (const Block& block : blocks) whole += plan.flops(block.area, 5);
    const int64_t sequences = static_cast<int64_t>(plan.shape.query_starts.size()) - 1;
    size_t at = 0;
    for (int64_t unit = 0; unit < sequences * plan.shape.kv_heads; ++unit) {
      size_t end = at;
      double flops = 0;
      while (end < blocks.size() &&
             blocks[end].sequence * plan.shape.kv_heads + blocks[end].kv_head == unit) {
        flops += plan.flops(blocks[end++].area, 5);
      }
      divide(plan, at, end, flops, whole);
      starts.push_back(all.size());
      at = end;
    }
  }

  void lay_out(Carver& carver, int64_t width) {
    for (Share& share : all) {
      const int64_t elements = (share.seen.end - share.seen.begin) * width;
      share.dk = carver.take<float>(elements);
      share.dv = carver.take<float>(elements);
    }
  }

 private:
  // Blocks [first, last) into shares of about equal work.
  void divide(const Plan& plan, size_t first, size_t last, double flops, double whole) {
    // Where nothing is seen, nothing is divided.
    const double all_flops = std::max(1.0, whole), mine_of = std::max(1.0, flops);
    const double wanted = std::min(flops / kShareFlops, std::ceil(kShares * flops / all_flops));
    const double count = std::clamp(std::floor(wanted), 1.0, static_cast<double>(kMostShares));
    double done = 0;
    int64_t current = -1;
    for (; first < last; ++first) {
      const Block& block = plan.blocks[first];
      const double mine = plan.flops(block.area, 5);
      const auto share = static_cast<int64_t>((done + mine / 2) / mine_of * count);
      if (share != current)
        all.push_back({first, first, {block.seen.begin / kKeys * kKeys, 0}, 0, nullptr, nullptr});
      current = share;
      done += mine;
      all.back().last = first + 1;
      all.back().seen.end = std::min(block.keys, (block.seen.end + kKeys - 1) / kKeys * kKeys);
      all.back().flops += mine;
    }
  }
};

template <class T>
struct BackwardScratch {
  int64_t most;  // rows, a multiple of 2
  T *q, *dout, *q_panels, *dout_panels, *k_transposed, *v_transposed, *k, *p, *ds_panel, *ds;
  float *s, *dp, *dq, *logs, *delta;
  KeyRange* seen;

  BackwardScratch(const Plan& plan, Carver& carver)
      : most((plan.most_rows() + 1) / 2 * 2),
        q(carver.take<T>(most * plan.shape.width)),
        dout(carver.take<T>(most * plan.shape.width)),
        q_panels(carver.take<T>(panels(plan.shape.width) * panel_elements(most))),
        dout_panels(carver.take<T>(panels(plan.shape.width) * panel_elements(most))),
        k_transposed(carver.take<T>(panel_elements(plan.shape.width))),
        v_transposed(carver.take<T>(panel_elements(plan.shape.width))),
        k(carver.take<T>(panels(plan.shape.width) * panel_elements(kKeys))),
        p(carver.take<T>(panel_elements(kTileRows))),
        ds_panel(carver.take<T>(panel_elements(kTileRows))),
        ds(carver.take<T>(panel_elements(kTileRows))),
        s(carver.take<float>(kTileRows * kKeys)),
        dp(carver.take<float>(kTileRows * kKeys)),
        dq(carver.take<float>(most * plan.shape.width)),
        logs(carver.take<float>(most)),
        delta(carver.take<float>(most)),
        seen(carver.take<KeyRange>(most)) {}
};

template <class T>
struct BackwardInputs {
  HeadRows<const T> q, k, v, out, dout;
  const float* log_sums;
};

// One block: dq is left in `my`, dk and dv grow, whose rows begin at key `key0` of the sequence and
// are blank from `blank` on.
template <class T>
void backward_block(const Plan& plan, const Block& block, const BackwardInputs<T>& in,
                    const BackwardScratch<T>& my, int64_t key0, int64_t blank, float* dk,
                    float* dv) {
  const TileKernelsOf<T>& kernels = kernels_of(T());
  const FlashAttention& shape = plan.shape;
  const int64_t c = shape.width, rows = block.queries * plan.group;
  const ScoreRule rule{shape.scale, shape.softcap};
  gather(plan, block, in.q, my.q);
  gather(plan, block, in.dout, my.dout);
  pack_all(my.most, c, rows, my.q, c, my.q_panels);
  pack_all(my.most, c, rows, my.dout, c, my.dout_panels);
  fill_seen(plan, block, my.seen);
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t query = block.query0 + r / plan.group,
                  head = block.kv_head * plan.group + r % plan.group;
    my.logs[r] = in.log_sums[query * shape.heads + head];
    my.delta[r] = dot(c, my.dout + r * c, in.out.at(query, head));
  }
  std::fill_n(my.dq, rows * c, 0.0f);
  for_key_blocks(block, [&](int64_t key, int64_t keys) {
    const T *k = in.k.at(block.key0 + key, block.kv_head),
            *v = in.v.at(block.key0 + key, block.kv_head);
    kernels.pack_transposed(c, keys, k, in.k.row, my.k_transposed);
    kernels.pack_transposed(c, keys, v, in.v.row, my.v_transposed);
    pack_all(kKeys, c, keys, k, in.k.row, my.k);
    float *dk_block = dk + (key - key0) * c, *dv_block = dv + (key - key0) * c;
    if (key >= blank) {
      std::fill_n(dk_block, keys * c, 0.0f);
      std::fill_n(dv_block, keys * c, 0.0f);
    }
    for_tiles(rows, key, keys, my.seen, [&](int64_t row0, const ScoreTile& tile) {
      const int64_t n = tile.rows, columns = tile.columns;
      kernels.multiply(n, c, my.q + row0 * c, c, my.k_transposed, columns, my.s, kKeys, false);
      kernels.multiply(n, c, my.dout + row0 * c, c, my.v_transposed, columns, my.dp, kKeys, false);
      gradient_tile(tile, rule, my.logs + row0, my.delta + row0, my.s, my.dp, my.p, my.ds_panel,
                    my.ds);
      const T* ds = std::is_same_v<T, float> ? my.ds_panel : my.ds;
      for_panels(kKeys, c, [&](int64_t column0, int64_t width, int64_t offset) {
        kernels.multiply(n, columns, ds, kKeys, my.k + offset, width, my.dq + row0 * c + column0, c,
                         true);
      });
      for_panels(my.most, c, [&](int64_t column0, int64_t width, int64_t offset) {
        const int64_t from = offset + row0 * kPanelColumns;
        kernels.multiply_panels(columns, n, my.p, my.dout_panels + from, width, dv_block + column0,
                                c, true);
        kernels.multiply_panels(columns, n, my.ds_panel, my.q_panels + from, width,
                                dk_block + column0, c, true);
      });
    });
  });
}

// dk and dv of all rows out of what the shares found.
template <class T>
void add_shares(const FlashAttention& shape, const Shares& shares, HeadRows<T> dk, HeadRows<T> dv) {
  const int64_t c = shape.width;
  const auto total = [&](int64_t unit, int64_t key, float* Share::* part, float factor, T* to) {
    constexpr int64_t kTogether = 64;
    float sum[kTogether];
    for (int64_t x0 = 0; x0 < c; x0 += kTogether) {
      const int64_t n = std::min(kTogether, c - x0);
      std::fill_n(sum, n, 0.0f);
      for (size_t i = shares.starts[unit]; i < shares.starts[unit + 1]; ++i) {
        const Share& share = shares.all[i];
        if (key < share.seen.begin || key >= share.seen.end) continue;
        const float* from = (share.*part) + (key - share.seen.begin) * c + x0;
        for (int64_t x = 0; x < n; ++x) sum[x] += from[x];
      }
      scaled(n, factor, sum, to + x0);
    }
  };
  parallel_for(shape.keys(), 64, [&](int64_t begin, int64_t end) {
    const auto& starts = shape.key_starts;
    int64_t s = std::upper_bound(starts.begin(), starts.end(), begin) - starts.begin() - 1;
    for (int64_t row = begin; row < end; ++row) {
      while (row >= starts[static_cast<size_t>(s) + 1]) ++s;
      for (int64_t head = 0; head < shape.kv_heads; ++head) {
        const int64_t unit = s * shape.kv_heads + head, key = row - starts[static_cast<size_t>(s)];
        total(unit, key, &Share::dk, shape.scale, dk.at(row, head));
        total(unit, key, &Share::dv, 1.0f, dv.at(row, head));
      }
    }
  });
}

}  // namespace

template <class T>
void flash_attention_backward(const FlashAttention& shape, HeadRows<const T> q, HeadRows<const T> k,
                              HeadRows<const T> v, HeadRows<const T> out, const float* log_sums,
                              HeadRows<const T> dout, HeadRows<T> dq, HeadRows<T> dk,
                              HeadRows<T> dv) {
  const Plan plan(shape);
  Shares shares(plan);
  const BackwardInputs<T> in{q, k, v, out, dout, log_sums};
  std::vector<double> work;
  for (const Share& share : shares.all) work.push_back(share.flops);
  Carver measure{nullptr};
  shares.lay_out(measure, shape.width);
  Memory owned;
  if (measure.used > kMostKept) owned = allocate(measure.used);
  Carver carver{owned ? owned.get() : kept<Shares>(measure.used)};
  shares.lay_out(carver, shape.width);
  run_by_size<BackwardScratch<T>>(plan, work, [&](const BackwardScratch<T>& my, size_t at) {
    Share& share = shares.all[at];
    int64_t blank = share.seen.begin;
    for (size_t i = share.first; i < share.last; ++i) {
      const Block& block = plan.blocks[i];
      backward_block(plan, block, in, my, share.seen.begin, blank, share.dk, share.dv);
      blank = std::max(blank, (block.seen.end + kKeys - 1) / kKeys * kKeys);
      scatter(plan, block, my.dq, shape.scale, dq);
    }
  });
  add_shares(shape, shares, dk, dv);
}

template void flash_attention(const FlashAttention&, HeadRows<const Bf16>, HeadRows<const Bf16>,
                              HeadRows<const Bf16>, HeadRows<Bf16>, float*);
template void flash_attention(const FlashAttention&, HeadRows<const float>, HeadRows<const float>,
                              HeadRows<const float>, HeadRows<float>, float*);
template void flash_attention_backward(const FlashAttention&, HeadRows<const Bf16>,
                                       HeadRows<const Bf16>, HeadRows<const Bf16>,
                                       HeadRows<const Bf16>, const float*, HeadRows<const Bf16>,
                                       HeadRows<Bf16>, HeadRows<Bf16>, HeadRows<Bf16>);
template void flash_attention_backward(const FlashAttention&, HeadRows<const float>,
                                       HeadRows<const float>, HeadRows<const float>,
                                       HeadRows<const float>, const float*, HeadRows<const float>,
                                       HeadRows<float>, HeadRows<float>, HeadRows<float>);

}  // namespace smidgen
