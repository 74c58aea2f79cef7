#include "smidgen/delta/compress/curve.h"

#include <cmath>
#include <functional>
#include <iomanip>

#include "smidgen/report/html.h"
#include "smidgen/report/page_style.h"
#include "smidgen/report/svg.h"

namespace smidgen {

namespace {

std::string fixed(double value, int decimals) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(decimals) << value;
  return out.str();
}

double ratio(const CompressReport& report) {
  return static_cast<double>(report.source_bytes) / static_cast<double>(report.bytes());
}

std::string figure(const Chart& chart) {
  return "<figure><figcaption>" + escape_html(chart.title) + "</figcaption>\n" + line_chart(chart) +
         "</figure>\n";
}

struct Cells {
  std::vector<std::string> titles;
  std::vector<std::vector<std::string>> rows;
};

Cells cells_of(const Curve& curve) {
  Cells cells{{"density", "kept", "bits a value", "entropy", "bytes", "times smaller", "alpha",
               "relative error"},
              {}};
  if (curve.base_loss) cells.titles.push_back("loss");
  for (const CurvePoint& point : curve.points) {
    const CompressReport& r = point.report;
    cells.rows.push_back({fixed(point.density, 3), std::to_string(r.kept), fixed(r.bits(), 4),
                          fixed(r.entropy(), 4), std::to_string(r.bytes()), fixed(ratio(r), 1),
                          fixed(r.alpha(), 3), fixed(r.error, 4)});
    if (curve.base_loss) cells.rows.back().push_back(point.loss ? fixed(*point.loss, 4) : "");
  }
  return cells;
}

Series series(const Curve& curve, const std::string& name,
              const std::function<double(const CurvePoint&)>& value) {
  Series out{name, {}};
  for (const CurvePoint& point : curve.points) out.points.push_back({point.density, value(point)});
  return out;
}

}  // namespace

std::string curve_text(const Curve& curve) {
  const Cells cells = cells_of(curve);
  std::ostringstream out;
  for (const std::string& title : cells.titles) out << std::setw(15) << title;
  out << "\n";
  for (const auto& row : cells.rows) {
    for (const std::string& cell : row) out << std::setw(15) << cell;
    out << "\n";
  }
  return out.str();
}

Json curve_json(const Curve& curve) {
  Json points = Json::array();
  for (const CurvePoint& point : curve.points) {
    const CompressReport& r = point.report;
    Json entry = {{"density", point.density}, {"kept", r.kept},     {"bits", r.bits()},
                  {"entropy", r.entropy()},   {"bytes", r.bytes()}, {"alpha", r.alpha()},
                  {"scale", r.scale},         {"fit", r.fit},       {"relative_error", r.error}};
    if (point.loss) entry["loss"] = *point.loss;
    points.push_back(std::move(entry));
  }
  Json all = {{"codec", curve.codec}, {"points", std::move(points)}};
  if (curve.base_loss) all["base_loss"] = *curve.base_loss;
  return all;
}

std::string curve_html(const Curve& curve) {
  const auto line = [](Series points) { return ChartLine{std::move(points), false, true}; };
  std::string charts =
      figure({"Bits a value",
              "density",
              "bits",
              {line(series(curve, curve.codec, [](const auto& p) { return p.report.bits(); })),
               line(series(curve, "entropy", [](const auto& p) { return p.report.entropy(); }))},
              false,
              true}) +
      figure({"Relative error",
              "density",
              "norm(lost) / norm(update)",
              {line(series(curve, "error", [](const auto& p) { return p.report.error; }))},
              false,
              true});
  if (curve.base_loss) {
    charts += figure(
        {"Loss",
         "density",
         "nats an answer token",
         {line(series(curve, "compressed",
                      [](const auto& p) { return p.loss.value_or(std::nan("")); })),
          line(series(curve, "base alone", [&](const auto&) { return *curve.base_loss; }))}});
  }
  const Cells cells = cells_of(curve);
  std::vector<Column> columns;
  for (const std::string& title : cells.titles) columns.push_back({title, true});
  std::vector<std::vector<std::string>> rows;
  for (const auto& row : cells.rows) {
    rows.emplace_back();
    for (const std::string& cell : row) rows.back().push_back(escape_html(cell));
  }
  const std::string title = escape_html(curve.title);
  return "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
         "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
         "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
         "'unsafe-inline'; img-src data:\">\n<link rel=\"icon\" href=\"data:,\">\n<title>" +
         title + "</title>\n<style>" + std::string(kPageStyle) +
         "</style>\n</head>\n<body>\n<main>\n<h1>" + title + "</h1>\n<div class=\"charts\">" +
         charts + "</div>\n" + html_table(columns, rows) + "</main>\n</body>\n</html>\n";
}

}  // namespace smidgen
