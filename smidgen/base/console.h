// The one place that writes to the terminal. A live progress line and log lines share it, so
// neither tears the other.
#pragma once

#include <mutex>
#include <string>
#include <string_view>

namespace smidgen {

struct ConsoleMode {
  bool json = false;      // progress as JSON lines on stdout
  bool quiet = false;     // no progress, no notes
  bool terminal = false;  // stderr is a terminal
  bool colour = false;    // a terminal, and NO_COLOR is empty
};

// What the two streams are: NO_COLOR (no-color.org) and TERM=dumb are respected.
ConsoleMode detect_console(bool json, bool quiet);

class Console {
 public:
  explicit Console(ConsoleMode mode = {}, int out = 1, int err = 2)
      : mode_(mode), out_(out), err_(err) {}

  const ConsoleMode& mode() const { return mode_; }
  void set_mode(ConsoleMode mode) { mode_ = mode; }

  // To stdout, at once. A reader that went away (EPIPE) is no error: the rest is dropped, closed()
  // says so. Any other failure throws resource.
  void print(std::string_view text);
  bool closed() const { return closed_; }

  // A line on stderr. The live line is taken away before and drawn again after. Failures are
  // ignored.
  void note(std::string_view text);     // "note: ..."; hidden by quiet
  void warning(std::string_view text);  // "warning: ..."
  void line(std::string_view text);     // as it is; hidden by quiet

  // The line at the bottom of a terminal; "" takes it away. Does nothing elsewhere.
  void live(std::string text);
  int width() const;

 private:
  void tagged(std::string_view tag, const char* colour, std::string_view text);
  void error_write(std::string_view text);
  void draw(std::string_view before);

  ConsoleMode mode_;
  int out_, err_;
  bool closed_ = false;
  std::string live_;
  std::mutex mutex_;
};

// The console of the process.
Console& console();

}  // namespace smidgen
