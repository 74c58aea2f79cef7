// Two bitsets, first of +1, then of -1: 2 bits an element whatever the density, and nothing to
// decode. Source: ComPEFT (arXiv:2311.13171), "two binary masks".
#include <cstring>

#include "smidgen/io/codecs/registry.h"

namespace smidgen {
namespace {

class Masks : public Codec, SignCodec {
 public:
  std::string summary() const override { return "two bitsets: 2 bits an element, never more"; }
  std::string source() const override { return "arXiv:2311.13171"; }
  const SignCodec* signs() const override { return this; }

  void encode(const SignView& signs, std::string& out) const override {
    const auto bytes = static_cast<size_t>((signs.count + 7) / 8);
    out.append(reinterpret_cast<const char*>(signs.positive.data()), bytes);
    out.append(reinterpret_cast<const char*>(signs.negative.data()), bytes);
  }

  void decode(Payload payload, const SignSpan& out, const std::string& where) const override {
    const auto bytes = static_cast<size_t>((out.count + 7) / 8);
    if (payload.size() != 2 * bytes) {
      throw Error(ErrorKind::format,
                  str(out.count, " elements take ", 2 * bytes, " bytes of masks, and there are ",
                      payload.size()),
                  where);
    }
    std::memcpy(out.positive.data(), payload.data(), bytes);
    std::memcpy(out.negative.data(), payload.data() + bytes, bytes);
    uint64_t both = 0;
    for (size_t i = 0; i < out.positive.size(); ++i) both |= out.positive[i] & out.negative[i];
    if (both) throw Error(ErrorKind::format, "an element is in both masks", where);
    const int64_t rest = out.count % 64;
    if (rest && ((out.positive.back() | out.negative.back()) >> rest) != 0)
      throw Error(ErrorKind::format, "a mask has bits behind the last element", where);
  }
};

}  // namespace

std::unique_ptr<const Codec> make_masks_codec() {
  return std::make_unique<Masks>();
}

}  // namespace smidgen
