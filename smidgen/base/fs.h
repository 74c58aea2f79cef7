// Files that appear whole or not at all. A write goes to a temporary name in the same folder, is
// synced, and is then renamed, so a crash or a full disk leaves the old file (or none), never half
// of the new one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "smidgen/base/error.h"

namespace smidgen {

namespace fs = std::filesystem;

// The Error for a failed system call: "cannot ACTION: WORDS" with the path, and the free space when
// the disk is full. ENOENT gives not_found, everything else resource.
Error os_error(std::string_view action, const fs::path& path, int code);

// A whole file, read-only and private. Bytes stay valid for the life of the object (and across
// moves). Missing file, folder in place of a file, empty file: Error.
class MappedFile {
 public:
  explicit MappedFile(const fs::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const fs::path& path() const { return path_; }

  // Hints to the kernel about pages inside this file; they never change what is read.
  void will_need(std::span<const std::byte> part) const;
  void release(std::span<const std::byte> part) const;
  // Copies a part of bytes() without bringing its pages into the mapping, so that nothing is left
  // to release. A file that was cut meanwhile is an Error format; touching bytes() would end the
  // process.
  void read(std::span<const std::byte> part, std::byte* out) const;

 private:
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
  int file_ = -1;
  fs::path path_;
};

// A file under construction at `.NAME.tmp-PID`. Without commit() the destructor removes it and the
// old file stays. Missing parent folder, read-only folder, full disk: Error resource.
class AtomicFile {
 public:
  explicit AtomicFile(const fs::path& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text.data(), text.size()))); }
  uint64_t written() const { return written_; }
  void commit();

 private:
  void flush();
  fs::path path_, temporary_;
  std::string buffer_;
  uint64_t written_ = 0;
  int file_ = -1;
};

// All of `bytes` to an open descriptor; `path` is for the message.
void write_all(int file, std::span<const std::byte> bytes, const fs::path& path);
// Atomic, synced.
void write_file(const fs::path& path, std::string_view text);
// Throws format when the file is larger than `limit` bytes.
std::string read_file(const fs::path& path, uint64_t limit = uint64_t{1} << 30);

// False also where a folder on the way may not be read.
bool path_exists(const fs::path& path);

void sync_file(const fs::path& path);
void sync_folder(const fs::path& path);
// Every file below `path`, then every folder, then `path` itself.
void sync_tree(const fs::path& path);
// mkdir -p. A file in the way, a read-only parent: Error.
void make_folder(const fs::path& path);
// Removes `path` and everything below; a missing path is fine. Symbolic links are removed, not
// followed.
void remove_tree(const fs::path& path);
// Renames the folder `from` to `to` and syncs the parent. An existing `to` is swapped out in one
// step where the file system can do it (renameat2), and removed afterwards.
void replace_folder(const fs::path& from, const fs::path& to);
// Bytes that an ordinary user may still write on the file system of `path` (or of its nearest
// existing parent).
uint64_t free_space(const fs::path& path);
// "93.4 MB", powers of 1000.
std::string bytes_str(uint64_t bytes);

// flock on an open file, held for the life of the object and dropped by the kernel when the process
// dies. The file keeps the holder's process id as text; a second holder gets Error resource that
// names it.
class FileLock {
 public:
  explicit FileLock(const fs::path& path);
  ~FileLock();
  FileLock(FileLock&& other) noexcept;
  FileLock& operator=(FileLock&& other) noexcept;

 private:
  int file_ = -1;
};

}  // namespace smidgen
