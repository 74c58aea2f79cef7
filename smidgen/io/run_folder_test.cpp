#include "smidgen/io/run_folder.h"

#include <unistd.h>

#include <gtest/gtest.h>
#include <sys/mount.h>

#include "smidgen/base/temporary_folder.h"

namespace smidgen {
namespace {

void expect_words(const std::string& error, std::initializer_list<std::string> words) {
  for (const auto& word : words)
    EXPECT_NE(error.find(word), std::string::npos) << word << " in: " << error;
}

TEST(RunFolder, MakesAndResumes) {
  TemporaryFolder folder;
  {
    const RunFolder run = RunFolder::create(folder / "a/b/run", false);
    EXPECT_EQ(run.metrics(), folder / "a/b/run/metrics.jsonl");
    expect_words(error_of([&] { RunFolder::create(folder / "a/b/run", true); }),
                 {"resource", "another process is at work", std::to_string(getpid())});
  }
  // Only the lock is in it: the earlier run wrote nothing.
  {
    const RunFolder run = RunFolder::create(folder / "a/b/run", false);
  }
  write_file(folder / "a/b/run/metrics.jsonl", "{}");
  expect_words(error_of([&] { RunFolder::create(folder / "a/b/run", false); }),
               {"usage", "exists and is not empty", "--resume"});
  const RunFolder run = RunFolder::create(folder / "a/b/run", true);
  EXPECT_EQ(read_file(run.metrics()), "{}");
}

TEST(RunFolder, RefusesInWords) {
  TemporaryFolder folder;
  write_file(folder / "f", "x");
  expect_words(error_of([&] { RunFolder::create(folder / "f", false); }),
               {"resource", "a file of that name"});
  expect_words(error_of([&] { RunFolder::create(folder / "f" / "run", false); }),
               {"resource", "file"});
  expect_words(error_of([&] { RunFolder::create("", false); }), {"usage"});
  make_folder(folder / "ro");
  if (::mount("tmpfs", (folder / "ro").c_str(), "tmpfs", MS_RDONLY, nullptr) != 0) {
    GTEST_SKIP() << "mounting a tmpfs is not allowed here";
  }
  expect_words(error_of([&] { RunFolder::create(folder / "ro", false); }),
               {"resource", "read-only"});
  expect_words(error_of([&] { RunFolder::create(folder / "ro" / "run", true); }),
               {"resource", "read-only"});
  ::umount2((folder / "ro").c_str(), MNT_DETACH);
}

}  // namespace
}  // namespace smidgen
