// Normalisers that follow Unicode's tables (utf8proc): forms, lower case, marks; and Nmt's fixed
// lists.
#include <algorithm>
#include <cstdlib>
#include <string>

#include <utf8proc.h>

#include "smidgen/base/error.h"
#include "smidgen/text/characters.h"
#include "smidgen/text/normalizer.h"

namespace smidgen {
namespace {

bool ascii(char c) {
  return static_cast<unsigned char>(c) < 0x80;
}

bool all_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), ascii);
}

int options_of(const std::string& form) {
  int options = UTF8PROC_STABLE;
  options |= form.back() == 'C' ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE;
  if (form.find('K') != std::string::npos) options |= UTF8PROC_COMPAT;
  return options;
}

std::string form_of(std::string_view text, int options) {
  utf8proc_uint8_t* raw = nullptr;
  const utf8proc_ssize_t size = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                             static_cast<utf8proc_ssize_t>(text.size()), &raw,
                                             static_cast<utf8proc_option_t>(options));
  const std::unique_ptr<utf8proc_uint8_t, void (*)(void*)> own(raw, std::free);
  if (size < 0) throw Error(ErrorKind::data, str("Unicode normalisation: ", utf8proc_errmsg(size)));
  return std::string(reinterpret_cast<const char*>(raw), static_cast<size_t>(size));
}

class UnicodeForm final : public Normalizer {
 public:
  explicit UnicodeForm(std::string form) : form_(std::move(form)) {}
  void apply(AlignedText& text) const override { unicode_form(text, form_); }

 private:
  std::string form_;
};

class Lowercase final : public Normalizer {
 public:
  void apply(AlignedText& text) const override { lowercase(text); }
};

class StripAccents final : public Normalizer {
 public:
  void apply(AlignedText& text) const override { remove_marks(text, Marks::all); }
};

// The list of the machine translation rule set nmt_nfkc of SentencePiece.
class Nmt final : public Normalizer {
 public:
  void apply(AlignedText& text) const override {
    rewrite_characters(text, [](uint32_t c, auto&& put) {
      if ((c >= 0x1 && c <= 0x8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F || c == 0x8F ||
          c == 0x9F) {
        put("");
      } else if (c == 9 || c == 10 || c == 12 || c == 13 || c == 0x1680 ||
                 (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
                 c == 0xFEFF || c == 0xFFFD) {
        put(" ");
      }
    });
  }
};

}  // namespace

void unicode_form(AlignedText& text, const std::string& form) {
  const std::string_view old = text.text();
  if (all_ascii(old)) return;
  const int options = options_of(form);
  Rewrite rewrite(text);
  bool changed = false;
  // Two ASCII neighbours never interact. A part is the text between two such places that holds
  // something else.
  for (size_t at = 0; at < old.size();) {
    size_t stop = at + 1;
    if (!(ascii(old[at]) && (stop == old.size() || ascii(old[stop])))) {
      while (stop < old.size() && !(ascii(old[stop - 1]) && ascii(old[stop]))) ++stop;
      const std::string part = form_of(old.substr(at, stop - at), options);
      if (part != old.substr(at, stop - at)) {
        rewrite.keep_to(at);
        rewrite.replace(stop - at, part);
        changed = true;
      }
    }
    at = stop;
  }
  if (changed) rewrite.finish();
}

void lowercase(AlignedText& text) {
  rewrite_characters(text, [](uint32_t code, auto&& put) {
    if (code < 0x80) {
      const char lower = static_cast<char>(code + 32);
      if (code >= 'A' && code <= 'Z') put(std::string_view(&lower, 1));
      return;
    }
    std::string lower;
    if (code == 0x130) {  // the only character whose lower case is two
      lower = "i\xCC\x87";
    } else {
      const auto to = static_cast<uint32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code)));
      if (to == code) return;
      append_utf8(lower, to);
    }
    put(lower);
  });
}

void remove_marks(AlignedText& text, Marks which) {
  if (all_ascii(text.text())) return;
  rewrite_characters(text, [which](uint32_t code, auto&& put) {
    if (code < 0x80) return;
    const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(code));
    if (category == UTF8PROC_CATEGORY_MN ||
        (which == Marks::all &&
         (category == UTF8PROC_CATEGORY_MC || category == UTF8PROC_CATEGORY_ME)))
      put("");
  });
}

std::unique_ptr<Normalizer> make_unicode_form(const JsonNode& node) {
  return std::make_unique<UnicodeForm>(node.type());
}
std::unique_ptr<Normalizer> make_lowercase(const JsonNode&) {
  return std::make_unique<Lowercase>();
}
std::unique_ptr<Normalizer> make_strip_accents(const JsonNode&) {
  return std::make_unique<StripAccents>();
}
std::unique_ptr<Normalizer> make_nmt(const JsonNode&) {
  return std::make_unique<Nmt>();
}

}  // namespace smidgen
