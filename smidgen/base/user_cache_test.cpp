#include "smidgen/base/user_cache.h"

#include <chrono>
#include <cstdlib>
#include <thread>

#include <gtest/gtest.h>

#include "smidgen/base/sha256.h"
#include "smidgen/base/temporary_folder.h"

namespace smidgen {
namespace {

// A cache of its own for one test.
class UserCache : public testing::Test {
 protected:
  UserCache() {
    if (const char* was = std::getenv("XDG_CACHE_HOME")) was_ = was;
    ::setenv("XDG_CACHE_HOME", folder_.path().c_str(), 1);
  }
  ~UserCache() override {
    if (was_.empty())
      ::unsetenv("XDG_CACHE_HOME");
    else
      ::setenv("XDG_CACHE_HOME", was_.c_str(), 1);
  }
  fs::path table(const std::string& name) const { return folder_ / "smidgen" / (name + ".json"); }

  TemporaryFolder folder_;

 private:
  std::string was_;
};

TEST_F(UserCache, KeepsTheYoungestEntries) {
  EXPECT_TRUE(read_cache("some").empty());
  for (int i = 0; i < 205; ++i) keep_in_cache("some", str("key ", i), i);
  const Json all = read_cache("some");
  EXPECT_EQ(all.size(), 200u);
  EXPECT_FALSE(all.contains("key 4"));
  EXPECT_EQ(all.at("key 204"), 204);
  write_file(table("some"), "{damaged");
  EXPECT_TRUE(read_cache("some").empty());
  keep_in_cache("some", "a", 1);
  EXPECT_EQ(read_cache("some"), Json({{"a", 1}}));
}

TEST_F(UserCache, ReadsAFileOnceForEachState) {
  const fs::path file = folder_ / "weights";
  write_file(file, "one");
  EXPECT_EQ(cached_file_digest(file), sha256("one"));
  // A file that was just written might change within the clock's tick: it is read again.
  EXPECT_FALSE(path_exists(table("digests")));
  std::this_thread::sleep_for(std::chrono::milliseconds(4100));
  EXPECT_EQ(cached_file_digest(file), sha256("one"));
  Json known = read_cache("digests");
  ASSERT_EQ(known.size(), 1u);
  // What the table says is believed, which shows that the file was not read.
  known.begin().value() = "as the table says";
  write_file(table("digests"), known.dump());
  EXPECT_EQ(cached_file_digest(file), "as the table says");
  write_file(file, "two");
  EXPECT_EQ(cached_file_digest(file), sha256("two"));
}

}  // namespace
}  // namespace smidgen
