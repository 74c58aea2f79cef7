#include "smidgen/kernels/flash_attention.h"

#include <limits>

#include "smidgen/kernels/attention_blocks.h"

namespace smidgen {
namespace {

using namespace attention_blocks;

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

template void flash_attention(const FlashAttention&, HeadRows<const Bf16>, HeadRows<const Bf16>,
                              HeadRows<const Bf16>, HeadRows<Bf16>, float*);
template void flash_attention(const FlashAttention&, HeadRows<const float>, HeadRows<const float>,
                              HeadRows<const float>, HeadRows<float>, float*);
}  // namespace smidgen
