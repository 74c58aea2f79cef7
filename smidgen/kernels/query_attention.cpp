#include "smidgen/kernels/query_attention.h"

#include <type_traits>

// clang-format off: Highway needs this order
#include "smidgen/kernels/target.h"
// As in tile_product.cpp: arrays of vectors cannot be SVE's, so NEON serves those machines.
#undef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "smidgen/kernels/query_attention.cpp"
#include <hwy/foreach_target.h>

#include "smidgen/kernels/simd-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace smidgen {
namespace HWY_NAMESPACE {

// scores[h * stride + key] = q_h k_key for `Heads` rows of q [Heads, width] and `keys` rows of k.
template <int Heads, class T>
HWY_INLINE void scores_of(int64_t width, int64_t keys, const float* q, const T* k, int64_t ldk,
                          float* scores, int64_t stride) {
  const D d;
  for (int64_t key = 0; key < keys; ++key, k += ldk) {
    V sums[Heads];
    for (int h = 0; h < Heads; ++h) sums[h] = hn::Zero(d);
    for_vectors(width, [&](int64_t, auto get, auto) HWY_ATTR {
      const V x = get(k);
#pragma GCC unroll 4
      for (int h = 0; h < Heads; ++h) sums[h] = hn::MulAdd(x, get(q + h * width), sums[h]);
    });
    for (int h = 0; h < Heads; ++h) scores[h * stride + key] = sum(d, sums[h]);
  }
}

// o_h += sum over keys of p_h,key v_key, for columns [column, column + Vectors lanes).
template <int Heads, int Vectors, class T>
HWY_INLINE void values_of(int64_t width, int64_t keys, const float* p, int64_t stride, const T* v,
                          int64_t ldv, float* o, size_t part) {
  const D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  V sums[Heads][Vectors];
#pragma GCC unroll 4
  for (int h = 0; h < Heads; ++h) {
#pragma GCC unroll 4
    for (int i = 0; i < Vectors; ++i) {
      const float* from = o + h * width + i * lanes;
      sums[h][i] = part ? load_part(d, from, part) : load(d, from);
    }
  }
  for (int64_t key = 0; key < keys; ++key, v += ldv) {
    V x[Vectors];
#pragma GCC unroll 4
    for (int i = 0; i < Vectors; ++i) x[i] = part ? load_part(d, v, part) : load(d, v + i * lanes);
#pragma GCC unroll 4
    for (int h = 0; h < Heads; ++h) {
      const V weight = hn::Set(d, p[h * stride + key]);
#pragma GCC unroll 4
      for (int i = 0; i < Vectors; ++i) sums[h][i] = hn::MulAdd(weight, x[i], sums[h][i]);
    }
  }
#pragma GCC unroll 4
  for (int h = 0; h < Heads; ++h) {
#pragma GCC unroll 4
    for (int i = 0; i < Vectors; ++i) {
      float* to = o + h * width + i * lanes;
      if (part) {
        store_part(d, sums[h][i], to, part);
      } else {
        store(d, sums[h][i], to);
      }
    }
  }
}

template <int Heads, class T>
HWY_INLINE void values(int64_t width, int64_t keys, const float* p, int64_t stride, const T* v,
                       int64_t ldv, float* o) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(D()));
  int64_t column = 0;
  for (; column + 4 * lanes <= width; column += 4 * lanes)
    values_of<Heads, 4>(width, keys, p, stride, v + column, ldv, o + column, 0);
  for (; column + lanes <= width; column += lanes)
    values_of<Heads, 1>(width, keys, p, stride, v + column, ldv, o + column, 0);
  if (column < width) {
    values_of<Heads, 1>(width, keys, p, stride, v + column, ldv, o + column,
                        static_cast<size_t>(width - column));
  }
}

// Heads by fours, so that sums stay in registers and keys are read once for all of them.
template <class Body>
HWY_INLINE void by_fours(int64_t heads, Body&& body) {
  int64_t h = 0;
  for (; h + 4 <= heads; h += 4) body(std::integral_constant<int, 4>(), h);
  if (heads - h == 3) return body(std::integral_constant<int, 3>(), h);
  if (heads - h == 2) return body(std::integral_constant<int, 2>(), h);
  if (heads - h == 1) return body(std::integral_constant<int, 1>(), h);
}

template <class T>
HWY_INLINE void all_scores(int64_t heads, int64_t width, int64_t keys, const float* q, const T* k,
                           int64_t ldk, float* scores, int64_t stride) {
  by_fours(heads, [&](auto count, int64_t h) HWY_ATTR {
    scores_of<count()>(width, keys, q + h * width, k, ldk, scores + h * stride, stride);
  });
}
template <class T>
HWY_INLINE void all_values(int64_t heads, int64_t width, int64_t keys, const float* p,
                           int64_t stride, const T* v, int64_t ldv, float* o) {
  by_fours(heads, [&](auto count, int64_t h) HWY_ATTR {
    values<count()>(width, keys, p + h * stride, stride, v, ldv, o + h * width);
  });
}

