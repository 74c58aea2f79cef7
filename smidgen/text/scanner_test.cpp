// The hand-written matchers against PCRE2 on the expressions that they stand for.
#include "smidgen/text/scanner.h"

#include <random>

#include <gtest/gtest.h>

#include "smidgen/text/characters.h"
#include "smidgen/text/pattern.h"
#include "smidgen/text/utf8.h"

namespace smidgen {
namespace {

// Characters that decide where words end, and some of every class in every length of UTF-8.
constexpr const char* kCharacters[] = {
    "a",      "s",      "t",      "r",      "e",      "l",      "L",      "v",      "E",
    "M",      "d",      "'",      "’",      " ",      " ",      " ",      "\t",     "\n",
    "\n",     "\r",     "\v",     "\f",     "1",      "2",      "9",      ".",      ",",
    "-",      "_",      "é",      "ß",      "ſ",      "²",      "½",      "٣",      "Ⅷ",
    "\u00a0", "\u0085", "\u3000", "\u2028", "\u200b", "\u180e", "\u0301", "日",     "ア",
    "한",     "ไ",      "😀",     "𝟘",      "𐍈",      "\u00ad", "\ufeff", "\u200d", "K"};

TEST(Scanner, EqualsTheExpression) {
  std::mt19937 random(3);
  for (const char* expression : {kGpt2Words, kLlama3Words, kQwen2Words}) {
    const Scanner scan = find_scanner(expression);
    ASSERT_TRUE(scan);
    const Pattern pattern(expression, "test");
    for (int trial = 0; trial < 20000; ++trial) {
      std::string text;
      const size_t length = 1 + random() % 14;
      for (size_t i = 0; i < length; ++i)
        text += kCharacters[random() % (sizeof(kCharacters) / sizeof(kCharacters[0]))];
      for (size_t at = 0, begin = 0, end = 0; at < text.size(); at = end) {
        ASSERT_TRUE(pattern.find(text, at, begin, end));
        ASSERT_EQ(begin, at);
        ASSERT_EQ(scan(text, at), end) << expression << "\n[" << text << "] at " << at;
      }
    }
  }
}

TEST(Scanner, KnowsOnlyItsOwnExpressions) {
  EXPECT_FALSE(find_scanner(R"(\p{L}+)"));
}

}  // namespace
}  // namespace smidgen
