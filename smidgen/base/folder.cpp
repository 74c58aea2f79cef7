// Whole folders: making, syncing, swapping, removing. Declared in fs.h.
#include <cerrno>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
#include <utility>
#include <vector>

#include <sys/file.h>

#include "smidgen/base/fs.h"

namespace smidgen {

namespace {

// Without a trailing slash, so that filename() and parent_path() mean the folder itself.
fs::path trimmed(const fs::path& path) {
  return path.filename().empty() ? path.parent_path() : path;
}

}  // namespace

void make_folder(const fs::path& path) {
  std::error_code code;
  fs::create_directories(path, code);
  if (code) throw os_error("make the folder", path, code.value());
  if (!fs::is_directory(path, code)) {
    throw Error(ErrorKind::resource, "cannot make the folder: there is a file of that name",
                path.string());
  }
}

void remove_tree(const fs::path& path) {
  std::error_code code;
  fs::remove_all(path, code);
  if (code && code.value() != ENOENT) throw os_error("remove", path, code.value());
}

void sync_tree(const fs::path& path) {
  std::vector<fs::path> folders;
  std::error_code code;
  fs::recursive_directory_iterator at(path, code), end;
  if (code) throw os_error("sync", path, code.value());
  for (; at != end; at.increment(code)) {
    if (code) throw os_error("sync", path, code.value());
    if (at->is_symlink()) continue;
    if (at->is_directory()) {
      folders.push_back(at->path());
    } else if (at->is_regular_file()) {
      sync_file(at->path());
    }
  }
  // Inner folders come later in the walk than outer ones.
  for (auto folder = folders.rbegin(); folder != folders.rend(); ++folder) sync_folder(*folder);
  sync_folder(path);
}

void replace_folder(const fs::path& from_path, const fs::path& to_path) {
  const fs::path from = trimmed(from_path), to = trimmed(to_path);
  std::error_code code;
  if (fs::symlink_status(to, code).type() == fs::file_type::not_found) {
    if (::rename(from.c_str(), to.c_str()) != 0) throw os_error("write", to, errno);
    sync_folder(to.parent_path());
    return;
  }
  if (!fs::is_directory(to, code)) {
    throw Error(ErrorKind::resource, "cannot replace the folder: there is a file of that name",
                to.string());
  }
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE) == 0) {
    sync_folder(to.parent_path());
    remove_tree(from);
    return;
  }
  if (errno != EINVAL && errno != ENOSYS) throw os_error("replace", to, errno);
  // No exchange on this file system: for a moment there is neither, and the old folder waits under
  // a name that says what it is.
  const fs::path old = to.parent_path() / str(".", to.filename().string(), ".old-", ::getpid());
  if (::rename(to.c_str(), old.c_str()) != 0) throw os_error("replace", to, errno);
  if (::rename(from.c_str(), to.c_str()) != 0) {
    const int failed = errno;
    ::rename(old.c_str(), to.c_str());
    throw os_error("replace", to, failed);
  }
  sync_folder(to.parent_path());
  remove_tree(old);
}

FileLock::FileLock(const fs::path& path) {
  file_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (file_ < 0) throw os_error("lock", path, errno);
  if (::flock(file_, LOCK_EX | LOCK_NB) != 0) {
    const int code = errno;
    char text[32] = {};
    const ssize_t got = ::pread(file_, text, sizeof text - 1, 0);
    ::close(file_);
    if (code != EWOULDBLOCK) throw os_error("lock", path, code);
    std::string owner(text, got > 0 ? static_cast<size_t>(got) : 0);
    owner.erase(owner.find_last_not_of(" \n") + 1);
    throw Error(ErrorKind::resource,
                str("another process is at work here", owner.empty() ? "" : ": process ", owner),
                path.string(), "wait for it, stop it, or choose another folder");
  }
  // The number is for people only: the lock is the kernel's, so a stale number after a crash does
  // no harm.
  const std::string owner = str(::getpid(), "\n");
  if (::ftruncate(file_, 0) != 0 || ::pwrite(file_, owner.data(), owner.size(), 0) < 0) {
    const int code = errno;
    ::close(file_);
    throw os_error("lock", path, code);
  }
}

FileLock::~FileLock() {
  if (file_ >= 0) ::close(file_);
}

FileLock::FileLock(FileLock&& other) noexcept : file_(std::exchange(other.file_, -1)) {}

FileLock& FileLock::operator=(FileLock&& other) noexcept {
  std::swap(file_, other.file_);
  return *this;
}

}  // namespace smidgen
