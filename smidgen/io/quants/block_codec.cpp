#include "smidgen/io/quants/block_codec.h"

#include <array>

namespace smidgen {

const BlockCodec* find_codec(Format format) {
  static const auto by_format = [] {
    std::array<const BlockCodec*, 64> table{};
    for (const auto group : {plain_codecs(), block_codecs(), k_codecs(), ternary_codecs(),
                             float4_codecs(), codebook_codecs()}) {
      for (const BlockCodec& codec : group) table[static_cast<size_t>(codec.format)] = &codec;
    }
    return table;
  }();
  return by_format.at(static_cast<size_t>(format));
}

}  // namespace smidgen
