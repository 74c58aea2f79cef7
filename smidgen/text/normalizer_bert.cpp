// BERT's clean-up: control characters away, any white space to a space, spaces around ideographs,
// accents away, lower case. Source: tokenizers 0.23 (normalizers/bert.rs), google-research/bert.
#include <optional>

#include "smidgen/text/characters.h"
#include "smidgen/text/normalizer.h"

namespace smidgen {
namespace {

// The ranges of the original BERT code; later extensions of Unicode are not in it.
bool is_ideograph(uint32_t c) {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) ||
         (c >= 0x20000 && c <= 0x2A6DF) || (c >= 0x2A700 && c <= 0x2B73F) ||
         (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

class BertNormalizer final : public Normalizer {
 public:
  explicit BertNormalizer(const JsonNode& node)
      : clean_(node.flag("clean_text", true)),
        ideographs_(node.flag("handle_chinese_chars", true)),
        lowercase_(node.flag("lowercase", true)),
        accents_(node.flag("strip_accents", lowercase_)) {}

  void apply(AlignedText& text) const override {
    if (clean_ || ideographs_) {
      rewrite_characters(text, [this](uint32_t code, auto&& put) {
        if (clean_ && code != '\t' && code != '\n' && code != '\r') {
          if (code == 0 || code == 0xFFFD || is_control_like(code)) return put("");
        }
        if (clean_ && code != ' ' && is_white_space(code)) return put(" ");
        if (ideographs_ && is_ideograph(code)) {
          std::string spaced = " ";
          append_utf8(spaced, code);
          put(spaced + ' ');
        }
      });
    }
    if (accents_) {
      unicode_form(text, "NFD");
      remove_marks(text, Marks::nonspacing);
    }
    if (lowercase_) lowercase(text);
  }

 private:
  bool clean_, ideographs_, lowercase_, accents_;
};

}  // namespace

std::unique_ptr<Normalizer> make_bert_normalizer(const JsonNode& node) {
  return std::make_unique<BertNormalizer>(node);
}

}  // namespace smidgen
