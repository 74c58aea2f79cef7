// What tokenizer.json calls normalizer: one rewrite of the text before it is cut into words.
// Source: tokenizers 0.23 (src/normalizers). Offsets: see aligned_text.h.
#pragma once

#include <memory>

#include "smidgen/text/aligned_text.h"
#include "smidgen/text/json_node.h"
#include "smidgen/text/utf8.h"

namespace smidgen {

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  virtual void apply(AlignedText& text) const = 0;
};

// Understood: NFC NFD NFKC NFKD Nmt Lowercase Strip StripAccents Replace Prepend BertNormalizer
// ByteLevel Precompiled Sequence. Throws unsupported for another type, format for a broken one.
std::unique_ptr<Normalizer> make_normalizer(const JsonNode& node);

// The kinds, for the table in normalizer.cpp.
std::unique_ptr<Normalizer> make_unicode_form(const JsonNode& node);  // NFC NFD NFKC NFKD
std::unique_ptr<Normalizer> make_nmt(const JsonNode& node);
std::unique_ptr<Normalizer> make_lowercase(const JsonNode& node);
std::unique_ptr<Normalizer> make_strip_accents(const JsonNode& node);
std::unique_ptr<Normalizer> make_bert_normalizer(const JsonNode& node);
std::unique_ptr<Normalizer> make_strip(const JsonNode& node);
std::unique_ptr<Normalizer> make_replace(const JsonNode& node);
std::unique_ptr<Normalizer> make_prepend(const JsonNode& node);
std::unique_ptr<Normalizer> make_byte_letters(const JsonNode& node);
std::unique_ptr<Normalizer> make_precompiled(const JsonNode& node);

// Rewrites whole characters: `change(code, put)` calls put(text) for a character to replace, and
// does nothing for one that stays.
template <class Change>
void rewrite_characters(AlignedText& text, Change change) {
  Rewrite rewrite(text);
  bool changed = false;
  const std::string_view old = text.text();
  for (size_t at = 0; at < old.size();) {
    const Utf8Step step = utf8_step(old.substr(at));
    change(step.code, [&](std::string_view with) {
      rewrite.keep_to(at);
      rewrite.replace(step.length, with);
      changed = true;
    });
    at += step.length;
  }
  if (changed) rewrite.finish();
}

// Canonical decomposition, and Unicode's other three forms. `form` as in tokenizer.json.
void unicode_form(AlignedText& text, const std::string& form);
void lowercase(AlignedText& text);
enum class Marks { nonspacing, all };
void remove_marks(AlignedText& text, Marks which);

}  // namespace smidgen
