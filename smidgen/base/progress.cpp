#include "smidgen/base/progress.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "smidgen/base/str.h"

namespace smidgen {
namespace {

constexpr double kTerminalEvery = 0.1, kPlainEvery = 5.0;  // seconds between reports
constexpr int64_t kBar = 20;

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::string fixed(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

// Cuts to `width` columns without splitting a UTF-8 sequence; one column per code point.
std::string fit(const std::string& text, int width) {
  int columns = 0;
  size_t end = 0;
  while (end < text.size()) {
    size_t next = end + 1;
    while (next < text.size() && (static_cast<unsigned char>(text[next]) & 0xC0) == 0x80) ++next;
    if (++columns > width) break;
    end = next;
  }
  return text.substr(0, end);
}

}  // namespace

Progress::Progress(std::string title, int64_t total, int64_t done, Console& console, Clock clock)
    : title_(std::move(title)),
      total_(std::max<int64_t>(total, 0)),
      first_(done),
      done_(done),
      console_(console),
      clock_(clock ? std::move(clock) : steady_seconds),
      start_(clock_()),
      now_(start_) {}

Progress::~Progress() {
  console_.live("");
}

double Progress::eta() const {
  const double steps = static_cast<double>(done_ - first_);
  if (total_ == 0 || steps <= 0) return -1;
  return (now_ - start_) / steps * static_cast<double>(std::max<int64_t>(total_ - done_, 0));
}

void Progress::update(int64_t done, std::vector<ProgressField> fields) {
  done_ = done;
  fields_ = std::move(fields);
  now_ = clock_();
  const ConsoleMode& mode = console_.mode();
  const double every = mode.json ? 0 : mode.terminal ? kTerminalEvery : kPlainEvery;
  if (now_ - shown_ >= every) show(false);
}

void Progress::finish() {
  if (finished_) return;
  finished_ = true;
  now_ = clock_();
  show(true);
}

void Progress::show(bool last) {
  shown_ = now_;
  const ConsoleMode& mode = console_.mode();
  if (mode.quiet) return;
  const double left = eta();
  if (mode.json) {
    Json event = {{"event", last ? "done" : "progress"}, {"task", title_}, {"done", done_}};
    if (total_ > 0) event["total"] = total_;
    for (const ProgressField& field : fields_) event[field.name] = field.value;
    event["elapsed_s"] = std::round((now_ - start_) * 1000) / 1000;
    if (left >= 0) event["eta_s"] = std::round(left * 1000) / 1000;
    console_.print(event.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
    return;
  }
  std::string text = title_ + " ";
  if (mode.terminal && total_ > 0) {
    const int64_t full = std::clamp<int64_t>(done_ * kBar / total_, 0, kBar);
    text += "[" + std::string(static_cast<size_t>(full), '#') +
            std::string(static_cast<size_t>(kBar - full), '.') + "] ";
  }
  text += total_ > 0 ? str(done_, "/", total_) : str(done_);
  for (const ProgressField& field : fields_) {
    text += "  " + (field.shown.empty() ? str(field.name, " ", field.value.dump()) : field.shown);
  }
  if (last) {
    text += "  in " + duration_text(now_ - start_);
  } else if (left >= 0) {
    text += "  ETA " + duration_text(left);
  }
  if (!mode.terminal) {
    console_.line(text);
  } else if (last) {
    console_.live("");
    console_.line(text);
  } else {
    console_.live(fit(text, console_.width() - 1));
  }
}

std::string duration_text(double seconds) {
  if (!(seconds >= 0) || seconds > 1e9) return "?";
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  char text[64];
  if (whole >= 3600) {
    std::snprintf(text, sizeof text, "%lld:%02lld:%02lld", static_cast<long long>(whole / 3600),
                  static_cast<long long>(whole / 60 % 60), static_cast<long long>(whole % 60));
  } else {
    std::snprintf(text, sizeof text, "%lld:%02lld", static_cast<long long>(whole / 60),
                  static_cast<long long>(whole % 60));
  }
  return text;
}

std::string bytes_text(int64_t bytes) {
  double value = static_cast<double>(bytes);
  for (const char* unit : {"B", "kB", "MB", "GB", "TB"}) {
    const bool fits = std::fabs(value) < 999.5 || unit[0] == 'T';
    if (fits) {
      const int digits = unit[0] == 'B' || std::fabs(value) >= 99.95 ? 0
                         : std::fabs(value) >= 9.995                 ? 1
                                                                     : 2;
      return str(fixed(value, digits), " ", unit);
    }
    value /= 1000;
  }
  return "";
}

std::string count_text(double count) {
  if (!std::isfinite(count)) return "?";
  for (const char* unit : {"", "k", "M", "G"}) {
    if (std::fabs(count) < 999.5 || unit[0] == 'G') {
      const bool whole = unit[0] == '\0' && count == std::floor(count);
      return fixed(count, whole || std::fabs(count) >= 99.95 ? 0 : 1) + unit;
    }
    count /= 1000;
  }
  return "";
}

}  // namespace smidgen
