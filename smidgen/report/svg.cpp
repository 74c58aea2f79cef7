#include "smidgen/report/svg.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "smidgen/base/str.h"
#include "smidgen/report/html.h"

namespace smidgen {

namespace {

constexpr int kColours = 4;         // --c1 .. --c4 of the page; a fifth line starts again
constexpr double kFigure = 6.4;     // width of one character at 11 px, for margins only
constexpr size_t kHitColumns = 80;  // strips that carry a tooltip

struct Drawn {
  std::string name;
  int colour = 1;
  std::vector<Bucket> raw;
  std::vector<Point> smooth;  // empty: the raw curve is the curve
  bool markers = false;
  Point end;
};

struct Axis {
  double low = 0, high = 1, from = 0, to = 1;
  bool log = false;

  double operator()(double value) const {
    const double l = log ? std::log10(low) : low / 2, h = log ? std::log10(high) : high / 2;
    const double v = log ? std::log10(value) : value / 2;
    return from + (to - from) * ((v - l) / (h - l));
  }
};

std::string px(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", value);
  return text;
}

// Labels of one axis with equally many decimals, so that the points stand below each other.
std::vector<std::string> tick_labels(const std::vector<double>& ticks) {
  const auto decimals_of = [](const std::string& label) {
    const size_t dot = label.find('.');
    return dot == std::string::npos ? 0 : label.size() - dot - 1;
  };
  std::vector<std::string> labels;
  size_t decimals = 0;
  bool plain = true;  // no unit and no exponent
  for (const double tick : ticks) {
    labels.push_back(format_number(tick));
    decimals = std::max(decimals, decimals_of(labels.back()));
    plain = plain && labels.back().find_first_not_of("-0123456789.") == std::string::npos;
  }
  for (std::string& label : labels) {
    const size_t missing = decimals - decimals_of(label);
    if (!plain || missing == 0 || label == "0") continue;
    if (missing == decimals) label += '.';
    label.append(missing, '0');
  }
  return labels;
}

// A name in the legend: 24 bytes at most, cut at a character.
std::string short_name(const std::string& name) {
  if (name.size() <= 24) return name;
  size_t end = 23;
  while (end > 0 && (static_cast<unsigned char>(name[end]) & 0xC0) == 0x80) --end;
  return name.substr(0, end) + "\u2026";
}

// At least one unit in the last digit that a double has, so that a constant curve gets a scale too.
void widen(double& low, double& high, double part) {
  double pad = (high / 2 - low / 2) * 2 * part;
  if (!(pad > 0)) pad = std::max(std::abs(high) * 0.1, 1e-12);
  low = std::max(low - pad, -1e308);
  high = std::min(high + pad, 1e308);
}

class Painter {
 public:
  explicit Painter(const Chart& chart) : chart_(chart) {}

  std::string paint() {
    gather();
    out_ = str("<svg class=\"chart\" viewBox=\"0 0 ", chart_.width, " ", chart_.height,
               "\" role=\"img\">\n<title>", escape_html(chart_.title), "</title>\n");
    if (drawn_.empty()) {
      text(chart_.width / 2.0, chart_.height / 2.0, "no data", "middle", "muted");
    } else {
      scale();
      grid();
      for (const Drawn& line : drawn_) band(line);
      for (const Drawn& line : drawn_) curve(line);
      gaps();
      end_labels();
      if (chart_.lines.size() > 1) legend();
      tooltips();
    }
    return out_ + "</svg>\n";
  }

 private:
  void gather() {
    int colour = 0;
    for (const ChartLine& line : chart_.lines) {
      colour = colour % kColours + 1;
      Point end;
      if (!last_finite(line.series.points, end)) continue;
      Drawn drawn{short_name(line.series.name),
                  colour,
                  decimate(line.series.points, most()),
                  {},
                  line.markers,
                  end};
      if (line.smooth && line.series.points.size() >= 8) {
        // A twentieth of the run, but never so little that two steps beside each other decide.
        const size_t window = std::max<size_t>(5, line.series.points.size() / 20) | 1;
        for (const Bucket& b : decimate(moving_average(line.series.points, window), most())) {
          drawn.smooth.push_back({b.x, b.count ? b.mean : NAN});
        }
        last_finite(drawn.smooth, drawn.end);
      }
      drawn_.push_back(std::move(drawn));
    }
  }

  size_t most() const { return static_cast<size_t>(chart_.width) * 2 / 3; }