void ScoresFloat(int64_t heads, int64_t width, int64_t keys, const float* q, const float* k,
                 int64_t ldk, float* scores, int64_t stride) {
  all_scores(heads, width, keys, q, k, ldk, scores, stride);
}
void ScoresBf16(int64_t heads, int64_t width, int64_t keys, const float* q, const Bf16* k,
                int64_t ldk, float* scores, int64_t stride) {
  all_scores(heads, width, keys, q, k, ldk, scores, stride);
}
void ValuesFloat(int64_t heads, int64_t width, int64_t keys, const float* p, int64_t stride,
                 const float* v, int64_t ldv, float* o) {
  all_values(heads, width, keys, p, stride, v, ldv, o);
}
void ValuesBf16(int64_t heads, int64_t width, int64_t keys, const float* p, int64_t stride,
                const Bf16* v, int64_t ldv, float* o) {
  all_values(heads, width, keys, p, stride, v, ldv, o);
}

}  // namespace HWY_NAMESPACE
}  // namespace smidgen
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "smidgen/base/error.h"
#include "smidgen/base/threads.h"
#include "smidgen/kernels/row_product.h"
#include "smidgen/kernels/softmax_tile.h"
#include "smidgen/kernels/tile_product.h"

namespace smidgen {
namespace {

HWY_EXPORT(ScoresFloat);
HWY_EXPORT(ScoresBf16);
HWY_EXPORT(ValuesFloat);
HWY_EXPORT(ValuesBf16);

constexpr int64_t kRun = 256, kTile = kPanelColumns;
constexpr int64_t kAlone = 1 << 18;  // products below which waking a thread costs more

void scores(int64_t heads, int64_t width, int64_t keys, const float* q, const float* k, int64_t ldk,
            float* out) {
  HWY_DYNAMIC_DISPATCH(ScoresFloat)(heads, width, keys, q, k, ldk, out, kTile);
}
void scores(int64_t heads, int64_t width, int64_t keys, const float* q, const Bf16* k, int64_t ldk,
            float* out) {
  HWY_DYNAMIC_DISPATCH(ScoresBf16)(heads, width, keys, q, k, ldk, out, kTile);
}
void values(int64_t heads, int64_t width, int64_t keys, const float* p, const float* v, int64_t ldv,
            float* o) {
  HWY_DYNAMIC_DISPATCH(ValuesFloat)(heads, width, keys, p, kTile, v, ldv, o);
}
void values(int64_t heads, int64_t width, int64_t keys, const float* p, const Bf16* v, int64_t ldv,
            float* o) {
  HWY_DYNAMIC_DISPATCH(ValuesBf16)(heads, width, keys, p, kTile, v, ldv, o);
}

// Scores of the heads of one query with 16 keys at a time, which are turned in registers: a sum
// across the lanes for each key would take longer than its products. False where that cannot be.
bool scores_by_rows(int64_t heads, int64_t width, int64_t keys, const Bf16* q, int64_t ldq,
                    const Bf16* k, int64_t ldk, float* out) {
  const RowKernels* kernels = uses_bf16_products() ? avx512_bf16_row_kernels() : nullptr;
  if (!kernels || heads > kFewRows) return false;
  constexpr int64_t kTogether = 16;
  for (int64_t key = 0; key < keys; key += kTogether) {
    const Bf16* next = k + std::min(keys - 1, key + kTogether) * ldk;
    kernels->by_rows[heads - 1](width, q, ldq, k + key * ldk, ldk, std::min(kTogether, keys - key),
                                next, out + key, kTile);
  }
  return true;
}
bool scores_by_rows(int64_t, int64_t, int64_t, const float*, int64_t, const float*, int64_t,
                    float*) {
  return false;
}

// Some keys of a sequence for the query heads that read one head of them.
struct Run {
  int64_t query, key0, kv_head;
  KeyRange keys;  // from key0
};

std::vector<Run> runs_of(const FlashAttention& shape) {
  std::vector<Run> runs;
  for (size_t s = 0; s + 1 < shape.query_starts.size(); ++s) {
    const int64_t query = shape.query_starts[s], key0 = shape.key_starts[s],
                  keys = shape.key_starts[s + 1] - key0;
    SMIDGEN_ASSERT(shape.query_starts[s + 1] - query <= 1);
    if (shape.query_starts[s + 1] == query) continue;
    const KeyRange seen = visible_keys(shape.mask, shape.window,
                                       shape.prefix.empty() ? 0 : shape.prefix[s], keys - 1, keys);
    for (int64_t head = 0; head < shape.kv_heads; ++head) {
      for (int64_t begin = seen.begin; begin < std::max(seen.end, seen.begin + 1); begin += kRun)
        runs.push_back({query, key0, head, {begin, std::min(seen.end, begin + kRun)}});
    }
  }
  return runs;
}

// What a run gives: o [group, width] and the logarithm of the sum of exponentials, by head.
template <class T>
void attend(const FlashAttention& shape, const Run& run, HeadRows<const T> q, HeadRows<const T> k,
            HeadRows<const T> v, float* o, float* log_sums) {
  const int64_t c = shape.width, group = shape.heads / shape.kv_heads;
  thread_local std::vector<float> memory;
  memory.resize(static_cast<size_t>(group * (c + 2 * kTile + kSumLanes + 1)));
  float* const queries = memory.data();
  float* const s = queries + group * c;
  float* const p = s + group * kTile;
  float* const sums = p + group * kTile;
  float* const largest = sums + group * kSumLanes;
  const T* const first = q.at(run.query, run.kv_head * group);
  for (int64_t h = 0; h < group; ++h) {
    for (int64_t i = 0; i < c; ++i) queries[h * c + i] = to_float(first[h * q.head + i]);
  }
  std::fill_n(o, group * c, 0.0f);
  std::fill_n(sums, group * kSumLanes, 0.0f);
  std::fill_n(largest, group, -std::numeric_limits<float>::infinity());
  thread_local std::vector<KeyRange> seen;
  seen.assign(static_cast<size_t>(group), run.keys);
  for (int64_t key = run.keys.begin; key < run.keys.end; key += kTile) {
    const int64_t keys = std::min(kTile, run.keys.end - key), row = run.key0 + key;
    const T* const those = k.at(row, run.kv_head);
    if (!scores_by_rows(group, c, keys, first, q.head, those, k.row, s))
      scores(group, c, keys, queries, those, k.row, s);
    softmax_tile(ScoreTile{group, keys, key, seen.data()}, ScoreRule{shape.scale, shape.softcap}, s,
                 p, largest, sums, c, o);
    values(group, c, keys, p, v.at(row, run.kv_head), v.row, o);
  }
  if (run.keys.begin < run.keys.end) {
    softmax_finish(group, largest, sums, c, o, log_sums);
  } else {
    std::fill_n(log_sums, group, -std::numeric_limits<float>::infinity());
  }
}

}  // namespace

template <class T>
void query_attention(const FlashAttention& shape, HeadRows<const T> q, HeadRows<const T> k,
                     HeadRows<const T> v, HeadRows<T> out) {
  choose_kernel_target();
  const std::vector<Run> runs = runs_of(shape);
  const int64_t c = shape.width, group = shape.heads / shape.kv_heads,
                count = static_cast<int64_t>(runs.size());
  std::vector<float> o(runs.size() * static_cast<size_t>(group * c)),
      log_sums(runs.size() * static_cast<size_t>(group));
  int64_t products = 0;
  for (const Run& run : runs) products += (run.keys.end - run.keys.begin) * group * c;
  parallel_for(count, products < kAlone ? std::max<int64_t>(1, count) : 1,
               [&](int64_t begin, int64_t end) {
                 for (int64_t i = begin; i < end; ++i) {
                   attend(shape, runs[static_cast<size_t>(i)], q, k, v, o.data() + i * group * c,
                          log_sums.data() + i * group);
                 }
               });
  // The runs of a query's head, by their shares of the sum of exponentials.
  for (int64_t first = 0, next; first < count; first = next) {
    const Run& run = runs[static_cast<size_t>(first)];
    const auto same = [&](const Run& other) {
      return other.query == run.query && other.kv_head == run.kv_head;
    };
    for (next = first + 1; next < count && same(runs[static_cast<size_t>(next)]);) ++next;
    for (int64_t h = 0; h < group; ++h) {
      float* const whole = o.data() + (first * group + h) * c;
      const auto log_of = [&](int64_t i) { return log_sums[static_cast<size_t>(i * group + h)]; };
      float largest = log_of(first), sum = 0;
      for (int64_t i = first; i < next; ++i) largest = std::max(largest, log_of(i));
      for (int64_t i = first; i < next && next > first + 1; ++i) {
        const float share = std::exp(log_of(i) - largest);
        const float* part = o.data() + (i * group + h) * c;
        for (int64_t x = 0; x < c; ++x) whole[x] = (i == first ? 0 : whole[x]) + share * part[x];
        sum += share;
      }
      scaled(c, next > first + 1 ? 1 / sum : 1, whole, out.at(run.query, run.kv_head * group + h));
    }
  }
}

template void query_attention(const FlashAttention&, HeadRows<const Bf16>, HeadRows<const Bf16>,
                              HeadRows<const Bf16>, HeadRows<Bf16>);
template void query_attention(const FlashAttention&, HeadRows<const float>, HeadRows<const float>,
                              HeadRows<const float>, HeadRows<float>);
}  // namespace smidgen
#endif  // HWY_ONCE
