#include "smidgen/base/console.h"

#include <csignal>
#include <fcntl.h>
#include <fstream>
#include <sstream>
#include <thread>
#include <unistd.h>
#include <vector>

#include <gtest/gtest.h>

#include "smidgen/base/error.h"
#include "smidgen/base/progress.h"

namespace smidgen {
namespace {

// A file that stands for a stream.
class Stream {
 public:
  Stream() : name_(testing::TempDir() + "/console_XXXXXX"), file_(::mkstemp(name_.data())) {}
  ~Stream() {
    ::close(file_);
    ::unlink(name_.c_str());
  }
  int file() const { return file_; }
  std::string text() const {
    std::ostringstream all;
    all << std::ifstream(name_).rdbuf();
    return all.str();
  }

 private:
  std::string name_;
  int file_;
};

// What a terminal of one row shows of `text`: carriage return, erase to end of line, newline.
std::vector<std::string> screen(const std::string& text) {
  std::vector<std::string> rows(1);
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\r') {
      EXPECT_EQ(text.substr(i, 4), "\r\033[K");
      rows.back().clear();
      i += 3;
    } else if (text[i] == '\n') {
      rows.emplace_back();
    } else {
      rows.back() += text[i];
    }
  }
  return rows;
}

TEST(Console, LogLinesNeverTearTheLiveLine) {
  Stream out, err;
  Console console({.terminal = true}, out.file(), err.file());
  console.live("step 1");
  console.note("careful");
  console.live("step 2");
  console.print("result\n");
  console.warning("hot");
  EXPECT_EQ(screen(err.text()),
            (std::vector<std::string>{"note: careful", "warning: hot", "step 2"}));
  console.live("");
  EXPECT_EQ(screen(err.text()).back(), "");
  EXPECT_EQ(out.text(), "result\n");
}

TEST(Console, ThreadsWriteWholeLines) {
  Stream out, err;
  Console console({.terminal = true}, out.file(), err.file());
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 50; ++i) {
        console.live("live");
        console.line("abcdefgh");
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const std::vector<std::string> rows = screen(err.text());
  ASSERT_EQ(rows.size(), 201u);
  for (size_t i = 0; i < 200; ++i) EXPECT_EQ(rows[i], "abcdefgh");
}

TEST(Console, QuietHidesNotesButNotWarnings) {
  Stream out, err;
  Console console({.quiet = true, .colour = true}, out.file(), err.file());
  console.note("a");
  console.line("b");
  console.live("c");
  console.warning("d");
  EXPECT_EQ(err.text(), "\033[33mwarning: \033[0md\n");
}

TEST(Console, AReaderThatWentAwayIsNoError) {
  std::signal(SIGPIPE, SIG_IGN);
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  ::close(ends[0]);
  Console console({}, ends[1], ends[1]);
  EXPECT_NO_THROW(console.print("x\n"));
  EXPECT_TRUE(console.closed());
  EXPECT_NO_THROW(console.warning("y"));
  ::close(ends[1]);
  const int full = ::open("/dev/full", O_WRONLY);
  if (full < 0) GTEST_SKIP() << "no /dev/full";
  Console disk({}, full, full);
  EXPECT_THROW(disk.print("x\n"), Error);
  ::close(full);
}

TEST(Progress, TerminalLine) {
  Stream out, err;
  Console console({.terminal = true}, out.file(), err.file());
  double now = 100;
  {
    Progress progress("tune", 40, 0, console, [&] { return now; });
    now = 110;
    progress.update(10, {{"loss", 1.5, "loss 1.50"}, {"tokens_per_s", 900, "900 tok/s"}});
    EXPECT_EQ(screen(err.text()).back(),
              "tune [#####...............] 10/40  loss 1.50  900 tok/s  ETA 0:30");
    now = 110.05;
    progress.update(11);
    EXPECT_EQ(screen(err.text()).back().find("11/40"), std::string::npos) << "at most ten a second";
    now = 140;
    progress.update(40);
    progress.finish();
  }
  const std::vector<std::string> rows = screen(err.text());
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0], "tune [####################] 40/40  in 0:40");
  EXPECT_EQ(rows[1], "");
}

TEST(Progress, PlainLinesEveryFewSeconds) {
  Stream out, err;
  Console console({}, out.file(), err.file());
  double now = 0;
  Progress progress("tune", 100, 50, console, [&] { return now; });
  for (int step = 51; step <= 100; ++step) {
    now += 0.5;
    progress.update(step);
  }
  progress.finish();
  const std::string text = err.text();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 6);
  EXPECT_EQ(text.find('\033'), std::string::npos);
  EXPECT_EQ(text.find('\r'), std::string::npos);
  EXPECT_EQ(text.substr(0, text.find('\n')), "tune 51/100  ETA 0:25")
      << "pace is of this process only";
}

TEST(Progress, JsonLinesAndQuiet) {
  Stream out, err, silent;
  Console console({.json = true, .terminal = true}, out.file(), err.file());
  Progress progress("eval", 4, 0, console, [now = 0.0]() mutable { return now += 1; });
  progress.update(2, {{"loss", 0.5, ""}});
  progress.finish();
  std::istringstream lines(out.text());
  std::string line;
  std::getline(lines, line);
  EXPECT_EQ(Json::parse(line),
            Json::parse(R"({"event": "progress", "task": "eval", "done": 2, "total": 4,
                                               "loss": 0.5, "elapsed_s": 1.0, "eta_s": 1.0})"));
  std::getline(lines, line);
  EXPECT_EQ(Json::parse(line)["event"], "done");
  EXPECT_EQ(err.text(), "");
  Console quiet({.quiet = true, .terminal = true}, silent.file(), silent.file());
  Progress nothing("eval", 4, 0, quiet);
  nothing.update(1);
  nothing.finish();
  EXPECT_EQ(silent.text(), "");
}

TEST(Progress, Figures) {
  EXPECT_EQ(duration_text(75), "1:15");
  EXPECT_EQ(duration_text(3700), "1:01:40");
  EXPECT_EQ(duration_text(-1), "?");
  EXPECT_EQ(bytes_text(1536000000), "1.54 GB");
  EXPECT_EQ(bytes_text(512), "512 B");
  EXPECT_EQ(bytes_text(999999), "1.00 MB");
  EXPECT_EQ(count_text(12345), "12.3k");
  EXPECT_EQ(count_text(17), "17");
}

}  // namespace
}  // namespace smidgen
