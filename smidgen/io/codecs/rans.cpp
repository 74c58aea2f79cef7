// An entropy coder (rANS, Duda arXiv:1311.2540) over groups of four elements: within 1% of the
// entropy of the signs at any density.
//
// The 81 values of a group are coded by a table of frequencies that sums to 2^16. It is the product
// of the frequencies of -1, 0, +1 in the block, so only two numbers describe it:
//   u16 weight of +1, u16 weight of -1, both of 2^15
//   u40[lanes] states; then u16 words in the order in which the decoder takes them
// A block of kManyGroups groups has four lanes: group i belongs to lane i % 4, and the processor
// runs four chains of dependent steps at once. Otherwise there is one lane.
//
// State x lies in [2^24, 2^40). Decoding a symbol with frequency f that begins at c:
//   x = f (x >> 16) + (x & 0xffff) - c;   below 2^24: x = x << 16 | next word
// Every block ends at x = 2^24 with no word left, so cut or changed bytes are noticed.
#include <algorithm>
#include <array>
#include <vector>

#include "smidgen/io/codecs/registry.h"
#include "smidgen/io/little_endian.h"

namespace smidgen {
namespace {

constexpr int kSymbols = 81, kScaleBits = 16, kWeightBits = 15, kStateBytes = 5;
constexpr uint64_t kLow = uint64_t{1} << 24;
constexpr int64_t kManyGroups = 1 << 13;
constexpr size_t kMostLanes = 4;

size_t lanes_of(int64_t groups) {
  return groups >= kManyGroups ? kMostLanes : 1;
}

// Four bits of +1 below four bits of -1, and the group's number.
struct Groups {
  std::array<uint8_t, 256> number{};
  std::array<uint8_t, kSymbols> bits{};
  std::array<std::array<uint8_t, 4>, kSymbols> digits{};  // 0, 1 for +1, 2 for -1

  Groups() {
    for (int symbol = 0; symbol < kSymbols; ++symbol) {
      int rest = symbol, both = 0;
      for (int i = 0; i < 4; ++i, rest /= 3) {
        const int digit = rest % 3;
        digits[static_cast<size_t>(symbol)][static_cast<size_t>(i)] = static_cast<uint8_t>(digit);
        if (digit) both |= 1 << (i + (digit == 2 ? 4 : 0));
      }
      bits[static_cast<size_t>(symbol)] = static_cast<uint8_t>(both);
      number[static_cast<size_t>(both)] = static_cast<uint8_t>(symbol);
    }
  }
};

const Groups& groups() {
  static const Groups table;
  return table;
}

struct Model {
  std::array<uint32_t, kSymbols> frequency{}, begin{};

  // Integers only: both sides must come to the same table.
  Model(uint32_t positive, uint32_t negative) {
    const uint64_t weight[3] = {(1u << kWeightBits) - positive - negative, positive, negative};
    uint32_t total = 0;
    size_t most = 0;
    for (size_t s = 0; s < kSymbols; ++s) {
      uint64_t product = 1;
      for (const uint8_t digit : groups().digits[s]) product *= weight[digit];
      frequency[s] =
          std::max<uint32_t>(1, static_cast<uint32_t>(product >> (4 * kWeightBits - kScaleBits)));
      total += frequency[s];
      if (frequency[s] > frequency[most]) most = s;
    }
    // The largest is above 2^16 / 81, and what rounding moved is less than 81.
    frequency[most] = frequency[most] + (1u << kScaleBits) - total;
    for (size_t s = 1; s < kSymbols; ++s) begin[s] = begin[s - 1] + frequency[s - 1];
  }
};

uint16_t weight_of(int64_t some, int64_t all) {
  const int64_t weight = ((some << kWeightBits) + all / 2) / all;
  return static_cast<uint16_t>(std::max<int64_t>(weight, some > 0));
}

class Rans : public Codec, SignCodec {
 public:
  std::string summary() const override {
    return "an entropy coder: within 1% of the entropy, slower than rice";
  }
  std::string source() const override { return "arXiv:1311.2540"; }
  const SignCodec* signs() const override { return this; }

