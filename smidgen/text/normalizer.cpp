#include "smidgen/text/normalizer.h"

#include <algorithm>
#include <cstdlib>
#include <memory>

#include <utf8proc.h>

#include "smidgen/base/error.h"

namespace smidgen {
namespace {

int options_of(NormalizerKind kind) {
  switch (kind) {
    case NormalizerKind::nfc:
      return UTF8PROC_STABLE | UTF8PROC_COMPOSE;
    case NormalizerKind::nfd:
      return UTF8PROC_STABLE | UTF8PROC_DECOMPOSE;
    case NormalizerKind::nfkc:
      return UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT;
    case NormalizerKind::nfkd:
      return UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT;
  }
  return 0;
}

std::string normalize_part(std::string_view text, NormalizerKind kind) {
  utf8proc_uint8_t* raw = nullptr;
  const utf8proc_ssize_t size = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                             static_cast<utf8proc_ssize_t>(text.size()), &raw,
                                             static_cast<utf8proc_option_t>(options_of(kind)));
  const std::unique_ptr<utf8proc_uint8_t, void (*)(void*)> own(raw, std::free);
  if (size < 0) throw Error(ErrorKind::data, str("Unicode normalisation: ", utf8proc_errmsg(size)));
  return std::string(reinterpret_cast<const char*>(raw), static_cast<size_t>(size));
}

bool ascii(char c) {
  return static_cast<unsigned char>(c) < 0x80;
}

}  // namespace

size_t Alignment::begin(size_t normalised) const {
  if (identity()) return normalised;
  const auto after =
      std::upper_bound(marks_.begin(), marks_.end(), normalised,
                       [](size_t value, const auto& mark) { return value < mark.first; });
  if (after == marks_.begin()) return 0;
  const auto before = std::prev(after);
  const bool even =
      after != marks_.end() && after->first - before->first == after->second - before->second;
  return before->second + (even ? normalised - before->first : 0);
}

size_t Alignment::end(size_t normalised) const {
  if (identity()) return normalised;
  const auto at =
      std::lower_bound(marks_.begin(), marks_.end(), normalised,
                       [](const auto& mark, size_t value) { return mark.first < value; });
  if (at == marks_.end()) return marks_.back().second;
  if (at == marks_.begin()) return at->second;
  const auto before = std::prev(at);
  const bool even = at->first - before->first == at->second - before->second;
  return at->second - (even ? at->first - normalised : 0);
}

bool normalize(std::string_view text, const std::vector<NormalizerKind>& kinds, std::string& out,
               Alignment& alignment) {
  out.clear();
  if (kinds.empty() || std::all_of(text.begin(), text.end(), ascii)) return false;
  alignment.add(0, 0);
  // Two ASCII neighbours never interact, so every place between two is a mark. A part is the text
  // between marks that holds something else.
  size_t at = 0;
  bool changed = false;
  while (at < text.size()) {
    size_t stop = at + 1;
    if (ascii(text[at]) && (stop == text.size() || ascii(text[stop]))) {
      out += text[at];
    } else {
      while (stop < text.size() && !(ascii(text[stop - 1]) && ascii(text[stop]))) ++stop;
      std::string part(text.substr(at, stop - at));
      for (const NormalizerKind kind : kinds) part = normalize_part(part, kind);
      changed |= part != text.substr(at, stop - at);
      alignment.add(out.size(), at);
      out += part;
      alignment.add(out.size(), stop);
    }
    at = stop;
  }
  alignment.add(out.size(), text.size());
  if (changed) return true;
  out.clear();
  alignment.clear();
  return false;
}

}  // namespace smidgen
