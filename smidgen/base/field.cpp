#include "smidgen/base/field.h"

#include <array>
#include <charconv>
#include <cmath>

#include "smidgen/base/error.h"

namespace smidgen {
namespace {

struct SizeUnit {
  std::string_view name;
  int64_t bytes;
};

constexpr std::array<SizeUnit, 9> kUnits = {{{"TiB", int64_t{1} << 40},
                                             {"TB", 1000000000000},
                                             {"GiB", int64_t{1} << 30},
                                             {"GB", 1000000000},
                                             {"MiB", int64_t{1} << 20},
                                             {"MB", 1000000},
                                             {"KiB", int64_t{1} << 10},
                                             {"KB", 1000},
                                             {"B", 1}}};

bool same_letters(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if ((a[i] | 0x20) != (b[i] | 0x20)) return false;
  }
  return true;
}

}  // namespace

Size parse_size(std::string_view text) {
  const auto wrong = [&](std::string_view why) {
    return Error(ErrorKind::usage, str("'", text, "' is not a size", why), "",
                 "write a number with B, KB, MB, GB, TB (powers of 1000) or KiB, MiB, GiB, TiB");
  };
  double number = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (code != std::errc() || !std::isfinite(number) || number < 0) throw wrong("");
  std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
  while (!unit.empty() && unit.front() == ' ') unit.remove_prefix(1);
  int64_t factor = unit.empty() ? 1 : 0;
  for (const SizeUnit& known : kUnits) {
    // "2G" means what "2GB" means.
    const bool short_form =
        unit.size() == 1 && known.name.size() == 2 && same_letters(unit, known.name.substr(0, 1));
    if (same_letters(unit, known.name) || short_form) factor = known.bytes;
  }
  if (factor == 0) throw wrong(str(": unit '", unit, "' is unknown"));
  const double bytes = number * static_cast<double>(factor);
  if (bytes >= 0x1p62) throw wrong(": too large");
  if (bytes != std::floor(bytes)) throw wrong(": not a whole number of bytes");
  return {static_cast<int64_t>(bytes)};
}

std::string to_string(Size size) {
  for (const SizeUnit& unit : kUnits) {
    if (unit.bytes > 1 && size.bytes >= unit.bytes && size.bytes % unit.bytes == 0) {
      return str(size.bytes / unit.bytes, unit.name);
    }
  }
  return str(size.bytes);
}

}  // namespace smidgen
