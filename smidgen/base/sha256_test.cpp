#include "smidgen/base/sha256.h"

#include <gtest/gtest.h>

#include "smidgen/base/temporary_folder.h"

namespace smidgen {
namespace {

// FIPS 180-4 example values.
constexpr const char* kEmpty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
constexpr const char* kAbc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
constexpr const char* kMillionA =
    "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";

TEST(Sha256, PublishedValues) {
  EXPECT_EQ(sha256(""), kEmpty);
  EXPECT_EQ(sha256("abc"), kAbc);
  Sha256 state;
  for (int i = 0; i < 1000; ++i) state.update(std::string(1000, 'a'));
  EXPECT_EQ(state.hex(), kMillionA);
}

TEST(Sha256, OfFiles) {
  TemporaryFolder folder;
  write_file(folder / "a", std::string(1000000, 'a'));
  write_file(folder / "e", "");
  EXPECT_EQ(sha256_file(folder / "a"), kMillionA);
  EXPECT_EQ(sha256_file(folder / "e"), kEmpty);
  EXPECT_NE(error_of([&] { sha256_file(folder / "none"); }).find("no such file"),
            std::string::npos);
  EXPECT_NE(error_of([&] { sha256_file(folder.path()); }).find("folder, not a file"),
            std::string::npos);
}

}  // namespace
}  // namespace smidgen
