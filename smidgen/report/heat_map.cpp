#include "smidgen/report/heat_map.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "smidgen/base/error.h"
#include "smidgen/report/html.h"
#include "smidgen/report/svg.h"

namespace smidgen {

namespace {

constexpr double kFigure = 6.4;  // width of one character at 11 px, for margins only
constexpr double kRow = 14, kTop = 22, kScale = 34;

std::string px(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", value);
  return text;
}

std::string text(double x, double y, const std::string& content, const char* anchor) {
  return str("<text x=\"", px(x), "\" y=\"", px(y), "\" text-anchor=\"", anchor,
             "\" class=\"tick\">", escape_html(content), "</text>\n");
}

std::string cell(double x, double y, double width, double height, double depth,
                 const std::string& tip) {
  char opacity[16];
  std::snprintf(opacity, sizeof opacity, "%.3f", depth);
  return str("<rect x=\"", px(x), "\" y=\"", px(y), "\" width=\"", px(width), "\" height=\"",
             px(height), "\" style=\"fill:var(--c1);fill-opacity:", opacity, "\">",
             tip.empty() ? "" : str("<title>", escape_html(tip), "</title>"), "</rect>\n");
}

}  // namespace

std::string heat_map(const HeatMap& map) {
  SMIDGEN_ASSERT(map.values.size() == map.rows.size() && map.high > map.low);
  size_t widest = 0;
  for (const std::string& row : map.rows) widest = std::max(widest, row.size());
  const double left = std::min(kFigure * static_cast<double>(widest) + 10, map.width * 0.4);
  const double each =
      (map.width - left) / static_cast<double>(std::max<size_t>(1, map.columns.size()));
  const double bottom = kTop + kRow * static_cast<double>(map.rows.size());
  std::string out = str("<svg class=\"chart\" viewBox=\"0 0 ", map.width, " ", px(bottom + kScale),
                        "\" role=\"img\">\n<title>", escape_html(map.title), "</title>\n");
  for (size_t c = 0; c < map.columns.size(); ++c)
    out += text(left + each * (static_cast<double>(c) + .5), kTop - 8, map.columns[c], "middle");
  for (size_t r = 0; r < map.rows.size(); ++r) {
    SMIDGEN_ASSERT(map.values[r].size() == map.columns.size());
    const double y = kTop + kRow * static_cast<double>(r);
    out += text(left - 6, y + kRow - 3.5, map.rows[r], "end");
    for (size_t c = 0; c < map.columns.size(); ++c) {
      const double value = map.values[r][c];
      if (!std::isfinite(value)) continue;
      const double depth = std::clamp((value - map.low) / (map.high - map.low), 0.0, 1.0);
      out += cell(left + each * static_cast<double>(c) + 1, y + 1, each - 2, kRow - 2,
                  0.06 + 0.94 * depth,
                  str(map.rows[r], "\n", map.columns[c], ": ", format_number(value)));
    }
  }
  constexpr int kSteps = 20;
  for (int i = 0; i < kSteps; ++i)
    out += cell(left + 6.0 * i, bottom + 10, 6, 8, 0.06 + 0.94 * i / (kSteps - 1), "");
  out += text(left, bottom + 31, format_number(map.low), "start");
  out += text(left + 6.0 * kSteps, bottom + 31, format_number(map.high), "end");
  return out + "</svg>\n";
}

}  // namespace smidgen
