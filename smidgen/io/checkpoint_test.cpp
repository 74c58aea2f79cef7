#include "smidgen/io/checkpoint.h"

#include <chrono>
#include <signal.h>
#include <thread>
#include <unistd.h>

#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "smidgen/base/sha256.h"
#include "smidgen/base/temporary_folder.h"

namespace smidgen {
namespace {

std::vector<int64_t> steps(const CheckpointStore& store) {
  std::vector<int64_t> all;
  for (const auto& checkpoint : store.list()) all.push_back(checkpoint.step);
  return all;
}

// A checkpoint that can be recognised as whole: the state holds the digest of its two files.
Checkpoint save(CheckpointStore& store, int64_t step, const Retention& keep = {},
                size_t size = 100'000) {
  const std::string a(size, static_cast<char>('a' + step % 26)), b = str("step ", step);
  return store.save(
      step, {{"step", step}, {"digest", sha256(a + b)}},
      [&](const fs::path& folder) {
        write_file(folder / "weights", a);
        make_folder(folder / "sub");
        write_file(folder / "sub/note", b);
      },
      keep);
}

void expect_whole(const Checkpoint& checkpoint) {
  const Json state = checkpoint.state();
  EXPECT_EQ(state["step"], checkpoint.step);
  EXPECT_EQ(state["digest"], sha256(read_file(checkpoint.path / "weights") +
                                    read_file(checkpoint.path / "sub/note")));
}

TEST(Checkpoint, SavesListsAndKeepsTheBest) {
  TemporaryFolder folder;
  CheckpointStore store(folder / "checkpoints");
  EXPECT_FALSE(store.latest());
  EXPECT_EQ(save(store, 100).path.filename(), "step-00000100");
  for (int64_t step = 200; step <= 500; step += 100)
    save(store, step, {.total_limit = 2, .best = 200});
  EXPECT_EQ(steps(store), (std::vector<int64_t>{200, 500}));
  expect_whole(*store.latest());
  expect_whole(store.find(200));
  EXPECT_NE(error_of([&] { store.find(300); }).find("there are those of step 200, 500"),
            std::string::npos);
  save(store, 600, {.total_limit = 1, .best = 500});
  EXPECT_EQ(steps(store), (std::vector<int64_t>{500, 600}));
  save(store, 123456789012, {.total_limit = 1});
  EXPECT_EQ(steps(store), (std::vector<int64_t>{123456789012}));
}

TEST(Checkpoint, LeftoversAreIgnoredAndCleaned) {
  TemporaryFolder folder;
  CheckpointStore store(folder.path());
  save(store, 1);
  make_folder(folder / "step-00000002.tmp");
  make_folder(folder / "step-00000003");
  make_folder(folder / "mine.tmp");
  make_folder(folder / "step-notes");
  write_file(folder / "step-00000004.tmp", "a file");
  EXPECT_EQ(steps(store), std::vector<int64_t>{1});
  save(store, 5);
  EXPECT_EQ(steps(store), (std::vector<int64_t>{1, 5}));
  EXPECT_FALSE(path_exists(folder / "step-00000002.tmp"));
  EXPECT_FALSE(path_exists(folder / "step-00000003"));
  EXPECT_TRUE(path_exists(folder / "mine.tmp"));
  EXPECT_TRUE(path_exists(folder / "step-notes"));
}

TEST(Checkpoint, SameStepIsReplacedAndLaterOnesCanGo) {
  TemporaryFolder folder;
  CheckpointStore store(folder.path());
  save(store, 1);
  save(store, 2, {}, 10);
  save(store, 2, {}, 20);
  EXPECT_EQ(fs::file_size(store.latest()->path / "weights"), 20u);
  expect_whole(*store.latest());
  store.remove_after(1);
  EXPECT_EQ(steps(store), std::vector<int64_t>{1});
}

TEST(Checkpoint, AFailedSaveLeavesTheOthers) {
  TemporaryFolder folder;
  CheckpointStore store(folder.path());
  const auto fail = [&](int64_t step) {
    return error_of([&] {
      store.save(step, {}, [&](const fs::path& at) {
        write_file(at / "half", "x");
        throw Error(ErrorKind::resource, "no more", "here", "do this");
      });
    });
  };
  EXPECT_EQ(fail(1),
            "resource: the checkpoint of step 1 was not saved: no more; there is no earlier "
            "checkpoint (here) do this");
  save(store, 1);
  EXPECT_NE(fail(2).find("; the checkpoint of step 1 is intact"), std::string::npos);
  EXPECT_THROW(store.save(2, {}, [](const fs::path&) { throw std::bad_alloc(); }), std::bad_alloc);
  EXPECT_FALSE(path_exists(folder / "step-00000002.tmp"));
  expect_whole(*store.latest());
}

TEST(Checkpoint, FullDisk) {
  TemporaryFolder folder;
  if (::mount("tmpfs", folder.path().c_str(), "tmpfs", 0, "size=256k") != 0) {
    GTEST_SKIP() << "mounting a tmpfs is not allowed here";
  }
  CheckpointStore store(folder / "checkpoints");
  save(store, 1);
  const std::string error = error_of([&] { save(store, 2, {}, 300'000); });
  EXPECT_NE(error.find("the disk is full"), std::string::npos) << error;
  EXPECT_NE(error.find("the checkpoint of step 1 is intact"), std::string::npos) << error;
  expect_whole(*store.latest());
  EXPECT_EQ(steps(store), std::vector<int64_t>{1});
  save(store, 3);
  ::umount2(folder.path().c_str(), MNT_DETACH);
}

// A child saves without pause; it is killed at moments spread over a save, measured on the child
// itself because the machine may be busy. Whatever remains, every listed checkpoint is whole and
// none that had been complete is gone.
TEST(Checkpoint, SurvivesKillAtAnyMoment) {
  using Clock = std::chrono::steady_clock;
  TemporaryFolder folder;
  const Retention keep{.total_limit = 2, .best = 0};
  CheckpointStore store(folder / "checkpoints");
  save(store, 0);
  int64_t last = 0, progress = 0;
  Clock::duration one_save = std::chrono::milliseconds(2);
  constexpr int kRounds = 40;
  for (int round = 0; round < kRounds; ++round) {
    int saved[2];
    ASSERT_EQ(pipe(saved), 0);
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      CheckpointStore mine(folder / "checkpoints");
      // Every third round replaces the newest step again and again: the swap must be safe too.
      for (int64_t step = last + 1;; step += round % 3 != 0) {
        save(mine, step, keep, 20'000);
        if (write(saved[1], "x", 1) != 1) _exit(1);
      }
    }
    for (int wait = 0; wait < round % 4; ++wait) {
      const auto start = Clock::now();
      char byte;
      ASSERT_EQ(read(saved[0], &byte, 1), 1);
      one_save = Clock::now() - start;
    }
    std::this_thread::sleep_for(one_save * round / kRounds);
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    close(saved[0]);
    close(saved[1]);
    const auto latest = store.latest();
    ASSERT_TRUE(latest) << round;
    EXPECT_GE(latest->step, last) << round;
    for (const auto& checkpoint : store.list()) expect_whole(checkpoint);
    expect_whole(store.find(0));
    for (const auto& entry : fs::directory_iterator(folder / "checkpoints")) {
      if (entry.path().extension() != ".tmp") {
        EXPECT_TRUE(path_exists(entry.path() / "DONE")) << entry.path() << " round " << round;
      }
    }
    progress += latest->step > last;
    last = latest->step;
  }
  EXPECT_GT(progress, 5) << "the child never got to save: the test shows nothing";
  save(store, last + 1, keep);
  EXPECT_EQ(steps(store), (std::vector<int64_t>{0, last + 1}));
  size_t entries = 0;
  for ([[maybe_unused]] const auto& entry : fs::directory_iterator(folder / "checkpoints"))
    ++entries;
  EXPECT_EQ(entries, 2u) << "leftovers were not cleaned";
}

}  // namespace
}  // namespace smidgen
