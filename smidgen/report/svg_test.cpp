#include "smidgen/report/svg.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

namespace smidgen {
namespace {

using Numbers = std::vector<double>;

size_t occurrences(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size()))
    ++count;
  return count;
}

Chart chart_of(std::vector<Point> points) {
  return {.title = "t", .x_label = "step", .y_label = "y", .lines = {{{"a", std::move(points)}}}};
}

TEST(Ticks, AreRound) {
  EXPECT_EQ(nice_ticks(0, 10, 5), (Numbers{0, 2, 4, 6, 8, 10}));
  EXPECT_EQ(nice_ticks(0, 1, 10), (Numbers{0, .1, .2, .3, .4, .5, .6, .7, .8, .9, 1}));
  EXPECT_EQ(nice_ticks(-1.3, 1.3, 5), (Numbers{-1, -.5, 0, .5, 1}));
  EXPECT_EQ(nice_ticks(1, 300, 3), (Numbers{100, 200, 300}));
  EXPECT_EQ(nice_ticks(2e-5, 2e-4, 4), (Numbers{5e-5, 1e-4, 1.5e-4, 2e-4}));
  EXPECT_EQ(nice_ticks(3, 3, 4), (Numbers{3}));
}

TEST(Ticks, SurviveTheEndsOfTheRange) {
  const double most = std::numeric_limits<double>::max(),
               least = std::numeric_limits<double>::denorm_min();
  for (const auto& [low, high] :
       std::vector<std::pair<double, double>>{{-most, most},
                                              {0, least},
                                              {least, 2 * least},
                                              {1e17, 1e17 + 64},
                                              {-most, -most},
                                              {1, std::nextafter(1, 2)}}) {
    for (const int wanted : {1, 4, 10}) {
      const Numbers ticks = nice_ticks(low, high, wanted);
      EXPECT_GE(ticks.size(), 1u);
      EXPECT_LE(ticks.size(), 40u);
      for (const double tick : ticks) EXPECT_TRUE(std::isfinite(tick));
    }
  }
}

TEST(Ticks, OfALogarithmicScale) {
  EXPECT_EQ(log_ticks(0.5, 2000), (Numbers{1, 10, 100, 1000}));
  EXPECT_EQ(log_ticks(1, 20), (Numbers{1, 2, 5, 10, 20}));
  EXPECT_EQ(log_ticks(2.2, 2.9), nice_ticks(2.2, 2.9, 4));
  EXPECT_LE(log_ticks(1e-300, 1e300).size(), 8u);
}

TEST(Numbers, AreShort) {
  for (const auto& [value, text] :
       std::vector<std::pair<double, std::string>>{{0, "0"},
                                                   {1.25, "1.25"},
                                                   {0.0002, "2e-4"},
                                                   {1.5e-7, "1.5e-7"},
                                                   {15000, "15k"},
                                                   {999960, "1M"},
                                                   {999900, "999.9k"},
                                                   {-2.5e6, "-2.5M"},
                                                   {1234, "1234"},
                                                   {0.5, "0.5"},
                                                   {1e18, "1e18"},
                                                   {NAN, "not finite"},
                                                   {-INFINITY, "not finite"}}) {
    EXPECT_EQ(format_number(value), text);
  }
  EXPECT_EQ(format_number(999960, 3), "1M");
}

TEST(Decimate, KeepsFewPointsAsTheyAre) {
  const auto buckets = decimate({{1, 5}, {2, NAN}, {4, 7}}, 10);
  ASSERT_EQ(buckets.size(), 3u);
  EXPECT_EQ(buckets[0].mean, 5);
  EXPECT_EQ(buckets[1].count, 0u);
  EXPECT_EQ(buckets[2].x, 4);
}

TEST(Decimate, KeepsOneSpikeInAHundredThousand) {
  std::vector<Point> points;
  for (int i = 0; i < 100000; ++i)
    points.push_back({double(i), i == 54321 ? 900.0 : 1.0 + (i % 2)});
  const auto buckets = decimate(points, 300);
  ASSERT_EQ(buckets.size(), 300u);
  double high = 0;
  size_t count = 0;
  for (const Bucket& b : buckets) {
    high = std::max(high, b.high);
    count += b.count;
    EXPECT_EQ(b.low, 1);
  }
  EXPECT_EQ(high, 900);
  EXPECT_EQ(count, 100000u);
  EXPECT_NEAR(buckets[10].mean, 1.5, 0.01);
  EXPECT_NEAR(buckets[10].x, 100000.0 / 300 * 10.5, 1.0);
  Chart chart = chart_of(points);
  chart.lines[0].smooth = true;
  EXPECT_LT(line_chart(chart).size(), 60000u);
}

