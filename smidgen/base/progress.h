// Progress of a long loop. On a terminal one live line, elsewhere a plain line every few seconds,
// with --json one JSON line per report on stdout, with --quiet nothing.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "smidgen/base/console.h"
#include "smidgen/base/json.h"

namespace smidgen {

// One figure beside the bar: `shown` for people ("1,234 tok/s"), `value` for --json under `name`.
struct ProgressField {
  std::string name;
  Json value;
  std::string shown;
};

class Progress {
 public:
  using Clock = std::function<double()>;  // seconds, monotonic

  // `total` steps, of which `done` were done before this process (a resumed run). 0 when the total
  // is not known.
  Progress(std::string title, int64_t total, int64_t done = 0,
           Console& console = smidgen::console(), Clock clock = {});
  ~Progress();  // takes the live line away
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void update(int64_t done, std::vector<ProgressField> fields = {});
  // The last state as a line that stays.
  void finish();
  // Seconds to go by the pace of this process, or negative when unknown.
  double eta() const;

 private:
  void show(bool last);

  std::string title_;
  int64_t total_, first_, done_;
  Console& console_;
  Clock clock_;
  double start_, now_, shown_ = -1e30;
  bool finished_ = false;
  std::vector<ProgressField> fields_;
};

std::string duration_text(double seconds);  // 75 -> "1:15", 3700 -> "1:01:40"
std::string bytes_text(int64_t bytes);      // 1536000000 -> "1.54 GB"
std::string count_text(double count);       // 12345 -> "12.3k"

}  // namespace smidgen
