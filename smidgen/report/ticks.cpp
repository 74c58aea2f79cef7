#include <algorithm>
#include <cmath>
#include <cstdio>

#include "smidgen/base/error.h"
#include "smidgen/report/svg.h"

namespace smidgen {

std::vector<double> nice_ticks(double low, double high, int wanted) {
  SMIDGEN_ASSERT(std::isfinite(low) && std::isfinite(high) && low <= high && wanted > 0);
  // Halved first: high - low may overflow although both are finite.
  const double rough = (high / 2 - low / 2) / wanted * 2;
  if (!(rough > 0)) return {low};
  const double magnitude = std::pow(10.0, std::floor(std::log10(rough)));
  if (!(magnitude > 0) || !std::isfinite(magnitude)) return {low, high};
  // The candidate whose number of steps comes nearest to what was asked for.
  double step = magnitude;
  for (const double factor : {1.0, 2.0, 2.5, 5.0, 10.0}) {
    if (std::abs(factor * magnitude - rough) < std::abs(step - rough)) step = factor * magnitude;
  }
  const double slack = step * 1e-9;
  const double first = std::ceil((low - slack) / step), last = std::floor((high + slack) / step);
  // Where doubles are coarser than the step (1e17 .. 1e17+2) a multiple cannot be told from its
  // neighbour.
  if (std::max(std::abs(first), std::abs(last)) > 1e15) return {low, high};
  std::vector<double> ticks;
  for (double k = first; k <= last; ++k) {
    // From text, so that 3 * 0.1 is 0.3 and not 0.30000000000000004.
    char text[40];
    std::snprintf(text, sizeof text, "%.12g", k * step);
    ticks.push_back(std::strtod(text, nullptr) + 0.0);
  }
  return ticks.empty() ? std::vector<double>{low} : ticks;
}

std::vector<double> log_ticks(double low, double high) {
  SMIDGEN_ASSERT(low > 0 && low <= high && std::isfinite(high));
  const int first = static_cast<int>(std::floor(std::log10(low)));
  const int last = static_cast<int>(std::ceil(std::log10(high)));
  const auto within = [&](std::initializer_list<double> factors) {
    std::vector<double> ticks;
    for (int k = first; k <= last; ++k) {
      for (const double factor : factors) {
        const double tick = factor * std::pow(10.0, k);
        if (tick >= low * (1 - 1e-9) && tick <= high * (1 + 1e-9)) ticks.push_back(tick);
      }
    }
    return ticks;
  };
  std::vector<double> ticks = within({1});
  if (ticks.size() < 3) ticks = within({1, 2, 5});
  if (ticks.size() < 3)
    ticks = nice_ticks(low, high, 4);  // less than a factor of five: nearly linear
  if (ticks.size() > 8) {
    std::vector<double> thinned;
    const size_t stride = (ticks.size() + 7) / 8;
    for (size_t i = 0; i < ticks.size(); i += stride) thinned.push_back(ticks[i]);
    ticks = thinned;
  }
  return ticks;
}

std::string format_number(double value, int significant) {
  if (!std::isfinite(value)) return "not finite";
  if (value == 0) return "0";
  char text[48];
  const double size = std::abs(value);
  if (size >= 1e4 && size < 1e15) {
    const char* const units[] = {"k", "M", "G", "T"};
    int unit = size >= 1e12 ? 3 : size >= 1e9 ? 2 : size >= 1e6 ? 1 : 0;
    std::snprintf(text, sizeof text, "%.*g", significant, value / std::pow(1e3, unit + 1));
    // 999,960 rounds to "1e+03k" with three figures: the next unit then reads 1M.
    if (std::abs(std::strtod(text, nullptr)) >= 1e3 && unit < 3) {
      ++unit;
      std::snprintf(text, sizeof text, "%.*g", significant, value / std::pow(1e3, unit + 1));
    }
    return std::string(text) + units[unit];
  }
  std::snprintf(text, sizeof text, size < 1e-3 || size >= 1e15 ? "%.*e" : "%.*g",
                size < 1e-3 || size >= 1e15 ? significant - 1 : significant, value);
  std::string out = text;
  const size_t e = out.find('e');
  if (e == std::string::npos) return out;
  std::string mantissa = out.substr(0, e);
  if (mantissa.find('.') != std::string::npos) {
    mantissa.erase(mantissa.find_last_not_of('0') + 1);
    if (mantissa.back() == '.') mantissa.pop_back();
  }
  return mantissa + "e" + std::to_string(std::atoi(out.c_str() + e + 1));
}

}  // namespace smidgen
