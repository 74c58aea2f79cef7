// Text from parts: str("rank ", 8, " of ", name). GCC 12 has no <format>.
#pragma once

#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace smidgen {

template <class... Parts>
std::string str(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

// "a, b, c"; with `most`, "a, b, ... (7 more)".
template <class Range>
std::string join(const Range& items, std::string_view separator = ", ", size_t most = SIZE_MAX) {
  std::ostringstream out;
  size_t count = 0, total = 0;
  for ([[maybe_unused]] const auto& item : items) ++total;
  for (const auto& item : items) {
    if (count == most) {
      out << separator << "... (" << total - most << " more)";
      break;
    }
    if (count++) out << separator;
    out << item;
  }
  return out.str();
}

// "1 sample", "2 samples".
template <class Count>
std::string counted(Count count, std::string_view noun) {
  return str(count, " ", noun, count == 1 ? "" : "s");
}

// A shape as [rows, columns].
template <class Range>
std::string shape_str(const Range& shape) {
  return str("[", join(shape), "]");
}

}  // namespace smidgen
