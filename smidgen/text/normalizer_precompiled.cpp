// SentencePiece's compiled character map, as T5 and its kin carry it.
//
// The map (base64 in tokenizer.json): uint32 size of the trie in bytes, the trie as a double array
// of uint32 (darts-clone's layout), then the replacements, each ended by a zero byte. A trie value
// is the offset of a replacement. Source: tokenizers 0.23 (normalizers/precompiled.rs) and
// spm_precompiled 0.1.4, which looks up each grapheme of less than 6 bytes as a whole and takes its
// shortest key, else each character alone. SentencePiece itself takes the longest key at each
// place (normalizer.cc of 0.2.3); so does this where the part says "longest": true, a key of ours
// that tokenizers passes over.
#include <cstring>

#include <utf8proc.h>

#include "smidgen/base/error.h"
#include "smidgen/text/base64.h"
#include "smidgen/text/normalizer.h"

namespace smidgen {
namespace {

constexpr size_t kMaxGrapheme = 6;
constexpr size_t kMaxKey = 1024;  // bytes; a broken trie may go in circles

class Precompiled final : public Normalizer {
 public:
  explicit Precompiled(const JsonNode& node) : longest_(node.flag("longest", false)) {
    const std::string map = from_base64(node.text("precompiled_charsmap"), node.where());
    uint32_t size = 0;
    if (map.size() >= 4) std::memcpy(&size, map.data(), 4);
    if (map.size() < 4 || size % 4 != 0 || size > map.size() - 4)
      throw Error(ErrorKind::format,
                  str("the character map says that its trie has ", size, " bytes and has ",
                      map.size(), " itself"),
                  node.where());
    trie_.resize(size / 4);
    std::memcpy(trie_.data(), map.data() + 4, size);
    texts_ = map.substr(4 + size);
    if (!is_utf8(texts_))
      throw Error(ErrorKind::format, "the character map's replacements are not UTF-8",
                  node.where());
  }

  void apply(AlignedText& text) const override {
    const std::string_view old = text.text();
    Rewrite rewrite(text);
    bool changed = false;
    const auto put = [&](size_t at, size_t length) {
      const std::optional<Found> found = find(old.substr(at, length));
      if (!found) return size_t{0};
      if (longest_) length = found->length;
      rewrite.keep_to(at);
      rewrite.replace(length, found->text);
      changed = true;
      return length;
    };
    for (size_t at = 0; at < old.size();) {
      if (longest_) {
        const size_t length = put(at, kMaxKey);
        at += length > 0 ? length : utf8_step(old.substr(at)).length;
        continue;
      }
      const size_t end = grapheme_end(old, at);
      if (end - at < kMaxGrapheme && put(at, end - at)) {
        at = end;
        continue;
      }
      while (at < end) {
        const size_t length = utf8_step(old.substr(at)).length;
        put(at, length);
        at += length;
      }
    }
    if (changed) rewrite.finish();
  }

 private:
  static size_t grapheme_end(std::string_view text, size_t at) {
    Utf8Step step = utf8_step(text.substr(at));
    utf8proc_int32_t state = 0;
    size_t end = at + step.length;
    while (end < text.size()) {
      const Utf8Step next = utf8_step(text.substr(end));
      if (utf8proc_grapheme_break_stateful(static_cast<utf8proc_int32_t>(step.code),
                                           static_cast<utf8proc_int32_t>(next.code), &state))
        break;
      end += next.length;
      step = next;
    }
    return end;
  }

  struct Found {
    size_t length;  // of the key
    std::string_view text;
  };
  // The replacement of the shortest, or longest, key that `text` begins with.
  std::optional<Found> find(std::string_view text) const {
    const auto offset = [](uint32_t unit) {
      return size_t{unit >> 10} << ((unit & (1u << 9)) >> 6);
    };
    std::optional<Found> found;
    if (trie_.empty()) return found;
    size_t at = offset(trie_[0]);
    for (size_t length = 1; length <= text.size(); ++length) {
      const auto byte = static_cast<uint8_t>(text[length - 1]);
      if (byte == 0) break;
      at ^= byte;
      if (at >= trie_.size() || (trie_[at] & (1u << 31 | 0xFF)) != byte) break;
      const uint32_t unit = trie_[at];
      at ^= offset(unit);
      if (!(unit >> 8 & 1)) continue;
      if (at >= trie_.size()) break;
      const size_t begin = trie_[at] & 0x7FFFFFFF;
      if (begin > texts_.size()) break;
      // A broken map's key may end inside a character.
      if (length < text.size() && is_utf8_continuation(text[length])) continue;
      found = {length, std::string_view(texts_).substr(begin, texts_.find('\0', begin) - begin)};
      if (!longest_) break;
    }
    return found;
  }

  bool longest_;

  std::vector<uint32_t> trie_;
  std::string texts_;
};

}  // namespace

std::unique_ptr<Normalizer> make_precompiled(const JsonNode& node) {
  return std::make_unique<Precompiled>(node);
}

}  // namespace smidgen
