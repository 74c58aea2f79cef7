// Line charts as inline SVG: no script, no outside font; colours come from CSS variables of the
// page.
#pragma once

#include <string>
#include <vector>

#include "smidgen/report/series.h"

namespace smidgen {

// How a curve is drawn. `smooth` draws the raw curve faintly below its moving average.
struct ChartLine {
  Series series;
  bool smooth = false;
  bool markers = false;  // a dot per point: for the few points of an evaluation
};

struct Chart {
  std::string title;  // also the accessible name
  std::string x_label;
  std::string y_label;
  std::vector<ChartLine> lines;
  bool log_y = false;  // falls back to linear when a finite value is not positive
  bool y_from_zero = false;
  int width = 460, height = 270;  // of the viewBox, in CSS pixels
};

// "<svg ...>...</svg>". Without one finite point the chart says "no data" and keeps its size.
std::string line_chart(const Chart& chart);

// Round numbers (1, 2, 2.5, 5 x 10^k) inside [low, high], about `wanted` of them, ascending. low ==
// high gives that one value.
std::vector<double> nice_ticks(double low, double high, int wanted);

// Powers of ten inside [low, high], with 2x and 5x when fewer than three would result. Needs 0 <
// low <= high.
std::vector<double> log_ticks(double low, double high);

// Short for an axis or label: 0.0002 -> "2e-4", 15000 -> "15k", 1.25 -> "1.25", NaN -> "not
// finite".
std::string format_number(double value, int significant = 4);

}  // namespace smidgen
