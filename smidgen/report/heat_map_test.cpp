#include "smidgen/report/heat_map.h"

#include <cmath>

#include <gtest/gtest.h>

namespace smidgen {
namespace {

size_t occurrences(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size()))
    ++count;
  return count;
}

TEST(HeatMapFigure, HasACellForEveryNumber) {
  const std::string svg = heat_map(
      {.title = "t", .rows = {"0", "1"}, .columns = {"q", "v"}, .values = {{0, 0.5}, {NAN, 7}}});
  EXPECT_EQ(occurrences(svg, "<title>0\nq: 0</title>"), 1u);
  EXPECT_EQ(occurrences(svg, "<title>0\nv: 0.5</title>"), 1u);
  EXPECT_EQ(occurrences(svg, "<title>1\nv: 7</title>"), 1u);
  EXPECT_EQ(occurrences(svg, "<rect"), 3u + 20u);                // and the steps of the scale
  EXPECT_NE(svg.find("fill-opacity:0.530"), std::string::npos);  // half of the scale
  EXPECT_EQ(svg.find("nan"), std::string::npos);
}

TEST(HeatMapFigure, EscapesNames) {
  const std::string svg =
      heat_map({.title = "<b>", .rows = {"<i>"}, .columns = {"&"}, .values = {{1}}});
  EXPECT_EQ(svg.find("<b>"), std::string::npos);
  EXPECT_EQ(svg.find("<i>"), std::string::npos);
  EXPECT_NE(svg.find("&lt;i&gt;"), std::string::npos);
}

}  // namespace
}  // namespace smidgen
