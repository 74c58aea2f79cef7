#include "smidgen/kernels/formats/nf4_block.h"

// clang-format off: Highway needs this order
#include "smidgen/kernels/target.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "smidgen/kernels/formats/nf4_block.cpp"
#include <hwy/foreach_target.h>

#include "smidgen/kernels/simd-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace smidgen {
namespace HWY_NAMESPACE {

void Nf4Block(const uint8_t* codes, const Bf16* values, Bf16* out) {
#if HWY_TARGET == HWY_SCALAR
  for (int i = 0; i < 32; ++i) {
    out[2 * i] = values[codes[i] >> 4];
    out[2 * i + 1] = values[codes[i] & 15];
  }
#else
  // Sixteen values are a table of their low and one of their high bytes.
  const hn::Full128<uint8_t> d8;
  const hn::Full128<uint16_t> d16;
  HWY_ALIGN uint8_t low_bytes[16], high_bytes[16];
  for (int i = 0; i < 16; ++i) low_bytes[i] = static_cast<uint8_t>(values[i].bits);
  for (int i = 0; i < 16; ++i) high_bytes[i] = static_cast<uint8_t>(values[i].bits >> 8);
  const auto low = hn::Load(d8, low_bytes), high = hn::Load(d8, high_bytes);
  const auto nibble = hn::Set(d8, 15);
  for (int i = 0; i < 32; i += 16, out += 32) {
    const auto both = hn::LoadU(d8, codes + i);
    const auto first = hn::And(hn::BitCast(d8, hn::ShiftRight<4>(hn::BitCast(d16, both))), nibble);
    const auto second = hn::And(both, nibble);
    const auto a_low = hn::TableLookupBytes(low, first), a_high = hn::TableLookupBytes(high, first);
    const auto b_low = hn::TableLookupBytes(low, second),
               b_high = hn::TableLookupBytes(high, second);
    const auto a0 = hn::BitCast(d16, hn::InterleaveLower(d8, a_low, a_high));
    const auto a1 = hn::BitCast(d16, hn::InterleaveUpper(d8, a_low, a_high));
    const auto b0 = hn::BitCast(d16, hn::InterleaveLower(d8, b_low, b_high));
    const auto b1 = hn::BitCast(d16, hn::InterleaveUpper(d8, b_low, b_high));
    auto* to = reinterpret_cast<uint16_t*>(out);
    hn::StoreU(hn::InterleaveLower(d16, a0, b0), d16, to);
    hn::StoreU(hn::InterleaveUpper(d16, a0, b0), d16, to + 8);
    hn::StoreU(hn::InterleaveLower(d16, a1, b1), d16, to + 16);
    hn::StoreU(hn::InterleaveUpper(d16, a1, b1), d16, to + 24);
  }
#endif
}

}  // namespace HWY_NAMESPACE
}  // namespace smidgen
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace smidgen {
namespace {

HWY_EXPORT(Nf4Block);

}  // namespace

void nf4_block(const uint8_t* codes, const Bf16* values, Bf16* out) {
  choose_kernel_target();
  HWY_DYNAMIC_DISPATCH(Nf4Block)(codes, values, out);
}

}  // namespace smidgen
#endif  // HWY_ONCE