  void scale() {
    double x_low = INFINITY, x_high = -INFINITY, y_low = INFINITY, y_high = -INFINITY;
    for (const ChartLine& line : chart_.lines) {
      for (const Point& p : line.series.points) {
        if (!std::isfinite(p.x)) continue;
        x_low = std::min(x_low, p.x);
        x_high = std::max(x_high, p.x);
      }
    }
    for (const Drawn& line : drawn_) {
      for (const Bucket& b : line.raw) {
        if (b.count == 0) continue;
        y_low = std::min(y_low, b.low);
        y_high = std::max(y_high, b.high);
      }
    }
    y_.log = chart_.log_y && y_low > 0;
    if (y_.log) {
      const double ratio = y_high > y_low ? std::pow(y_high / y_low, 0.05) : 1.5;
      y_low /= ratio;
      y_high *= ratio;
    } else if (chart_.y_from_zero && y_low >= 0) {
      y_low = 0;
      y_high = y_high > 0 ? y_high * 1.08 : 1;
    } else {
      widen(y_low, y_high, 0.06);
    }
    if (!(x_high > x_low)) widen(x_low, x_high, 0);
    x_.low = x_low, x_.high = x_high, y_.low = y_low, y_.high = y_high;
    y_ticks_ = y_.log ? log_ticks(y_low, y_high) : nice_ticks(y_low, y_high, chart_.height / 55);
    double left = 0, right = 0;
    y_labels_ = tick_labels(y_ticks_);
    for (const std::string& label : y_labels_)
      left = std::max(left, kFigure * static_cast<double>(label.size()));
    for (const Drawn& line : drawn_) {
      right = std::max(right, kFigure * static_cast<double>(format_number(line.end.y).size()));
    }
    x_.from = left + 12, x_.to = chart_.width - right - 14;
    y_.from = chart_.height - 38, y_.to = 30;
    x_ticks_ = nice_ticks(x_low, x_high, std::max(2, chart_.width / 90));
  }

  void text(double x, double y, const std::string& content, const char* anchor,
            const std::string& css) {
    out_ += str("<text x=\"", px(x), "\" y=\"", px(y), "\" text-anchor=\"", anchor, "\" class=\"",
                css, "\">", escape_html(content), "</text>\n");
  }

  void grid() {
    std::string path;
    for (size_t i = 0; i < y_ticks_.size(); ++i) {
      const double y = y_(y_ticks_[i]);
      path += str("M", px(x_.from), " ", px(y), "H", px(x_.to));
      text(x_.from - 6, y + 3.8, y_labels_[i], "end", "tick");
    }
    out_ += "<path class=\"grid\" d=\"" + path + "\"/>\n";
    path = str("M", px(x_.from), " ", px(y_.from), "H", px(x_.to));
    for (const double tick : x_ticks_) {
      path += str("M", px(x_(tick)), " ", px(y_.from), "v4");
      text(x_(tick), y_.from + 17, format_number(tick), "middle", "tick");
    }
    out_ += "<path class=\"axis\" d=\"" + path + "\"/>\n";
    text((x_.from + x_.to) / 2, chart_.height - 5, chart_.x_label, "middle", "muted");
    text(0, 14, chart_.y_label, "start", "muted");
  }

  // The range that one column of pixels hides.
  void band(const Drawn& line) {
    std::string upper, lower;
    const auto flush = [&] {
      if (!upper.empty()) {
        out_ +=
            str("<path class=\"band c", line.colour, "\" d=\"M", upper.substr(1), lower, "Z\"/>\n");
      }
      upper.clear();
      lower.clear();
    };
    const bool any =
        std::any_of(line.raw.begin(), line.raw.end(), [](const Bucket& b) { return b.count > 1; });
    if (!any) return;
    for (const Bucket& b : line.raw) {
      if (b.count == 0) {
        flush();
        continue;
      }
      upper += str("L", px(x_(b.x)), " ", px(y_(b.high)));
      lower = str("L", px(x_(b.x)), " ", px(y_(b.low)), lower);
    }
    flush();
  }

  // A polyline that breaks at gaps; a point between two gaps is a dot.
  void stroke(const std::vector<Point>& points, const std::string& css) {
    std::string path;
    for (size_t i = 0; i < points.size(); ++i) {
      if (!std::isfinite(points[i].y)) continue;
      const bool joined = i > 0 && std::isfinite(points[i - 1].y);
      const bool alone = !joined && (i + 1 == points.size() || !std::isfinite(points[i + 1].y));
      path +=
          str(joined ? "L" : "M", px(x_(points[i].x)), " ", px(y_(points[i].y)), alone ? "h0" : "");
    }
    out_ += str("<path class=\"", css, "\" d=\"", path, "\"/>\n");
  }

