#include "smidgen/base/fs.h"

#include <unistd.h>

#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "smidgen/base/temporary_folder.h"

namespace smidgen {
namespace {

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder))
    names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

void expect_words(const std::string& error, std::initializer_list<const char*> words) {
  for (const char* word : words)
    EXPECT_NE(error.find(word), std::string::npos) << word << " in: " << error;
}

TEST(MappedFile, ShowsTheBytesAndRefusesTheRest) {
  TemporaryFolder folder;
  write_file(folder / "a", "some bytes");
  MappedFile file(folder / "a");
  MappedFile moved(std::move(file));
  const auto bytes = moved.bytes();
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()), "some bytes");
  moved.will_need(bytes.subspan(3, 2));
  moved.release(bytes);
  EXPECT_EQ(static_cast<char>(moved.bytes()[0]), 's');

  std::string some(3, ' ');
  const auto into = reinterpret_cast<std::byte*>(some.data());
  moved.read(bytes.subspan(5, 3), into);
  EXPECT_EQ(some, "byt");
  fs::resize_file(folder / "a", 6);
  expect_words(error_of([&] { moved.read(bytes.subspan(5, 3), into); }), {"format", "cut to 6"});

  write_file(folder / "empty", "");
  expect_words(error_of([&] { MappedFile(folder / "empty"); }), {"format", "empty"});
  expect_words(error_of([&] { MappedFile(folder.path()); }), {"folder, not a file"});
  expect_words(error_of([&] { MappedFile(folder / "none"); }),
               {"not_found", "no such file", "none"});
  expect_words(error_of([&] { MappedFile(folder / "a" / "b"); }), {"a part of the path is a file"});
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  expect_words(error_of([&] { MappedFile(folder / "pipe"); }), {"not a regular file"});
  expect_words(error_of([&] { write_file(folder / "pipe", "x"); }),
               {"usage", "a device or a pipe"});
  EXPECT_TRUE(fs::is_fifo(folder / "pipe"));
}

TEST(AtomicFile, OldFileStaysUntilCommit) {
  TemporaryFolder folder;
  const fs::path path = folder / "f";
  write_file(path, "old");
  {
    AtomicFile file(path);
    file.write("new");
    EXPECT_EQ(read_file(path), "old");
  }
  EXPECT_EQ(read_file(path), "old");
  EXPECT_EQ(names_in(folder.path()), std::vector<std::string>{"f"});
  {
    AtomicFile file(path);
    const std::string big(3'000'000, 'x');
    file.write("ab");
    file.write(big);
    file.write("cd");
    EXPECT_EQ(file.written(), 3'000'004u);
    file.commit();
    EXPECT_EQ(read_file(path), "ab" + big + "cd");
  }
  EXPECT_EQ(names_in(folder.path()), std::vector<std::string>{"f"});
  expect_words(error_of([&] { AtomicFile(folder / "none" / "f"); }), {"no such file or folder"});
  expect_words(error_of([&] { write_file(folder.path(), ""); }), {"folder, not a file"});
}

TEST(ReadFile, HasALimit) {
  TemporaryFolder folder;
  write_file(folder / "f", "12345");
  EXPECT_EQ(read_file(folder / "f", 5), "12345");
  expect_words(error_of([&] { read_file(folder / "f", 4); }), {"larger than the 4 bytes"});
  EXPECT_FALSE(read_file("/proc/self/status").empty());
}

TEST(Folders, MakeReplaceRemove) {
  TemporaryFolder folder;
  make_folder(folder / "a/b/c");
  write_file(folder / "a/f", "1");
  make_folder(folder / "z");
  write_file(folder / "z/g", "2");
  sync_tree(folder.path());
  replace_folder(folder / "a", folder / "z");
  EXPECT_EQ(names_in(folder / "z"), (std::vector<std::string>{"b", "f"}));
  EXPECT_FALSE(path_exists(folder / "a"));
  replace_folder(folder / "z", folder / "new/");
  EXPECT_TRUE(path_exists(folder / "new/f"));
  expect_words(error_of([&] { make_folder(folder / "new/f"); }), {"file"});

  // A link is removed; what it points to is not.
  make_folder(folder / "precious");
  write_file(folder / "precious/p", "3");
  fs::create_directory_symlink(folder / "precious", folder / "new/link");
  remove_tree(folder / "new");
  remove_tree(folder / "new");
  EXPECT_EQ(read_file(folder / "precious/p"), "3");
}

TEST(FileLock, NamesTheHolder) {
  TemporaryFolder folder;
  const fs::path path = folder / "lock";
  {
    FileLock lock(path);
    FileLock moved(std::move(lock));
    expect_words(
        error_of([&] { FileLock second(path); }),
        {"resource", "another process is at work", std::to_string(getpid()).c_str(), "lock"});
  }
  FileLock again(path);
}

TEST(FileLock, DiesWithItsProcess) {
  TemporaryFolder folder;
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    FileLock lock(folder / "lock");
    if (write(ready[1], "x", 1) != 1) _exit(1);
    for (;;) pause();
  }
  char got;
  ASSERT_EQ(read(ready[0], &got, 1), 1);
  expect_words(error_of([&] { FileLock lock(folder / "lock"); }), {std::to_string(child).c_str()});
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  FileLock lock(folder / "lock");
  close(ready[0]);
  close(ready[1]);
}

TEST(BytesStr, Rounds) {
  EXPECT_EQ(bytes_str(0), "0 bytes");
  EXPECT_EQ(bytes_str(999), "999 bytes");
  EXPECT_EQ(bytes_str(93'400'000), "93.4 MB");
  EXPECT_EQ(bytes_str(999'999), "1.0 MB");
  EXPECT_EQ(bytes_str(UINT64_MAX), "18.4 EB");
}

TEST(FreeSpace, OfAPathThatDoesNotExistYet) {
  EXPECT_GT(free_space(fs::temp_directory_path() / "not" / "there"), 0u);
}

class SmallDisk {
 public:
  explicit SmallDisk(const fs::path& at) : at_(at) {
    mounted_ = ::mount("tmpfs", at.c_str(), "tmpfs", 0, "size=256k") == 0;
  }
  ~SmallDisk() {
    if (mounted_) ::umount2(at_.c_str(), MNT_DETACH);
  }
  bool mounted() const { return mounted_; }
  bool make_read_only() {
    return ::mount("tmpfs", at_.c_str(), "tmpfs", MS_REMOUNT | MS_RDONLY, nullptr) == 0;
  }

 private:
  fs::path at_;
  bool mounted_;
};

TEST(FullDisk, SaysSoAndKeepsTheOldFile) {
  TemporaryFolder folder;
  SmallDisk disk(folder.path());
  if (!disk.mounted()) GTEST_SKIP() << "mounting a tmpfs is not allowed here";
  write_file(folder / "f", "old");
  expect_words(error_of([&] { write_file(folder / "f", std::string(1 << 20, 'x')); }),
               {"resource", "the disk is full", "free)", "/f", "free some space"});
  EXPECT_EQ(read_file(folder / "f"), "old");
  EXPECT_EQ(names_in(folder.path()), std::vector<std::string>{"f"});
  ASSERT_TRUE(disk.make_read_only());
  expect_words(error_of([&] { write_file(folder / "f", "x"); }), {"read-only"});
  expect_words(error_of([&] { make_folder(folder / "g"); }), {"read-only"});
}

}  // namespace
}  // namespace smidgen