TEST(MovingAverage, KeepsALineInsideAndAveragesNoise) {
  std::vector<Point> line, noise;
  for (int i = 0; i < 50; ++i) {
    line.push_back({double(i), 3.0 * i + 1e6});
    noise.push_back({double(i), i % 2 ? 1.0 : -1.0});
  }
  const auto same = moving_average(line, 9);
  for (int i = 4; i < 46; ++i) EXPECT_NEAR(same[i].y, line[i].y, 1e-6);
  EXPECT_NEAR(same[49].y, line[47].y, 1e-6);  // mean of 45 .. 49
  const auto calm = moving_average(noise, 9);
  for (int i = 4; i < 46; ++i) EXPECT_NEAR(std::abs(calm[i].y), 1.0 / 9, 1e-12);
  const auto holes = moving_average({{0, 1}, {1, NAN}, {2, 3}, {3, INFINITY}, {4, 5}}, 5);
  EXPECT_TRUE(std::isnan(holes[1].y));
  EXPECT_EQ(holes[2].y, 3);  // mean of 1, 3 and 5
  EXPECT_EQ(holes[4].y, 4);  // mean of 3 and 5
}

TEST(Chart, PlacesPointsByHand) {
  // Width 460, height 270: the plot runs from y 232 (low) to 30 (high), padded by 6 % of the range
  // on both sides.
  const std::string svg = line_chart(chart_of({{0, 0}, {10, 10}}));
  const double low = 232 - 202 * (0.6 / 11.2), high = 232 - 202 * (10.6 / 11.2);
  char left[32], right[32];
  std::snprintf(left, sizeof left, " %.1fL", low);
  std::snprintf(right, sizeof right, " %.1f\"/>", high);
  EXPECT_NE(svg.find(left), std::string::npos) << svg;
  EXPECT_NE(svg.find(right), std::string::npos) << svg;
  EXPECT_EQ(
      svg.rfind("<svg class=\"chart\" viewBox=\"0 0 460 270\" role=\"img\">\n<title>t</title>", 0),
      0u);
  EXPECT_NE(svg.find("class=\"end c1\">10</text>"), std::string::npos);
  EXPECT_NE(svg.find("<title>step 10\na 10</title>"), std::string::npos);
}

TEST(Chart, ReachesTheLastStepOfALongRun) {
  std::vector<Point> points;
  for (int i = 1; i <= 3000; ++i) points.push_back({double(i), 1});
  EXPECT_NE(line_chart(chart_of(points)).find(">3000</text>"), std::string::npos);
}

TEST(Chart, TicksShareTheirDecimals) {
  const std::string svg = line_chart(chart_of({{0, 1.4}, {1, 2.2}}));
  EXPECT_NE(svg.find(">2.0</text>"), std::string::npos) << svg;
  EXPECT_NE(svg.find("class=\"end c1\">2.2</text>"), std::string::npos);
}

TEST(Chart, LogarithmicScaleSpacesFactorsEqually) {
  Chart chart = chart_of({{0, 1}, {1, 10}, {2, 100}});
  chart.log_y = true;
  const std::string svg = line_chart(chart);
  // Middle of 1..100 is 10: half of 232..30.
  EXPECT_NE(svg.find(" 131.0L"), std::string::npos) << svg;
  chart.lines[0].series.points[0].y = 0;  // no logarithm of zero: linear
  EXPECT_EQ(line_chart(chart).find(" 131.0L"), std::string::npos);
}

TEST(Chart, BreaksAtWhatIsNotFinite) {
  const std::string svg =
      line_chart(chart_of({{1, 1}, {2, 2}, {3, NAN}, {4, 3}, {5, INFINITY}, {6, 4}, {7, 4}}));
  EXPECT_EQ(svg.find("nan"), std::string::npos);
  EXPECT_EQ(svg.find("inf\""), std::string::npos);
  EXPECT_NE(svg.find("not a finite number here"), std::string::npos);
  EXPECT_EQ(occurrences(svg, "h0"), 1u);  // the point at x = 4 stands alone
}

TEST(Chart, DrawsNothingAndAlmostNothing) {
  for (const auto& points : std::vector<std::vector<Point>>{{}, {{1, NAN}}, {{NAN, 1}}}) {
    EXPECT_NE(line_chart(chart_of(points)).find("no data"), std::string::npos);
  }
  for (const double y : {0.0, 1.0, -3e-300, 1e308, -1e308, 5e-324}) {
    const std::string svg = line_chart(chart_of({{1, y}}));
    EXPECT_EQ(svg.find("nan"), std::string::npos) << y;
    EXPECT_EQ(svg.find("no data"), std::string::npos) << y;
  }
  const std::string wide = line_chart(chart_of({{1, -1.7e308}, {2, 1.7e308}}));
  EXPECT_EQ(wide.find("nan"), std::string::npos);
}

TEST(Chart, LabelsDoNotCollide) {
  Chart chart{
      .title = "t",
      .lines = {
          {{"a", {{0, 1}, {1, 2.00}}}}, {{"b", {{0, 1}, {1, 2.01}}}}, {{"<c>", {{0, 1}, {1, 9}}}}}};
  const std::string svg = line_chart(chart);
  std::vector<double> heights;
  for (size_t at = svg.find("class=\"end"); at != std::string::npos;
       at = svg.find("class=\"end", at + 1)) {
    heights.push_back(std::stod(svg.substr(svg.rfind("y=\"", at) + 3)));
  }
  ASSERT_EQ(heights.size(), 3u);
  for (size_t i = 1; i < heights.size(); ++i) EXPECT_GE(heights[i] - heights[i - 1], 12.9);
  EXPECT_NE(svg.find(">&lt;c&gt;</text>"), std::string::npos);
}

}  // namespace
}  // namespace smidgen
