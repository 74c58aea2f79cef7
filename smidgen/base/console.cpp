#include "smidgen/base/console.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <unistd.h>

#include <sys/ioctl.h>

#include "smidgen/base/error.h"

namespace smidgen {
namespace {

constexpr const char *kYellow = "\033[33m", *kCyan = "\033[36m", *kPlain = "\033[0m";

// 0, or the errno that stopped it.
int write_all(int file, std::string_view text) {
  while (!text.empty()) {
    const ssize_t count = ::write(file, text.data(), text.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return errno;
    text.remove_prefix(static_cast<size_t>(count));
  }
  return 0;
}

}  // namespace

ConsoleMode detect_console(bool json, bool quiet) {
  const auto set = [](const char* name) {
    const char* value = std::getenv(name);
    return value && *value;
  };
  const char* term = std::getenv("TERM");
  const bool dumb = term && std::strcmp(term, "dumb") == 0;
  const bool terminal = ::isatty(2) == 1 && !dumb;
  return {json, quiet, terminal, terminal && !set("NO_COLOR")};
}

void Console::print(std::string_view text) {
  const std::lock_guard lock(mutex_);
  if (closed_) return;
  if (!live_.empty()) error_write("\r\033[K");
  const int code = write_all(out_, text);
  if (!live_.empty()) error_write(live_);
  if (code == EPIPE || code == EBADF) {
    closed_ = true;
  } else if (code != 0) {
    closed_ = true;
    throw Error(ErrorKind::resource, str("cannot write to standard output: ", std::strerror(code)));
  }
}

void Console::note(std::string_view text) {
  if (!mode_.quiet) tagged("note: ", kCyan, text);
}

void Console::warning(std::string_view text) {
  tagged("warning: ", kYellow, text);
}

void Console::line(std::string_view text) {
  if (!mode_.quiet) tagged("", "", text);
}

void Console::tagged(std::string_view tag, const char* colour, std::string_view text) {
  const std::lock_guard lock(mutex_);
  const bool painted = mode_.colour && !tag.empty();
  draw(str(painted ? colour : "", tag, painted ? kPlain : "", text, "\n"));
}

void Console::live(std::string text) {
  const std::lock_guard lock(mutex_);
  if (!mode_.terminal || mode_.quiet || mode_.json) return;
  if (text.empty() && live_.empty()) return;
  live_ = std::move(text);
  draw("");
}

// One write call, so that another process on the same terminal cannot come between.
void Console::draw(std::string_view before) {
  const bool redraw = mode_.terminal && (!live_.empty() || before.empty());
  error_write(redraw ? str("\r\033[K", before, live_) : std::string(before));
}

void Console::error_write(std::string_view text) {
  (void)write_all(err_, text);
}

int Console::width() const {
  winsize size{};
  if (::ioctl(err_, TIOCGWINSZ, &size) == 0 && size.ws_col >= 20) return size.ws_col;
  return 80;
}

Console& console() {
  static Console instance(detect_console(false, false));
  return instance;
}

}  // namespace smidgen
