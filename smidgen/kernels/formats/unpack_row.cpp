#include "smidgen/kernels/formats/unpack_row.h"

#include <algorithm>

#include "smidgen/io/quants/packed_bytes.h"

// clang-format off: Highway needs this order
#include "smidgen/kernels/target.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "smidgen/kernels/formats/unpack_row.cpp"
#include <hwy/foreach_target.h>

#include "smidgen/kernels/simd-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace smidgen {
namespace HWY_NAMESPACE {

// All formats here are x = scale q - less with integer codes q, in groups of 32 elements whose
// halves may have a scale each. A format says where the codes and the scales of group g lie in its
// block; the rest is the same for all. Loops over bytes are left to the compiler, which turns them
// into vectors of this target.
constexpr int64_t kGroup = 32, kHalf = 16;

struct Scales {
  float scale[2], less[2];
};

// One instruction where there is one that knows infinities, too.
HWY_INLINE float half_at(const uint8_t* bytes) {
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3
  const hn::CappedTag<float, 1> d;
  const hn::Rebind<uint16_t, decltype(d)> bits;
  const hn::Rebind<hwy::float16_t, decltype(d)> halves;
  return hn::GetLane(hn::PromoteTo(d, hn::BitCast(halves, hn::Set(bits, load_u16(bytes)))));
#else
  return load_half(bytes);
#endif
}

HWY_INLINE void low_then_high(const uint8_t* packed, int take, int8_t* q) {
  for (int i = 0; i < kHalf; ++i) q[i] = static_cast<int8_t>((packed[i] & 15) - take);
  for (int i = 0; i < kHalf; ++i) q[i + kHalf] = static_cast<int8_t>((packed[i] >> 4) - take);
}

struct Q4_0 {
  static constexpr int64_t kElements = 32, kBytes = 18;
  static HWY_INLINE Scales scales(const uint8_t* block, int64_t) {
    const float d = half_at(block);
    return {{d, d}, {0, 0}};
  }
  static HWY_INLINE void codes(const uint8_t* block, int64_t, int8_t* q) {
    low_then_high(block + 2, 8, q);
  }
};

struct Q4_1 {
  static constexpr int64_t kElements = 32, kBytes = 20;
  static HWY_INLINE Scales scales(const uint8_t* block, int64_t) {
    const float d = half_at(block), m = -half_at(block + 2);
    return {{d, d}, {m, m}};
  }
  static HWY_INLINE void codes(const uint8_t* block, int64_t, int8_t* q) {
    low_then_high(block + 4, 0, q);
  }
};

// Bit i of the four bytes is the fifth bit of code i.
HWY_INLINE void add_fifth(const uint8_t* bits, int take, int8_t* q) {
  const uint32_t fifth = load_u32(bits);
  for (int i = 0; i < kGroup; ++i) {
    const int upper = static_cast<int>((fifth >> i) & 1) << 4;
    q[i] = static_cast<int8_t>((q[i] | upper) - take);
  }
}

struct Q5_0 {
  static constexpr int64_t kElements = 32, kBytes = 22;
  static HWY_INLINE Scales scales(const uint8_t* block, int64_t) {
    const float d = half_at(block);
    return {{d, d}, {0, 0}};
  }
  static HWY_INLINE void codes(const uint8_t* block, int64_t, int8_t* q) {
    low_then_high(block + 6, 0, q);
    add_fifth(block + 2, 16, q);
  }
};

struct Q5_1 {
  static constexpr int64_t kElements = 32, kBytes = 24;
  static HWY_INLINE Scales scales(const uint8_t* block, int64_t) {
    const float d = half_at(block), m = -half_at(block + 2);
    return {{d, d}, {m, m}};
  }
  static HWY_INLINE void codes(const uint8_t* block, int64_t, int8_t* q) {
    low_then_high(block + 8, 0, q);
    add_fifth(block + 4, 0, q);
  }
};

struct Q8_0 {
  static constexpr int64_t kElements = 32, kBytes = 34;
  static HWY_INLINE Scales scales(const uint8_t* block, int64_t) {
    const float d = half_at(block);
    return {{d, d}, {0, 0}};
  }
  static HWY_INLINE void codes(const uint8_t* block, int64_t, int8_t* q) {
    std::memcpy(q, block + 2, kGroup);
  }
};

// Two bits of each element of a group of q2_k and q3_k.
HWY_INLINE void two_bits(const uint8_t* packed, int64_t g, int8_t* q) {
  const int shift = static_cast<int>(2 * (g % 4));
  packed += g / 4 * kGroup;
  for (int i = 0; i < kGroup; ++i) q[i] = static_cast<int8_t>((packed[i] >> shift) & 3);
}

struct Q2K {
  static constexpr int64_t kElements = 256, kBytes = 84;
  static HWY_INLINE Scales scales(const uint8_t* block, int64_t g) {
    const float d = half_at(block + 80), dmin = half_at(block + 82);
    Scales s;
    for (int64_t half = 0; half < 2; ++half) {
      const int part = block[2 * g + half];
      s.scale[half] = d * static_cast<float>(part & 15);
      s.less[half] = dmin * static_cast<float>(part >> 4);
    }
    return s;
  }
  static HWY_INLINE void codes(const uint8_t* block, int64_t g, int8_t* q) {
    two_bits(block + 16, g, q);
  }
};

struct Q3K {
  static constexpr int64_t kElements = 256, kBytes = 110;
  static HWY_INLINE Scales scales(const uint8_t* block, int64_t g) {
    const uint8_t* packed = block + 96;
    const float d = half_at(block + 108);
    Scales s{{}, {0, 0}};
    for (int64_t half = 0; half < 2; ++half) {
      const int64_t part = 2 * g + half;
      const int low = (packed[part % 8] >> (4 * (part / 8))) & 15;
      const int high = (packed[8 + part % 4] >> (2 * (part / 4))) & 3;
      s.scale[half] = d * static_cast<float>((low | high << 4) - 32);
    }
    return s;
  }
  static HWY_INLINE void codes(const uint8_t* block, int64_t g, int8_t* q) {
    two_bits(block + 32, g, q);
    const int bit = static_cast<int>(g);
    for (int i = 0; i < kGroup; ++i)
      q[i] = static_cast<int8_t>(q[i] - ((block[i] >> bit) & 1 ? 0 : 4));
  }
};

// The six-bit scale and minimum of part j; see io/quants/k_blocks.cpp.
HWY_INLINE Scales packed_scales(const uint8_t* block, int64_t j) {
  const uint8_t* b = block + 4;
  const int scale = j < 4 ? b[j] & 63 : (b[j + 4] & 15) | ((b[j - 4] >> 2) & 0x30);
  const int minimum = j < 4 ? b[j + 4] & 63 : (b[j + 4] >> 4) | ((b[j] >> 2) & 0x30);
  const float d = half_at(block) * static_cast<float>(scale);
  const float m = half_at(block + 2) * static_cast<float>(minimum);
  return {{d, d}, {m, m}};
}

struct Q4K {
  static constexpr int64_t kElements = 256, kBytes = 144;
  static HWY_INLINE Scales scales(const uint8_t* block, int64_t g) {
    return packed_scales(block, g);
  }
  static HWY_INLINE void codes(const uint8_t* block, int64_t g, int8_t* q) {
    const uint8_t* packed = block + 16 + g / 2 * kGroup;
    const int shift = static_cast<int>(4 * (g % 2));
    for (int i = 0; i < kGroup; ++i) q[i] = static_cast<int8_t>((packed[i] >> shift) & 15);
  }
};

struct Q5K {
  static constexpr int64_t kElements = 256, kBytes = 176;
  static HWY_INLINE Scales scales(const uint8_t* block, int64_t g) {
    return packed_scales(block, g);
  }
  static HWY_INLINE void codes(const uint8_t* block, int64_t g, int8_t* q) {
    const uint8_t *packed = block + 48 + g / 2 * kGroup, *fifth = block + 16;
    const int shift = static_cast<int>(4 * (g % 2)), bit = static_cast<int>(g);
    for (int i = 0; i < kGroup; ++i) {
      q[i] = static_cast<int8_t>(((packed[i] >> shift) & 15) | ((fifth[i] >> bit) & 1) << 4);
    }
  }
};

struct Q6K {
  static constexpr int64_t kElements = 256, kBytes = 210;
  static HWY_INLINE Scales scales(const uint8_t* block, int64_t g) {
    const float d = half_at(block + 208);
    const auto* parts = reinterpret_cast<const int8_t*>(block + 192) + 2 * g;
    return {{d * static_cast<float>(parts[0]), d * static_cast<float>(parts[1])}, {0, 0}};
  }
  static HWY_INLINE void codes(const uint8_t* block, int64_t g, int8_t* q) {
    const uint8_t* low = block + g / 4 * 64 + g % 2 * kGroup;
    const uint8_t* high = block + 128 + g / 4 * kGroup;
    const int low_shift = static_cast<int>(g % 4 / 2 * 4), high_shift = static_cast<int>(g % 4 * 2);
    for (int i = 0; i < kGroup; ++i) {
      const int code = ((low[i] >> low_shift) & 15) | ((high[i] >> high_shift) & 3) << 4;
      q[i] = static_cast<int8_t>(code - 32);
    }
  }
};

// A whole group; vectors longer than a half would need two scales.
template <class F, class T>
HWY_INLINE void unpack_group(const uint8_t* block, int64_t g, T* out) {
  const D d;
  const hn::Rebind<int32_t, D> d32;
  const hn::Rebind<int8_t, D> d8;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int8_t q[kGroup];
  F::codes(block, g, q);
  const Scales s = F::scales(block, g);
  for (int64_t half = 0; half < 2; ++half) {
    const V scale = hn::Set(d, s.scale[half]), less = hn::Set(d, s.less[half]);
    for (int64_t i = half * kHalf; i < (half + 1) * kHalf; i += lanes) {
      const V x = hn::ConvertTo(d, hn::PromoteTo(d32, hn::LoadU(d8, q + i)));
      store(d, hn::Sub(hn::Mul(x, scale), less), out + i);
    }
  }
}

template <class F, class T>
HWY_INLINE void unpack(const std::byte* row, int64_t begin, int64_t end, T* out) {
  constexpr int64_t kGroups = F::kElements / kGroup;
  for (int64_t g = begin / kGroup; g * kGroup < end; ++g) {
    const auto* block = reinterpret_cast<const uint8_t*>(row) + g / kGroups * F::kBytes;
    const int64_t first = g * kGroup;
    if (first >= begin && first + kGroup <= end) {
      unpack_group<F>(block, g % kGroups, out + first - begin);
      continue;
    }
    T values[kGroup];
    unpack_group<F>(block, g % kGroups, values);
    const int64_t from = std::max(begin, first), to = std::min(end, first + kGroup);
    std::copy(values + from - first, values + to - first, out + from - begin);
  }
}

// False for a format without vector code.
template <class T>
HWY_INLINE bool unpack_any(Format format, const std::byte* row, int64_t begin, int64_t end,
                           T* out) {
  if (hn::Lanes(D()) > kHalf) return false;
  switch (format) {
    case Format::q4_0:
      return unpack<Q4_0>(row, begin, end, out), true;
    case Format::q4_1:
      return unpack<Q4_1>(row, begin, end, out), true;
    case Format::q5_0:
      return unpack<Q5_0>(row, begin, end, out), true;
    case Format::q5_1:
      return unpack<Q5_1>(row, begin, end, out), true;
    case Format::q2_k:
      return unpack<Q2K>(row, begin, end, out), true;
    case Format::q3_k:
      return unpack<Q3K>(row, begin, end, out), true;
    case Format::q8_0:
      return unpack<Q8_0>(row, begin, end, out), true;
    case Format::q4_k:
      return unpack<Q4K>(row, begin, end, out), true;
    case Format::q5_k:
      return unpack<Q5K>(row, begin, end, out), true;
    case Format::q6_k:
      return unpack<Q6K>(row, begin, end, out), true;
    default:
      return false;
  }
}

bool UnpackFloat(Format format, const std::byte* row, int64_t begin, int64_t end, float* out) {
  return unpack_any(format, row, begin, end, out);
}

bool UnpackBf16(Format format, const std::byte* row, int64_t begin, int64_t end, Bf16* out) {
  return unpack_any(format, row, begin, end, out);
}

}  // namespace HWY_NAMESPACE
}  // namespace smidgen
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace smidgen {
namespace {

HWY_EXPORT(UnpackFloat);
HWY_EXPORT(UnpackBf16);

}  // namespace

void unpack_row(Format format, const std::byte* row, int64_t begin, int64_t end, float* out) {
  choose_kernel_target();
  if (!HWY_DYNAMIC_DISPATCH(UnpackFloat)(format, row, begin, end, out))
    unpack_row_ref(format, row, begin, end, out);
}

void unpack_row(Format format, const std::byte* row, int64_t begin, int64_t end, Bf16* out) {
  choose_kernel_target();
  if (!HWY_DYNAMIC_DISPATCH(UnpackBf16)(format, row, begin, end, out))
    unpack_row_ref(format, row, begin, end, out);
}

bool unpacks_fast(Format format) {
  choose_kernel_target();
  float none;
  return HWY_DYNAMIC_DISPATCH(UnpackFloat)(format, nullptr, 0, 0, &none);
}

}  // namespace smidgen
#endif  // HWY_ONCE
