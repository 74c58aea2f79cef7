#include "smidgen/nn/stop_text.h"

#include <algorithm>
#include <utility>

#include "smidgen/base/error.h"

namespace smidgen {

StopText::StopText(std::vector<std::string> stops) : stops_(std::move(stops)) {
  for (const std::string& stop : stops_) {
    if (stop.empty())
      throw Error(ErrorKind::usage, "an empty stop string would end every text at once", "stop");
  }
}

std::string StopText::push(std::string_view piece) {
  if (stopped_) return {};
  held_ += piece;
  size_t first = std::string::npos;
  for (const std::string& stop : stops_) first = std::min(first, held_.find(stop));
  if (first != std::string::npos) {
    stopped_ = true;
    held_.resize(first);
    return std::exchange(held_, {});
  }
  // The longest end of the text that begins a stop string must wait.
  size_t wait = 0;
  for (const std::string& stop : stops_) {
    for (size_t n = std::min(stop.size() - 1, held_.size()); n > wait; --n) {
      if (held_.ends_with(std::string_view(stop).substr(0, n))) wait = n;
    }
  }
  std::string out = held_.substr(0, held_.size() - wait);
  held_.erase(0, out.size());
  return out;
}

std::string StopText::flush() {
  return std::exchange(held_, {});
}

}  // namespace smidgen
