#include "smidgen/kernels/plain_values.h"

#include <algorithm>
#include <cstring>

#include "smidgen/io/dequantise.h"

// clang-format off: Highway needs this order
#include "smidgen/kernels/target.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "smidgen/kernels/plain_values.cpp"
#include <hwy/foreach_target.h>

#include "smidgen/kernels/simd-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace smidgen {
namespace HWY_NAMESPACE {

void WidenBf16(int64_t n, const uint16_t* in, float* out) {
  const Bf16* from = reinterpret_cast<const Bf16*>(in);
  for_vectors(n, [&](int64_t, auto get, auto put) HWY_ATTR { put(get(from), out); });
}

void NarrowBf16(int64_t n, const float* in, uint16_t* out) {
  Bf16* to = reinterpret_cast<Bf16*>(out);
  for_vectors(n, [&](int64_t, auto get, auto put) HWY_ATTR { put(get(in), to); });
}

#if HWY_TARGET == HWY_SCALAR || HWY_TARGET == HWY_EMU128
// Highway 1.0.3 has no infinities of halves here.
void WidenF16(int64_t n, const uint16_t* in, float* out) {
  for (int64_t k = 0; k < n; ++k) {
    uint16_t bits;
    std::memcpy(&bits, in + k, sizeof bits);
    out[k] = f16_to_f32(bits);
  }
}
#else
void WidenF16(int64_t n, const uint16_t* in, float* out) {
  const D d;
  const hn::Rebind<hwy::float16_t, D> half;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto* from = reinterpret_cast<const hwy::float16_t*>(in);
  for (int64_t k = 0; k < n; k += lanes) {
    if (k + lanes > n) {
      hwy::float16_t part[hn::MaxLanes(D())] = {};
      std::memcpy(static_cast<void*>(part), from + k, static_cast<size_t>(n - k) * 2);
      store_part(d, hn::PromoteTo(d, hn::LoadU(half, part)), out + k, static_cast<size_t>(n - k));
      return;
    }
    hn::StoreU(hn::PromoteTo(d, hn::LoadU(half, from + k)), d, out + k);
  }
}

#endif

bool Finite(int64_t n, const float* x) {
  const hn::Rebind<int32_t, D> d32;
  auto most = hn::Zero(d32);
  for_vectors(n, [&](int64_t, auto get, auto)
                     HWY_ATTR { most = hn::Max(most, hn::BitCast(d32, hn::Abs(get(x)))); });
  return hn::GetLane(hn::MaxOfLanes(d32, most)) < 0x7f800000;
}

float SquaredDistance(int64_t n, const float* a, const float* b) {
  const D d;
  V even = hn::Zero(d), odd = hn::Zero(d);  // no array: SVE has none of vectors
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  for_vectors(n, [&](int64_t k, auto get, auto) HWY_ATTR {
    const V x = hn::Sub(get(a), get(b));
    V& to = k / lanes % 2 ? odd : even;
    to = hn::MulAdd(x, x, to);
  });
  return sum(d, hn::Add(even, odd));
}

int64_t Different(int64_t n, const float* a, const float* b) {
  const D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t count = 0, k = 0;
  for (; k + lanes <= n; k += lanes) {
    const auto other = hn::Not(hn::Eq(hn::LoadU(d, a + k), hn::LoadU(d, b + k)));
    count += static_cast<int64_t>(hn::CountTrue(d, other));
  }
  for (; k < n; ++k) count += a[k] != b[k];
  return count;
}

int64_t Disputed(int64_t n, const float* const* x, size_t m, const float* r) {
  const D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t count = 0, k = 0;
  for (; k + lanes <= n; k += lanes) {
    const V at = hn::LoadU(d, r + k);
    auto above = hn::Lt(at, at), below = above;
    for (size_t i = 0; i < m; ++i) {
      const V v = hn::LoadU(d, x[i] + k);
      above = hn::Or(above, hn::Gt(v, at));
      below = hn::Or(below, hn::Lt(v, at));
    }
    count += static_cast<int64_t>(hn::CountTrue(d, hn::And(above, below)));
  }
  for (; k < n; ++k) {
    bool above = false, below = false;
    for (size_t i = 0; i < m; ++i) {
      above |= x[i][k] > r[k];
      below |= x[i][k] < r[k];
    }
    count += above && below;
  }
  return count;
}

}  // namespace HWY_NAMESPACE
}  // namespace smidgen
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "smidgen/io/quantise.h"

namespace smidgen {

HWY_EXPORT(WidenBf16);
HWY_EXPORT(NarrowBf16);
HWY_EXPORT(WidenF16);
HWY_EXPORT(Finite);
HWY_EXPORT(SquaredDistance);
HWY_EXPORT(Different);
HWY_EXPORT(Disputed);

namespace {

constexpr int64_t kBlock = int64_t{1} << 12;  // elements that are added up in fp32

// Values of a file need not be aligned, which the vector code does not ask for either.
const uint16_t* halves(const std::byte* bytes) {
  return reinterpret_cast<const uint16_t*>(bytes);
}

}  // namespace

void read_values(Format format, const std::byte* bytes, int64_t n, float* out) {
  choose_kernel_target();
  if (format == Format::f32) {
    std::memcpy(out, bytes, static_cast<size_t>(n) * sizeof(float));
  } else if (format == Format::bf16) {
    HWY_DYNAMIC_DISPATCH(WidenBf16)(n, halves(bytes), out);
  } else if (format == Format::f16) {
    HWY_DYNAMIC_DISPATCH(WidenF16)(n, halves(bytes), out);
  } else {
    to_f32(format, bytes, n, out);
  }
}

void write_values(Format format, int64_t n, const float* values, std::byte* bytes,
                  const char* name) {
  choose_kernel_target();
  if (format == Format::f32) {
    std::memcpy(bytes, values, static_cast<size_t>(n) * sizeof(float));
  } else if (format == Format::bf16) {
    HWY_DYNAMIC_DISPATCH(NarrowBf16)(n, values, reinterpret_cast<uint16_t*>(bytes));
  } else if (format == Format::f64) {
    for (int64_t k = 0; k < n; ++k) {
      const double wide = values[k];
      std::memcpy(bytes + k * 8, &wide, sizeof wide);
    }
  } else {
    const auto blocks = n / info(format).elements;
    from_f32(format, {values, static_cast<size_t>(n)},
             {bytes, static_cast<size_t>(blocks * info(format).bytes)}, name);
  }
}

bool all_finite(int64_t n, const float* x) {
  choose_kernel_target();
  return HWY_DYNAMIC_DISPATCH(Finite)(n, x);
}

double squared_distance(int64_t n, const float* a, const float* b) {
  choose_kernel_target();
  double total = 0;
  for (int64_t k = 0; k < n; k += kBlock)
    total += HWY_DYNAMIC_DISPATCH(SquaredDistance)(std::min(kBlock, n - k), a + k, b + k);
  return total;
}

double squared_distance_ref(int64_t n, const float* a, const float* b) {
  double total = 0;
  for (int64_t k = 0; k < n; ++k) {
    const double x = static_cast<double>(a[k]) - b[k];
    total += x * x;
  }
  return total;
}

int64_t count_different(int64_t n, const float* a, const float* b) {
  choose_kernel_target();
  return HWY_DYNAMIC_DISPATCH(Different)(n, a, b);
}

int64_t count_disputed(int64_t n, std::span<const float* const> x, const float* r) {
  choose_kernel_target();
  return HWY_DYNAMIC_DISPATCH(Disputed)(n, x.data(), x.size(), r);
}

}  // namespace smidgen
#endif  // HWY_ONCE
