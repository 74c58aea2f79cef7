// Golomb codes with a power of two (Rice codes) of the gaps between kept elements, each followed by
// a sign bit. Source: Golomb 1966; ComPEFT (arXiv:2311.13171), which states their size only.
//
// A block, bits from the lowest of a byte up:
//   varint kept; where kept > 0: u8 b; then for each kept element, its gap g of zeros before it:
//   g >> b zeros and a one, the b low bits of g, 1 for a negative sign
// The last byte is filled up with zeros. b follows from the block's own density.
#include "smidgen/io/codecs/rice.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "smidgen/io/codecs/blocks.h"
#include "smidgen/io/little_endian.h"

namespace smidgen {

int rice_parameter(double p) {
  if (p >= 1) return 0;
  const double b = 1 + std::floor(std::log2(std::log((std::sqrt(5.0) - 1) / 2) / std::log1p(-p)));
  return static_cast<int>(std::clamp(b, 0.0, 16.0));
}

double rice_bits(double p) {
  if (p <= 0) return 0;
  const int b = rice_parameter(p);
  return p * (b + 1 / (1 - std::pow(1 - p, std::exp2(b))) + 1);
}

double ternary_entropy(double p) {
  return (p < 1 ? -(1 - p) * std::log2(1 - p) : 0) + (p > 0 ? -p * std::log2(p / 2) : 0);
}

namespace {

constexpr int kMostBits = 16;  // of a remainder: no gap of a block is longer

// Bits into room that was made for them, which is eight bytes more than they take.
class BitWriter {
 public:
  explicit BitWriter(char* to) : at_(to) {}
  // `count` at most 57.
  void put(uint64_t bits, int count) {
    held_ |= bits << filled_;
    filled_ += count;
    std::memcpy(at_, &held_, 8);
    at_ += filled_ / 8;
    held_ >>= filled_ / 8 * 8;
    filled_ %= 8;
  }
  // Behind the last byte that holds a bit.
  char* end() const { return at_ + (filled_ > 0); }

 private:
  char* at_;
  uint64_t held_ = 0;
  int filled_ = 0;  // below 8 between calls
};

// The 57 or more bits at bit `at`; behind the end they are zero.
uint64_t bits_at(Payload bytes, size_t at) {
  const size_t first = at / 8;
  uint64_t word = 0;
  if (first + 8 <= bytes.size()) {
    std::memcpy(&word, bytes.data() + first, 8);
  } else if (first < bytes.size()) {
    std::memcpy(&word, bytes.data() + first, bytes.size() - first);
  }
  return word >> (at % 8);
}

class Rice : public Codec, SignCodec {
 public:
  std::string summary() const override {
    return "Golomb-Rice codes of the gaps, and signs: within 3% of the entropy";
  }
  std::string source() const override { return "arXiv:1903.02891, arXiv:2311.13171"; }
  const SignCodec* signs() const override { return this; }

  void encode(const SignView& signs, std::string& out) const override {
    auto kept = static_cast<uint64_t>(signs.kept());
    const double density = static_cast<double>(kept) / static_cast<double>(signs.count);
    for (uint64_t rest = kept;; rest >>= 7) {
      out += static_cast<char>((rest & 127) | (rest > 127 ? 128 : 0));
      if (rest <= 127) break;
    }
    if (kept == 0) return;
    const int b = rice_parameter(density);
    out += static_cast<char>(b);
    // Zeros before the last kept element: all gaps together.
    const size_t most = (static_cast<size_t>(signs.count) >> b) + kept * static_cast<size_t>(b + 2);
    const size_t before = out.size();
    out.resize(before + most / 8 + 16);
    BitWriter bits(out.data() + before);
    int64_t next = 0;  // the first element that no gap has counted
    for (size_t word = 0; word < signs.positive.size(); ++word) {
      for (uint64_t left = signs.positive[word] | signs.negative[word]; left; left &= left - 1) {
        const int bit = std::countr_zero(left);
        const int64_t at = static_cast<int64_t>(word) * 64 + bit;
        const auto gap = static_cast<uint64_t>(at - next);
        next = at + 1;
        uint64_t zeros = gap >> b;
        for (; zeros > 32; zeros -= 32) bits.put(0, 32);
        const uint64_t sign = signs.negative[word] >> bit & 1;
        const uint64_t rest = (gap & ((uint64_t{1} << b) - 1)) | sign << b;
        bits.put((1 | rest << 1) << zeros, static_cast<int>(zeros) + b + 2);
      }
    }
    out.resize(static_cast<size_t>(bits.end() - out.data()));
  }

  void decode(Payload payload, const SignSpan& out, const std::string& where) const override {
    const auto refuse = [&](const std::string& words) {
      throw Error(ErrorKind::format, words, where, "the codes are damaged");
    };
    uint64_t kept = 0;
    for (int shift = 0;; shift += 7) {
      if (payload.empty() || shift > 28) refuse("the number of kept elements is cut off");
      const auto byte = static_cast<uint64_t>(payload[0]);
      payload = payload.subspan(1);
      kept |= (byte & 127) << shift;
      if (byte < 128) break;
    }
    const auto count = static_cast<uint64_t>(out.count);
    if (kept > count) refuse(str(kept, " of ", count, " elements are said to be kept"));
    if (kept == 0) {
      if (!payload.empty()) refuse("codes of elements that are not kept");
      return;
    }
    // One bit ends a gap, one is the sign.
    if (payload.empty() || (payload.size() - 1) * 4 < kept)
      refuse(str(payload.size(), " bytes cannot hold the codes of ", kept, " elements"));
    const int b = static_cast<int>(payload[0]);
    if (b > kMostBits) refuse(str("remainders of ", b, " bits"));
    payload = payload.subspan(1);
    const uint64_t low = (uint64_t{1} << b) - 1;
    const size_t end = payload.size() * 8;
    uint64_t* const masks[2] = {out.positive.data(), out.negative.data()};
    size_t at = 0;
    uint64_t next = 0;
    for (uint64_t i = 0; i < kept; ++i) {
      uint64_t word = bits_at(payload, at), zeros = 0;
      // Up to 57 bits are there: 39 zeros, their end, a remainder and a sign.
      while (static_cast<uint32_t>(word) == 0) {
        if (at >= end) refuse("the codes are cut off");
        zeros += 32;
        at += 32;
        word = bits_at(payload, at);
      }
      const int more = std::countr_zero(word);
      word >>= more;
      word >>= 1;
      const uint64_t gap = (zeros + static_cast<uint64_t>(more)) << b | (word & low);
      next += gap;
      if (next >= count)
        refuse(str("element ", next, " of a block of ", count, " is said to be kept"));
      const uint64_t sign = word >> b & 1;
      masks[sign][next / 64] |= uint64_t{1} << (next % 64);
      ++next;
      at += static_cast<size_t>(more + b + 2);
    }
    if (at > end) refuse("the codes are cut off");
    if (end - at >= 8 || bits_at(payload, at) != 0)
      refuse("there is something behind the last code");
  }
};

}  // namespace

std::unique_ptr<const Codec> make_rice_codec() {
  return std::make_unique<Rice>();
}

}  // namespace smidgen
