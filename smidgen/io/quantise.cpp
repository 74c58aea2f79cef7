#include "smidgen/io/quantise.h"

#include <algorithm>
#include <cmath>

#include "smidgen/base/error.h"
#include "smidgen/io/quants/block_codec.h"

namespace smidgen {

namespace {

constexpr float kBeyondHalf = 65520;  // from here on a half is infinite

[[noreturn]] void does_not_fit(Format format, float value, const std::string& name) {
  throw Error(ErrorKind::data,
              str("the tensor holds ", value, ", which ", info(format).name, " cannot hold"), name,
              "write bf16 or fp32");
}

void require_halves(std::span<const float> in, const std::string& name) {
  for (const float value : in) {
    if (std::isfinite(value) && std::abs(value) >= kBeyondHalf)
      does_not_fit(Format::f16, value, name);
  }
}

// The scale of a block is the largest magnitude, or the range, over this; q4_1 also stores the
// smallest value itself.
void require_blocks(Format format, std::span<const float> in, const std::string& name) {
  const auto elements = static_cast<size_t>(info(format).elements);
  for (size_t start = 0; start < in.size(); start += elements) {
    const auto block = in.subspan(start, elements);
    for (const float value : block) {
      if (!std::isfinite(value)) does_not_fit(format, value, name);
    }
    const auto [low, high] = std::minmax_element(block.begin(), block.end());
    const float largest = std::max(std::abs(*low), std::abs(*high));
    const bool fits = format == Format::q8_0 ? largest / 127 < kBeyondHalf
                      : format == Format::q4_0
                          ? largest / 8 < kBeyondHalf
                          : std::abs(*low) < kBeyondHalf && (*high - *low) / 15 < kBeyondHalf;
    if (!fits) does_not_fit(format, std::abs(*low) > std::abs(*high) ? *low : *high, name);
  }
}

}  // namespace

bool writable(Format format) {
  const BlockCodec* codec = find_codec(format);
  return codec && codec->encode;
}

void from_f32(Format format, std::span<const float> in, std::span<std::byte> out,
              const std::string& name) {
  if (!writable(format)) {
    std::vector<std::string_view> known;
    for (const FormatInfo& type : formats()) {
      if (writable(type.format)) known.push_back(type.name);
    }
    throw Error(ErrorKind::unsupported,
                str("values of type ", info(format).name, " are not written"), name,
                str("written: ", join(known)));
  }
  const FormatInfo& type = info(format);
  const auto count = static_cast<int64_t>(in.size());
  SMIDGEN_ASSERT(count % type.elements == 0);
  SMIDGEN_ASSERT(static_cast<int64_t>(out.size()) == count / type.elements * type.bytes);
  if (format == Format::f16) require_halves(in, name);
  if (type.elements > 1) require_blocks(format, in, name);
  find_codec(format)->encode(in.data(), count / type.elements, out.data());
}

}  // namespace smidgen
