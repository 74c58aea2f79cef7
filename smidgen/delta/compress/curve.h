// What compressing costs and saves over a range of densities, as lines of text and as a page with
// plots.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "smidgen/delta/compress/compress.h"

namespace smidgen {

struct CurvePoint {
  double density = 0;  // as asked for
  CompressReport report;
  std::optional<double> loss;
};

struct Curve {
  std::string title, codec;
  std::vector<CurvePoint> points;   // by density
  std::optional<double> base_loss;  // without the delta
};

std::string curve_text(const Curve& curve);
Json curve_json(const Curve& curve);
// One file that loads nothing: size and entropy bound, error, and loss where there is one.
std::string curve_html(const Curve& curve);

}  // namespace smidgen
