#include "smidgen/io/codecs/blocks.h"

#include <bit>
#include <cstring>

#include "smidgen/base/threads.h"
#include "smidgen/io/little_endian.h"

namespace smidgen {

int64_t SignView::kept() const {
  int64_t total = 0;
  for (size_t i = 0; i < positive.size(); ++i)
    total += std::popcount(positive[i]) + std::popcount(negative[i]);
  return total;
}

void SignSpan::expand(float scale, float zero, std::span<float> out) const {
  SMIDGEN_ASSERT(static_cast<int64_t>(out.size()) == count);
  const float values[4] = {zero, scale, -scale, 0};
  for (size_t word = 0; word < positive.size(); ++word) {
    const uint64_t p = positive[word], n = negative[word];
    const size_t first = word * 64, some = std::min<size_t>(64, out.size() - first);
    for (size_t i = 0; i < some; ++i) out[first + i] = values[(p >> i & 1) | (n >> i & 1) << 1];
  }
}

BlockWriter::BlockWriter(int64_t count, std::string& out)
    : out_(out), table_(sign_blocks(count) > 1), next_(out.size()) {
  if (table_) out.append(static_cast<size_t>(sign_blocks(count)) * sizeof(uint32_t), '\0');
}

void BlockWriter::add(std::string_view block) {
  if (table_) {
    const auto size = static_cast<uint32_t>(block.size());
    std::memcpy(out_.data() + next_, &size, sizeof size);
    next_ += sizeof size;
  }
  out_ += block;
}

std::string encode_signs(const SignCodec& codec, const SignView& signs) {
  std::vector<std::string> blocks(static_cast<size_t>(sign_blocks(signs.count)));
  parallel_for(static_cast<int64_t>(blocks.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      const int64_t count = std::min(kSignBlock, signs.count - b * kSignBlock);
      const auto first = static_cast<size_t>(b * kSignBlock / 64);
      const auto words = static_cast<size_t>(sign_words(count));
      codec.encode(
          {signs.positive.subspan(first, words), signs.negative.subspan(first, words), count},
          blocks[static_cast<size_t>(b)]);
    }
  });
  std::string out;
  BlockWriter writer(signs.count, out);
  for (const std::string& block : blocks) writer.add(block);
  return out;
}

SignBlocks::SignBlocks(const SignCodec& codec, Payload payload, int64_t count, std::string where)
    : codec_(codec), payload_(payload), count_(count), where_(std::move(where)) {
  SMIDGEN_ASSERT(count >= 0);
  const auto refuse = [&](const std::string& words) {
    throw Error(ErrorKind::format, words, where_, "the file is damaged");
  };
  const auto number = static_cast<uint64_t>(blocks());
  if (number == 0 && !payload.empty())
    refuse(str("a tensor without elements has ", payload.size(), " bytes of codes"));
  if (number <= 1) return;
  // Before anything is allocated for them.
  if (payload.size() / sizeof(uint32_t) < number) {
    refuse(str(count, " elements are ", number, " blocks, and the ", payload.size(),
               " bytes of codes do not even hold their sizes"));
  }
  first_ = static_cast<size_t>(number) * sizeof(uint32_t);
  size_t end = first_;
  for (uint64_t block = 0; block < number; ++block) {
    const auto size = load<uint32_t>(payload.data() + block * sizeof(uint32_t));
    if (size > payload.size() - end) {
      refuse(str("block ", block, " of the codes has ", size, " bytes, and ", payload.size() - end,
                 " are left"));
    }
    ends_.push_back(end += size);
  }
  if (end != payload.size())
    refuse(str(payload.size() - end, " bytes of codes belong to no block"));
}

void SignBlocks::decode(int64_t block, const SignSpan& out) const {
  SMIDGEN_ASSERT(block >= 0 && block < blocks() && out.count == size(block));
  const auto i = static_cast<size_t>(block);
  const size_t begin = i == 0 ? first_ : ends_[i - 1];
  const size_t end = ends_.empty() ? payload_.size() : ends_[i];
  codec_.decode(payload_.subspan(begin, end - begin), out, where_);
}

Signs SignBlocks::decode() const {
  Signs signs(count_);
  parallel_for(blocks(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) decode(b, signs.part(b * kSignBlock, size(b)));
  });
  return signs;
}

const Registry<Codec>& codecs() {
  static const Registry<Codec> registry = [] {
    Registry<Codec> made("codec");
    register_all(made);
    return made;
  }();
  return registry;
}

}  // namespace smidgen
