#include "smidgen/kernels/magnitude.h"

// clang-format off: Highway needs this order
#include "smidgen/kernels/target.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "smidgen/kernels/magnitude.cpp"
#include <hwy/foreach_target.h>

#include "smidgen/kernels/simd-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace smidgen {
namespace HWY_NAMESPACE {

using DD = hn::ScalableTag<double>;
using VD = hn::Vec<DD>;

// Elements [i, i + lanes) of memory as doubles.
HWY_INLINE VD doubles(const float* x) {
  const hn::Rebind<float, DD> narrow;
  return hn::PromoteTo(DD(), hn::LoadU(narrow, x));
}

MagnitudeCount CountMagnitudes(int64_t n, const float* x, float shift, uint32_t low, uint32_t high,
                               uint32_t* found) {
  const D d;
  const DD dd;
  const hn::RebindToSigned<D> di;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto half = static_cast<int64_t>(hn::Lanes(dd));
  // Highway 1.0.3 compares integers by Gt only.
  const auto lowest = hn::Set(di, static_cast<int32_t>(low) - 1);
  const auto highest = hn::Set(di, static_cast<int32_t>(high) - 1);
  const VD from = hn::Set(dd, static_cast<double>(shift));
  VD sum0 = hn::Zero(dd), sum1 = hn::Zero(dd), squares0 = hn::Zero(dd), squares1 = hn::Zero(dd);
  auto above = hn::Zero(di);
  MagnitudeCount count;
  int64_t i = 0;
  // Where a vector is one value it is not two halves.
  for (; lanes == 2 * half && i + lanes <= n; i += lanes) {
    const auto bits = hn::BitCast(di, hn::Abs(load(d, x + i)));
    const auto large = hn::Gt(bits, highest);
    above = hn::Sub(above, hn::VecFromMask(di, large));
    const auto inside = hn::AndNot(large, hn::Gt(bits, lowest));
    // Always, because a branch is guessed wrong too often; and compressed in a register, because
    // compressing stores take a hundred cycles on some machines.
    hn::StoreU(hn::Compress(bits, inside), di, reinterpret_cast<int32_t*>(found + count.inside));
    count.inside += static_cast<int64_t>(hn::CountTrue(di, inside));
    const VD a = hn::Sub(doubles(x + i), from), b = hn::Sub(doubles(x + i + half), from);
    sum0 = hn::Add(sum0, a);
    sum1 = hn::Add(sum1, b);
    squares0 = hn::MulAdd(a, a, squares0);
    squares1 = hn::MulAdd(b, b, squares1);
  }
  count.sum = hn::GetLane(hn::SumOfLanes(dd, hn::Add(sum0, sum1)));
  count.squares = hn::GetLane(hn::SumOfLanes(dd, hn::Add(squares0, squares1)));
  count.above = static_cast<int64_t>(hn::GetLane(hn::SumOfLanes(di, above)));
  const MagnitudeCount rest =
      count_magnitudes_ref(n - i, x + i, shift, low, high, found + count.inside);
  return {count.sum + rest.sum, count.squares + rest.squares, count.above + rest.above,
          count.inside + rest.inside};
}

HWY_INLINE uint64_t bits_of(D d, hn::Mask<D> mask) {
  uint64_t bits = 0;
  hn::StoreMaskBits(d, mask, reinterpret_cast<uint8_t*>(&bits));
  return bits;
}

double MarkMagnitudes(int64_t n, const float* x, float threshold, uint64_t* positive,
                      uint64_t* negative, uint64_t* equal) {
  const D d;
  const DD dd;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto half = static_cast<int64_t>(hn::Lanes(dd));
  const V limit = hn::Set(d, threshold), zero = hn::Zero(d);
  VD sum0 = hn::Zero(dd), sum1 = hn::Zero(dd);
  HWY_ALIGN float kept[hn::MaxLanes(D())];
  int64_t word = 0;
  for (; lanes == 2 * half && word * 64 + 64 <= n; ++word) {
    uint64_t p = 0, m = 0, e = 0;
    for (int64_t i = 0; i < 64; i += lanes) {
      const V v = load(d, x + word * 64 + i), size = hn::Abs(v);
      const auto large = hn::Gt(size, limit);
      p |= bits_of(d, hn::And(large, hn::Gt(v, zero))) << i;
      m |= bits_of(d, hn::And(large, hn::Lt(v, zero))) << i;
      e |= bits_of(d, hn::And(hn::Eq(size, limit), hn::Gt(size, zero))) << i;
      store(d, hn::IfThenElseZero(large, size), kept);
      sum0 = hn::Add(sum0, doubles(kept));
      sum1 = hn::Add(sum1, doubles(kept + half));
    }
    positive[word] = p;
    negative[word] = m;
    equal[word] = e;
  }
  const double sum = hn::GetLane(hn::SumOfLanes(dd, hn::Add(sum0, sum1)));
  if (word * 64 == n) return sum;
  return sum + mark_magnitudes_ref(n - word * 64, x + word * 64, threshold, positive + word,
                                   negative + word, equal + word);
}

}  // namespace HWY_NAMESPACE
}  // namespace smidgen
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <bit>
#include <cmath>

namespace smidgen {
namespace {

HWY_EXPORT(CountMagnitudes);
HWY_EXPORT(MarkMagnitudes);

}  // namespace

MagnitudeCount count_magnitudes(int64_t n, const float* x, float shift, uint32_t low, uint32_t high,
                                uint32_t* found) {
  choose_kernel_target();
  return HWY_DYNAMIC_DISPATCH(CountMagnitudes)(n, x, shift, low, high, found);
}

double mark_magnitudes(int64_t n, const float* x, float threshold, uint64_t* positive,
                       uint64_t* negative, uint64_t* equal) {
  choose_kernel_target();
  return HWY_DYNAMIC_DISPATCH(MarkMagnitudes)(n, x, threshold, positive, negative, equal);
}

MagnitudeCount count_magnitudes_ref(int64_t n, const float* x, float shift, uint32_t low,
                                    uint32_t high, uint32_t* found) {
  MagnitudeCount count;
  for (int64_t i = 0; i < n; ++i) {
    const double difference = static_cast<double>(x[i]) - static_cast<double>(shift);
    count.sum += difference;
    count.squares += difference * difference;
    const uint32_t bits = std::bit_cast<uint32_t>(x[i]) & 0x7fffffff;
    count.above += bits >= high;
    if (bits >= low && bits < high) found[count.inside++] = bits;
  }
  return count;
}

double mark_magnitudes_ref(int64_t n, const float* x, float threshold, uint64_t* positive,
                           uint64_t* negative, uint64_t* equal) {
  double sum = 0;
  for (int64_t word = 0; word * 64 < n; ++word) positive[word] = negative[word] = equal[word] = 0;
  for (int64_t i = 0; i < n; ++i) {
    const float size = std::fabs(x[i]);
    const uint64_t bit = uint64_t{1} << (i % 64);
    if (size > threshold) {
      (x[i] > 0 ? positive : negative)[i / 64] |= bit;
      sum += static_cast<double>(size);
    } else if (size == threshold && size > 0) {
      equal[i / 64] |= bit;
    }
  }
  return sum;
}

}  // namespace smidgen
#endif  // HWY_ONCE
