// Curves before they are drawn: what a run logged, reduced to what a picture can show.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace smidgen {

struct Point {
  double x = 0, y = 0;
};

// Points in the order of x. A y that is NaN or infinite is a gap: it is counted, never drawn as a
// number.
struct Series {
  std::string name;
  std::vector<Point> points;
};

// What remains of neighbouring points that share one pixel column.
struct Bucket {
  double x = 0;              // mean x
  double low = 0, high = 0;  // extremes, so that one spike in 100k points still shows
  double mean = 0;
  size_t count = 0;  // finite points; 0 marks a gap
};

// At most `most` buckets of equal width in x; with no more points than that, one bucket per point.
// Points that are not finite are dropped, and a bucket that held only such points stays as a gap
// (count 0).
std::vector<Bucket> decimate(const std::vector<Point>& points, size_t most);

// Mean over the `window` points around each, cut off at both ends (the last value is the mean of
// the last half window, not one noisy step). Non-finite points stay gaps and enter no mean.
std::vector<Point> moving_average(const std::vector<Point>& points, size_t window);

// Last finite point; false when there is none.
bool last_finite(const std::vector<Point>& points, Point& out);

size_t count_not_finite(const std::vector<Point>& points);

}  // namespace smidgen
