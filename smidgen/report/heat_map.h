// A table of numbers as coloured cells, in inline SVG: no script, colours from the page.
#pragma once

#include <string>
#include <vector>

namespace smidgen {

struct HeatMap {
  std::string title;  // also the accessible name
  std::vector<std::string> rows, columns;
  std::vector<std::vector<double>> values;  // [rows][columns]; NaN is an empty cell
  double low = 0, high = 1;                 // of the scale; values beyond are cut
  int width = 972;                          // of the viewBox, in CSS pixels
};

// "<svg ...>...</svg>". Every cell tells its row, column and value as a tooltip.
std::string heat_map(const HeatMap& map);

}  // namespace smidgen
