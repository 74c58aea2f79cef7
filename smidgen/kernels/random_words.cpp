#include "smidgen/kernels/random_words.h"

// clang-format off: Highway needs this order
#include "smidgen/kernels/target.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "smidgen/kernels/random_words.cpp"
#include <hwy/foreach_target.h>

#include <hwy/highway.h>
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace smidgen {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Whole vectors of the blocks [block, block + blocks); returns how many blocks it has written. A
// lane of 64 bits holds one word of a block in its lower half, so that a multiplication of even
// lanes gives the whole product; what is in the upper half does not matter.
size_t PhiloxBlocks(const PhiloxBlock& key, uint64_t block, size_t blocks, uint32_t* out) {
  const hn::ScalableTag<uint64_t> d;
  const hn::Repartition<uint32_t, decltype(d)> d32;
  const auto product = [&](auto x, auto y) HWY_ATTR { return hn::MulEven(hn::BitCast(d32, x), y); };
  const auto mul0 = hn::Set(d32, 0xD2511F53), mul1 = hn::Set(d32, 0xCD9E8D57);
  const size_t lanes = hn::Lanes(d);
  size_t done = 0;
  for (; done + lanes <= blocks; done += lanes, out += 4 * lanes) {
    auto c0 = hn::Add(hn::Set(d, block + done), hn::Iota(d, 0));
    auto c1 = hn::ShiftRight<32>(c0);
    auto c2 = hn::Set(d, key[2]);
    auto c3 = hn::Set(d, key[3]);
    uint32_t key0 = key[0], key1 = key[1];
    for (int round = 0; round < 10; ++round) {
      const auto p0 = product(c0, mul0), p1 = product(c2, mul1);
      c0 = hn::Xor(hn::Xor(hn::ShiftRight<32>(p1), c1), hn::Set(d, key0));
      c1 = p1;
      c2 = hn::Xor(hn::Xor(hn::ShiftRight<32>(p0), c3), hn::Set(d, key1));
      c3 = p0;
      key0 += 0x9E3779B9;
      key1 += 0xBB67AE85;
    }
    const auto pair = [&](auto low, auto high) HWY_ATTR {
      return hn::BitCast(
          d, hn::OddEven(hn::BitCast(d32, hn::ShiftLeft<32>(high)), hn::BitCast(d32, low)));
    };
    hn::StoreInterleaved2(pair(c0, c1), pair(c2, c3), d, reinterpret_cast<uint64_t*>(out));
  }
  return done;
}

}  // namespace HWY_NAMESPACE
}  // namespace smidgen
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace smidgen {
namespace {

HWY_EXPORT(PhiloxBlocks);

}  // namespace

uint32_t RandomWords::at(uint64_t index) const {
  const uint64_t block = index / 4;
  return philox(
      {static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32), key_[2], key_[3]},
      {key_[0], key_[1]})[index % 4];
}

void RandomWords::fill(uint64_t first, std::span<uint32_t> out) const {
  choose_kernel_target();
  size_t i = 0;
  for (; i < out.size() && (first + i) % 4 != 0; ++i) out[i] = at(first + i);
  i += 4 * HWY_DYNAMIC_DISPATCH(PhiloxBlocks)(key_, (first + i) / 4, (out.size() - i) / 4,
                                              out.data() + i);
  for (; i < out.size(); ++i) out[i] = at(first + i);
}

}  // namespace smidgen
#endif  // HWY_ONCE
