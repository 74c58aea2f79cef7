#include "smidgen/report/series.h"

#include <algorithm>
#include <cmath>

namespace smidgen {

namespace {

bool finite(const Point& point) {
  return std::isfinite(point.x) && std::isfinite(point.y);
}

void add(Bucket& bucket, const Point& point) {
  if (bucket.count == 0) {
    bucket = {0, point.y, point.y, 0, 0};
  }
  bucket.low = std::min(bucket.low, point.y);
  bucket.high = std::max(bucket.high, point.y);
  ++bucket.count;
  // Running means: a sum of 1e308 twice would overflow.
  const double weight = 1.0 / static_cast<double>(bucket.count);
  bucket.x += (point.x - bucket.x) * weight;
  bucket.mean += point.y * weight - bucket.mean * weight;
}

}  // namespace

std::vector<Bucket> decimate(const std::vector<Point>& points, size_t most) {
  std::vector<Bucket> buckets;
  if (most == 0) return buckets;
  double first = INFINITY, last = -INFINITY;
  size_t usable = 0;
  for (const Point& point : points) {
    if (!std::isfinite(point.x)) continue;
    first = std::min(first, point.x);
    last = std::max(last, point.x);
    ++usable;
  }
  if (usable == 0) return buckets;
  if (usable <= most || !(last > first)) {
    for (const Point& point : points) {
      if (!std::isfinite(point.x)) continue;
      Bucket bucket;
      bucket.x = point.x;
      if (finite(point)) add(bucket, point);
      buckets.push_back(bucket);
    }
    return buckets;
  }
  buckets.resize(most);
  std::vector<bool> touched(most, false);
  const double scale = static_cast<double>(most) / (last - first);
  for (const Point& point : points) {
    if (!std::isfinite(point.x)) continue;
    const size_t i = std::min(most - 1, static_cast<size_t>((point.x - first) * scale));
    touched[i] = true;
    if (finite(point)) {
      add(buckets[i], point);
    } else if (buckets[i].count == 0) {
      buckets[i].x = point.x;
    }
  }
  // A bucket between two logged steps is empty because nothing was logged there, which is no gap.
  std::vector<Bucket> kept;
  for (size_t i = 0; i < most; ++i) {
    if (touched[i]) kept.push_back(buckets[i]);
  }
  return kept;
}

std::vector<Point> moving_average(const std::vector<Point>& points, size_t window) {
  const size_t n = points.size(), reach = window / 2;
  // Prefix sums around the first finite value, so that a large offset costs no digits.
  double offset = 0;
  for (const Point& point : points) {
    if (finite(point)) {
      offset = point.y;
      break;
    }
  }
  std::vector<double> sums(n + 1, 0);
  std::vector<size_t> counts(n + 1, 0);
  for (size_t i = 0; i < n; ++i) {
    const bool ok = finite(points[i]);
    sums[i + 1] = sums[i] + (ok ? points[i].y - offset : 0);
    counts[i + 1] = counts[i] + (ok ? 1 : 0);
  }
  std::vector<Point> smooth = points;
  for (size_t i = 0; i < n; ++i) {
    if (!finite(points[i])) continue;
    const size_t from = i - std::min(i, reach), to = std::min(n, i + reach + 1);
    smooth[i].y = offset + (sums[to] - sums[from]) / static_cast<double>(counts[to] - counts[from]);
  }
  return smooth;
}

bool last_finite(const std::vector<Point>& points, Point& out) {
  for (auto it = points.rbegin(); it != points.rend(); ++it) {
    if (finite(*it)) {
      out = *it;
      return true;
    }
  }
  return false;
}

size_t count_not_finite(const std::vector<Point>& points) {
  return static_cast<size_t>(
      std::count_if(points.begin(), points.end(), [](const Point& p) { return !finite(p); }));
}

}  // namespace smidgen