  void encode(const SignView& signs, std::string& out) const override {
    int64_t plus = 0;
    for (const uint64_t word : signs.positive) plus += __builtin_popcountll(word);
    const int64_t minus = signs.kept() - plus;
    const uint16_t positive = weight_of(plus, signs.count);
    uint16_t negative = weight_of(minus, signs.count);
    if (positive + negative > 1 << kWeightBits) --negative;  // both were rounded up
    append_bytes(out, positive);
    append_bytes(out, negative);
    const Model model(positive, negative);

    const int64_t number = (signs.count + 3) / 4;
    const size_t lanes = lanes_of(number);
    std::array<uint64_t, kMostLanes> states;
    states.fill(kLow);
    std::vector<uint16_t> words;  // last first: the coder runs backwards
    words.reserve(static_cast<size_t>(number) / 2);
    for (int64_t i = number - 1; i >= 0; --i) {
      const auto word = static_cast<size_t>(i / 16);
      const int shift = static_cast<int>(i % 16) * 4;
      const uint64_t both =
          (signs.positive[word] >> shift & 15) | (signs.negative[word] >> shift & 15) << 4;
      const size_t symbol = groups().number[both];
      uint64_t& x = states[static_cast<size_t>(i) % lanes];
      const uint64_t f = model.frequency[symbol];
      if (x >= f << 24) {
        words.push_back(static_cast<uint16_t>(x));
        x >>= 16;
      }
      x = (x / f << kScaleBits) + x % f + model.begin[symbol];
    }
    for (size_t lane = 0; lane < lanes; ++lane)
      out.append(reinterpret_cast<const char*>(&states[lane]), kStateBytes);
    for (size_t i = words.size(); i-- > 0;) append_bytes(out, words[i]);
  }

  void decode(Payload payload, const SignSpan& out, const std::string& where) const override {
    const auto refuse = [&](const std::string& words) {
      throw Error(ErrorKind::format, words, where, "the codes are damaged");
    };
    const int64_t number = (out.count + 3) / 4;
    const size_t lanes = lanes_of(number);
    const size_t head = 4 + lanes * kStateBytes;
    if (payload.size() < head || (payload.size() - head) % 2 != 0)
      refuse(str("a block of codes has ", payload.size(), " bytes"));
    const uint32_t positive = load<uint16_t>(payload.data());
    const uint32_t negative = load<uint16_t>(payload.data() + 2);
    if (positive + negative > 1u << kWeightBits)
      refuse(str("weights of ", positive, " and ", negative, " of ", 1 << kWeightBits));
    const Model model(positive, negative);
    std::vector<uint8_t> symbols(size_t{1} << kScaleBits);
    for (size_t s = 0; s < kSymbols; ++s) {
      std::fill_n(symbols.begin() + model.begin[s], model.frequency[s], static_cast<uint8_t>(s));
    }
    std::array<uint64_t, kMostLanes> states{};
    for (size_t lane = 0; lane < lanes; ++lane) {
      std::memcpy(&states[lane], payload.data() + 4 + lane * kStateBytes, kStateBytes);
      if (states[lane] < kLow) refuse("a state of the coder is out of range");
    }
    const std::byte* at = payload.data() + head;
    const std::byte* const end = payload.data() + payload.size();
    // A lane refills when its state is low; two refills never follow each other, because a state
    // from [2^8, 2^24) comes back into range with the first.
    const auto step = [&](uint64_t& x) {
      const uint64_t slot = x & ((1u << kScaleBits) - 1);
      const size_t symbol = symbols[slot];
      x = model.frequency[symbol] * (x >> kScaleBits) + slot - model.begin[symbol];
      if (x < kLow) {
        if (at == end) refuse("the codes are cut off");
        x = x << 16 | load<uint16_t>(at);
        at += 2;
      }
      return groups().bits[symbol];
    };
    uint64_t p = 0, n = 0;
    const auto place = [&](int64_t i, uint64_t both) {
      const int shift = static_cast<int>(i % 16) * 4;
      p |= (both & 15) << shift;
      n |= both >> 4 << shift;
      if (i % 16 != 15 && i + 1 != number) return;
      out.positive[static_cast<size_t>(i / 16)] = p;
      out.negative[static_cast<size_t>(i / 16)] = n;
      p = n = 0;
    };
    if (lanes == kMostLanes) {
      uint64_t x0 = states[0], x1 = states[1], x2 = states[2], x3 = states[3];
      int64_t i = 0;
      for (; i + 4 <= number; i += 4) {
        const uint64_t g0 = step(x0), g1 = step(x1), g2 = step(x2), g3 = step(x3);
        place(i, g0);
        place(i + 1, g1);
        place(i + 2, g2);
        place(i + 3, g3);
      }
      states = {x0, x1, x2, x3};
      for (; i < number; ++i) place(i, step(states[static_cast<size_t>(i % 4)]));
    } else {
      for (int64_t i = 0; i < number; ++i) place(i, step(states[0]));
    }
    for (size_t lane = 0; lane < lanes; ++lane) {
      if (states[lane] != kLow) refuse("the coder does not end where it began");
    }
    if (at != end) refuse("there is something behind the last code");
    const int64_t rest = out.count % 64;
    if (rest && ((out.positive.back() | out.negative.back()) >> rest) != 0)
      refuse("there are codes behind the last element");
  }
};

}  // namespace

std::unique_ptr<const Codec> make_rans_codec() {
  return std::make_unique<Rans>();
}

}  // namespace smidgen
