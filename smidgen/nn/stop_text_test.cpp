#include "smidgen/nn/stop_text.h"

#include <gtest/gtest.h>

#include "smidgen/base/error.h"
#include "smidgen/base/rng.h"

namespace smidgen {
namespace {

TEST(StopText, HoldsBackWhatMayBeginAStopString) {
  StopText text({"END", "\n\n"});
  EXPECT_EQ(text.push("one\n"), "one");
  EXPECT_EQ(text.push("two E"), "\ntwo ");
  EXPECT_EQ(text.push("N"), "");
  EXPECT_EQ(text.push("Vy"), "ENVy");
  EXPECT_EQ(text.push("EN"), "");
  EXPECT_EQ(text.push("D and more"), "");
  EXPECT_TRUE(text.stopped());
  EXPECT_EQ(text.push("x"), "");
}

TEST(StopText, TheOneThatBeginsFirstCounts) {
  StopText text({"cd", "bcde"});
  EXPECT_EQ(text.push("abcdef"), "a");
  EXPECT_TRUE(text.stopped());
}

TEST(StopText, FlushGivesTheRest) {
  StopText text({"END"});
  EXPECT_EQ(text.push("the EN"), "the ");
  EXPECT_EQ(text.flush(), "EN");
  EXPECT_FALSE(text.stopped());
}

TEST(StopText, RefusesAnEmptyString) {
  EXPECT_THROW(StopText({""}), Error);
}

// Over a small alphabet, cut anywhere, the result is the text before the first occurrence in the
// whole.
TEST(StopText, EqualsSearchingTheWhole) {
  const Rng rng(7, "stop text");
  uint64_t draw = 0;
  int stopped = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string whole;
    for (int i = 0; i < 12; ++i) whole += static_cast<char>('a' + rng.below(draw++, 2));
    const size_t begin = rng.below(draw++, 4), length = 1 + rng.below(draw++, 5);
    const std::string stop = whole.substr(begin, length) + (round % 2 ? "a" : "");
    StopText text({stop});
    std::string got;
    for (size_t at = 0; at < whole.size();) {
      const size_t n = 1 + rng.below(draw++, 3);
      got += text.push(whole.substr(at, n));
      ASSERT_TRUE(whole.starts_with(got));
      at += n;
    }
    got += text.flush();
    const size_t found = whole.find(stop);
    ASSERT_EQ(got, whole.substr(0, found)) << whole << " " << stop;
    ASSERT_EQ(text.stopped(), found != std::string::npos);
    stopped += text.stopped();
  }
  EXPECT_GT(stopped, 1000);
  EXPECT_LT(stopped, 2900);
}

}  // namespace
}  // namespace smidgen
