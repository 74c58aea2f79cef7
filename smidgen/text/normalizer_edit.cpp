// Normalisers that edit: Replace, Prepend, Strip, and ByteLevel's letters.
#include <optional>

#include "smidgen/base/error.h"
#include "smidgen/text/byte_level.h"
#include "smidgen/text/characters.h"
#include "smidgen/text/normalizer.h"
#include "smidgen/text/pattern.h"

namespace smidgen {
namespace {

class Replace final : public Normalizer {
 public:
  explicit Replace(const JsonNode& node)
      : finder_(node.child("pattern")), content_(node.text("content")) {}

  void apply(AlignedText& text) const override {
    std::optional<Rewrite> rewrite;
    finder_.each(text.text(), [&](size_t begin, size_t end) {
      if (!rewrite) rewrite.emplace(text);
      rewrite->keep_to(begin);
      rewrite->replace(end - begin, content_);
    });
    if (rewrite) rewrite->finish();
  }

 private:
  Finder finder_;
  std::string content_;
};

class Prepend final : public Normalizer {
 public:
  explicit Prepend(std::string text) : prefix_(std::move(text)) {}
  void apply(AlignedText& text) const override {
    if (text.text().empty()) return;
    Rewrite rewrite(text);
    rewrite.insert(prefix_);
    rewrite.finish();
  }

 private:
  std::string prefix_;
};

class Strip final : public Normalizer {
 public:
  explicit Strip(const JsonNode& node)
      : left_(node.flag("strip_left", true)), right_(node.flag("strip_right", true)) {}
  void apply(AlignedText& text) const override {
    const std::string_view old = text.text();
    const size_t left = left_ ? leading_space(old) : 0;
    const size_t right = right_ ? trailing_space(old.substr(left)) : 0;
    if (left + right == 0) return;
    Rewrite rewrite(text);
    rewrite.replace(left, "");
    rewrite.keep_to(old.size() - right);
    rewrite.replace(right, "");
    rewrite.finish();
  }

 private:
  bool left_, right_;
};

class ByteLetters final : public Normalizer {
 public:
  void apply(AlignedText& text) const override { write_byte_letters(text); }
};

}  // namespace

std::unique_ptr<Normalizer> make_replace(const JsonNode& node) {
  return std::make_unique<Replace>(node);
}
std::unique_ptr<Normalizer> make_prepend(const JsonNode& node) {
  return std::make_unique<Prepend>(node.text("prepend"));
}
std::unique_ptr<Normalizer> make_strip(const JsonNode& node) {
  return std::make_unique<Strip>(node);
}
std::unique_ptr<Normalizer> make_byte_letters(const JsonNode&) {
  return std::make_unique<ByteLetters>();
}

}  // namespace smidgen
