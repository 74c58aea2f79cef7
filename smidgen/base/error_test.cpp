#include "smidgen/base/error.h"

#include <gtest/gtest.h>

#include "smidgen/base/registry.h"

namespace smidgen {
namespace {

TEST(Error, CarriesItsParts) {
  const Error full(ErrorKind::format, "header is cut", "a.gguf at byte 12", "download it again");
  EXPECT_STREQ(full.what(), "header is cut (a.gguf at byte 12)");
  EXPECT_EQ(full.hint(), "download it again");
  EXPECT_STREQ(Error(ErrorKind::usage, "x").what(), "x");
}

TEST(Error, ExitCodes) {
  EXPECT_EQ(exit_code(ErrorKind::usage), 2);
  EXPECT_EQ(exit_code(ErrorKind::interrupted), 130);
  for (const ErrorKind kind :
       {ErrorKind::not_found, ErrorKind::format, ErrorKind::mismatch, ErrorKind::unsupported,
        ErrorKind::data, ErrorKind::resource, ErrorKind::diverged}) {
    EXPECT_EQ(exit_code(kind), 1) << to_string(kind);
  }
}

TEST(Nearest, OrdersByDistanceAndGivesUpFarAway) {
  const std::vector<std::string> names = {"rank", "alpha", "learning_rate", "rate"};
  EXPECT_EQ(nearest("rnak", names), std::vector<std::string>{"rank"}) << "a swap is one edit";
  EXPECT_EQ(nearest("learing_rate", names)[0], "learning_rate");
  EXPECT_EQ(nearest("rate", names)[0], "rate");
  EXPECT_EQ(nearest("xyzzy", names), std::vector<std::string>{});
  EXPECT_EQ(nearest("learning", names), std::vector<std::string>{"learning_rate"})
      << "part of a name";
  EXPECT_EQ(nearest("", names), std::vector<std::string>{});
  EXPECT_EQ(nearest("rat", names, 1).size(), 1u);
}

TEST(DidYouMean, Wording) {
  EXPECT_EQ(did_you_mean("rnk", {"rank"}), "did you mean 'rank'?");
  EXPECT_EQ(did_you_mean("ab", {"aa", "bb"}), "did you mean 'aa' or 'bb'?");
  EXPECT_EQ(did_you_mean("zzz", {"rank"}, "known: rank"), "known: rank");
}

TEST(Registry, FindsOrNamesTheNearest) {
  Registry<int> registry("method");
  registry.add("lora", std::make_unique<const int>(1));
  registry.add("full", std::make_unique<const int>(2));
  EXPECT_EQ(registry.find("full"), 2);
  EXPECT_TRUE(registry.contains("lora"));
  EXPECT_EQ(registry.names(), (std::vector<std::string>{"lora", "full"}));
  try {
    registry.find("lore");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.message(), "there is no method 'lore'");
    EXPECT_EQ(error.hint(), "did you mean 'lora'?");
  }
}

TEST(Str, PartsAndLists) {
  EXPECT_EQ(str("rank ", 8, " of ", std::string("x")), "rank 8 of x");
  EXPECT_EQ(join(std::vector<int>{1, 2, 3}), "1, 2, 3");
  EXPECT_EQ(join(std::vector<int>{1, 2, 3, 4}, ", ", 2), "1, 2, ... (2 more)");
  EXPECT_EQ(join(std::vector<int>{}), "");
  EXPECT_EQ(shape_str(std::vector<int>{2, 3}), "[2, 3]");
}

}  // namespace
}  // namespace smidgen
