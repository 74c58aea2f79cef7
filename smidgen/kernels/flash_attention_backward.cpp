#include <cmath>
#include <type_traits>

#include "smidgen/kernels/attention_blocks.h"
#include "smidgen/kernels/flash_attention.h"

namespace smidgen {
namespace {

using namespace attention_blocks;

// A sequence's queries are divided for the backward pass where each share has this much to do.
constexpr double kShareFlops = 128e6;
constexpr int64_t kMostShares = 4, kShares = 32;

// More than this is not kept from call to call.
constexpr int64_t kMostKept = int64_t{64} << 20;

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

template void flash_attention_backward(const FlashAttention&, HeadRows<const Bf16>,
                                       HeadRows<const Bf16>, HeadRows<const Bf16>,
                                       HeadRows<const Bf16>, const float*, HeadRows<const Bf16>,
                                       HeadRows<Bf16>, HeadRows<Bf16>, HeadRows<Bf16>);
template void flash_attention_backward(const FlashAttention&, HeadRows<const float>,
                                       HeadRows<const float>, HeadRows<const float>,
                                       HeadRows<const float>, const float*, HeadRows<const float>,
                                       HeadRows<float>, HeadRows<float>, HeadRows<float>);

}  // namespace smidgen