  void curve(const Drawn& line) {
    std::vector<Point> raw;
    for (const Bucket& b : line.raw) raw.push_back({b.x, b.count ? b.mean : NAN});
    stroke(raw, str(line.smooth.empty() ? "line c" : "faint c", line.colour));
    if (!line.smooth.empty()) stroke(line.smooth, str("line c", line.colour));
    if (!line.markers) return;
    for (const Point& p : raw) {
      if (!std::isfinite(p.y)) continue;
      out_ += str("<circle class=\"dot c", line.colour, "\" cx=\"", px(x_(p.x)), "\" cy=\"",
                  px(y_(p.y)), "\" r=\"3\"/>\n");
    }
  }

  void gaps() {
    std::string path;
    for (const Drawn& line : drawn_) {
      for (const Bucket& b : line.raw) {
        if (b.count == 0) path += str("M", px(x_(b.x) - 3), " ", px(y_.from - 7), "l6 6m0 -6l-6 6");
      }
    }
    if (path.empty()) return;
    out_ +=
        "<path class=\"gap\" d=\"" + path + "\"><title>not a finite number here</title></path>\n";
  }

  void end_labels() {
    std::vector<std::pair<double, const Drawn*>> labels;
    for (const Drawn& line : drawn_) labels.emplace_back(y_(line.end.y), &line);
    std::stable_sort(labels.begin(), labels.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    for (size_t i = 1; i < labels.size(); ++i)
      labels[i].first = std::max(labels[i].first, labels[i - 1].first + 13);
    // What was pushed below the plot moves the others up again.
    double limit = y_.from + 4;
    for (size_t i = labels.size(); i-- > 0; limit = labels[i].first - 13)
      labels[i].first = std::min(labels[i].first, limit);
    for (const auto& [y, line] : labels) {
      text(x_.to + 6, y + 3.8, format_number(line->end.y), "start", str("end c", line->colour));
    }
  }

  void legend() {
    double x = x_.to;
    for (auto line = drawn_.rbegin(); line != drawn_.rend(); ++line) {
      text(x, 14, line->name, "end", "name");
      x -= kFigure * static_cast<double>(line->name.size()) + 6;
      out_ += str("<path class=\"line c", line->colour, "\" d=\"M", px(x - 14), " 10h14\"/>\n");
      x -= 30;
    }
  }

  // Without a script the browser's own tooltip tells the values: invisible strips with a <title>.
  void tooltips() {
    struct Strip {
      double x = 0;
      size_t count = 0;
      std::vector<Bucket> values;
    };
    std::vector<Strip> strips(kHitColumns);
    for (size_t k = 0; k < drawn_.size(); ++k) {
      for (const Bucket& b : drawn_[k].raw) {
        const double at = (x_(b.x) - x_.from) / (x_.to - x_.from) * kHitColumns;
        Strip& strip = strips[std::min(kHitColumns - 1, static_cast<size_t>(std::max(0.0, at)))];
        strip.values.resize(drawn_.size());
        strip.x += (b.x - strip.x) / static_cast<double>(++strip.count);
        if (strip.values[k].count == 0) strip.values[k] = b;
      }
    }
    std::erase_if(strips, [](const Strip& s) { return s.count == 0; });
    out_ += "<g class=\"hits\">\n";
    for (size_t i = 0; i < strips.size(); ++i) {
      const double left = i ? x_((strips[i - 1].x + strips[i].x) / 2) : x_.from;
      const double right = i + 1 < strips.size() ? x_((strips[i].x + strips[i + 1].x) / 2) : x_.to;
      std::string label;
      for (size_t k = 0; k < drawn_.size(); ++k) {
        const Bucket& b = strips[i].values[k];
        if (b.count) label += str("\n", drawn_[k].name, " ", format_number(b.mean, 5));
      }
      out_ +=
          str("<rect x=\"", px(left), "\" y=\"", px(y_.to), "\" width=\"",
              px(std::max(0.0, right - left)), "\" height=\"", px(y_.from - y_.to), "\"><title>",
              escape_html(str(chart_.x_label, " ", format_number(strips[i].x, 6), label)),
              "</title></rect>\n");
    }
    out_ += "</g>\n";
  }

  const Chart& chart_;
  std::vector<Drawn> drawn_;
  Axis x_, y_;
  std::vector<double> x_ticks_, y_ticks_;
  std::vector<std::string> y_labels_;
  std::string out_;
};

}  // namespace

std::string line_chart(const Chart& chart) {
  return Painter(chart).paint();
}

}  // namespace smidgen
