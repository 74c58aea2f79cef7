#include "smidgen/text/normalizer.h"

#include "smidgen/base/error.h"

namespace smidgen {
namespace {

constexpr int kMaxNesting = 16;

struct Entry {
  const char* type;
  std::unique_ptr<Normalizer> (*make)(const JsonNode&);
};
constexpr Entry kTypes[] = {
    {"NFC", make_unicode_form},       {"NFD", make_unicode_form},
    {"NFKC", make_unicode_form},      {"NFKD", make_unicode_form},
    {"Nmt", make_nmt},                {"Lowercase", make_lowercase},
    {"Strip", make_strip},            {"StripAccents", make_strip_accents},
    {"Replace", make_replace},        {"Prepend", make_prepend},
    {"ByteLevel", make_byte_letters}, {"BertNormalizer", make_bert_normalizer},
    {"Precompiled", make_precompiled}};

class Sequence final : public Normalizer {
 public:
  void apply(AlignedText& text) const override {
    for (const auto& step : steps_) step->apply(text);
  }
  void add(const JsonNode& node, int depth) {
    if (depth > kMaxNesting) node.refuse("normalisers nested this deep", "a plain Sequence");
    const std::string type = node.type();
    if (type == "Sequence") {
      for (const JsonNode& item : node.children("normalizers")) add(item, depth + 1);
      return;
    }
    for (const Entry& entry : kTypes) {
      if (type == entry.type) return steps_.push_back(entry.make(node));
    }
    std::string known = "known: Sequence";
    for (const Entry& entry : kTypes) known += str(", ", entry.type);
    node.refuse(str("the normaliser '", type, "'"), known);
  }

 private:
  std::vector<std::unique_ptr<Normalizer>> steps_;
};

}  // namespace

std::unique_ptr<Normalizer> make_normalizer(const JsonNode& node) {
  auto sequence = std::make_unique<Sequence>();
  sequence->add(node, 0);
  return sequence;
}

}  // namespace smidgen
