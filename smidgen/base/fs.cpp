#include "smidgen/base/fs.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>
#include <utility>
#include <vector>

#include <sys/mman.h>
#include <sys/stat.h>

namespace smidgen {

namespace {

constexpr size_t kBuffer = 1 << 20;

// Opens and closes a descriptor; every path out of a function closes it.
class Descriptor {
 public:
  Descriptor(const fs::path& path, int flags) : file_(::open(path.c_str(), flags | O_CLOEXEC)) {}
  ~Descriptor() {
    if (file_ >= 0) ::close(file_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return file_; }
  int take() { return std::exchange(file_, -1); }

 private:
  int file_;
};

// Some file systems have no fsync for folders and say EINVAL; there is nothing more to do there.
void sync_descriptor(int file, const fs::path& path) {
  if (::fsync(file) != 0 && errno != EINVAL) throw os_error("sync", path, errno);
}

int open_regular(const fs::path& path, struct stat& status, Descriptor& file) {
  if (file.get() < 0) throw os_error("open", path, errno);
  if (::fstat(file.get(), &status) != 0) throw os_error("read", path, errno);
  if (S_ISDIR(status.st_mode)) throw os_error("read", path, EISDIR);
  if (!S_ISREG(status.st_mode)) {
    throw Error(ErrorKind::format, "not a regular file", path.string());
  }
  return file.get();
}

// The pages that lie wholly or partly inside `part`; madvise wants page-aligned addresses.
void advise(std::span<const std::byte> part, int advice) {
  if (part.empty()) return;
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<uintptr_t>(part.data()) & ~(page - 1);
  const auto end = reinterpret_cast<uintptr_t>(part.data() + part.size());
  ::madvise(reinterpret_cast<void*>(begin), end - begin, advice);
}

std::string words(int code, const fs::path& path) {
  switch (code) {
    case ENOENT:
      return "no such file or folder";
    case EISDIR:
      return "it is a folder, not a file";
    case ENOTDIR:
      return "a part of the path is a file, not a folder";
    case EACCES:
    case EPERM:
      return "permission denied";
    case EROFS:
      return "the file system is read-only";
    case ENOSPC:
      return str("the disk is full (", bytes_str(free_space(path)), " free)");
    case EDQUOT:
      return str("the disk quota is used up (", bytes_str(free_space(path)), " free)");
    default:
      return std::strerror(code);
  }
}

}  // namespace

std::string bytes_str(uint64_t bytes) {
  if (bytes < 1000) return str(bytes, " bytes");
  const char* units[] = {"kB", "MB", "GB", "TB", "PB", "EB"};
  double value = static_cast<double>(bytes) / 1000;
  size_t unit = 0;
  // 999.95 would print as 1000.0.
  while (value >= 999.95 && unit + 1 < std::size(units)) {
    value /= 1000;
    ++unit;
  }
  char text[32];
  std::snprintf(text, sizeof text, "%.1f %s", value, units[unit]);
  return text;
}

uint64_t free_space(const fs::path& path) {
  fs::path at = fs::absolute(path).lexically_normal();
  std::error_code code;
  while (!fs::exists(at, code) && at.has_relative_path()) at = at.parent_path();
  const fs::space_info space = fs::space(at, code);
  return code ? 0 : space.available;
}

Error os_error(std::string_view action, const fs::path& path, int code) {
  std::string hint;
  if (code == ENOSPC || code == EDQUOT)
    hint = "free some space, or choose a folder on another disk";
  if (code == EROFS || code == EACCES || code == EPERM)
    hint = "choose a folder that you may write to";
  if (code == EISDIR) hint = "name a file inside it";
  ErrorKind kind = ErrorKind::resource;
  if (code == ENOENT) kind = ErrorKind::not_found;
  if (code == EISDIR) kind = ErrorKind::format;
  if (action == "open" || action == "read") {
    if (!hint.empty() && code != EISDIR) hint.clear();
  }
  return Error(kind, str("cannot ", action, ": ", words(code, path)), path.string(), hint);
}

MappedFile::MappedFile(const fs::path& path) : path_(path) {
  Descriptor file(path, O_RDONLY | O_NONBLOCK);
  struct stat status{};
  open_regular(path, status, file);
  if (status.st_size == 0) throw Error(ErrorKind::format, "the file is empty", path.string());
  size_ = static_cast<size_t>(status.st_size);
  void* data = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (data == MAP_FAILED) throw os_error("map", path, errno);
  data_ = static_cast<const std::byte*>(data);
  file_ = file.take();
}

MappedFile::~MappedFile() {
  if (data_) ::munmap(const_cast<std::byte*>(data_), size_);
  if (file_ >= 0) ::close(file_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      file_(std::exchange(other.file_, -1)),
      path_(std::move(other.path_)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(file_, other.file_);
  std::swap(path_, other.path_);
  return *this;
}

void MappedFile::will_need(std::span<const std::byte> part) const {
  advise(part, MADV_WILLNEED);
}
void MappedFile::release(std::span<const std::byte> part) const {
  advise(part, MADV_DONTNEED);
}

void MappedFile::read(std::span<const std::byte> part, std::byte* out) const {
  auto at = static_cast<off_t>(part.data() - data_);
  for (size_t left = part.size(); left > 0;) {
    const ssize_t done = ::pread(file_, out, left, at);
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) throw os_error("read", path_, errno);
    if (done == 0)
      throw Error(ErrorKind::format, str("the file was cut to ", at, " bytes while it was read"),
                  path_.string());
    out += done;
    at += done;
    left -= static_cast<size_t>(done);
  }
}

AtomicFile::AtomicFile(const fs::path& path) : path_(path) {
  if (path.filename().empty()) {
    throw Error(ErrorKind::usage, "a file name is needed, this is a folder", path.string());
  }
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) throw os_error("write", path, EISDIR);
  // The rename would put a plain file in the place of /dev/null or a pipe.
  if (fs::is_other(fs::status(path, ignored))) {
    throw Error(ErrorKind::usage, "cannot write: it is a device or a pipe, not a file",
                path.string());
  }
  temporary_ = path.parent_path() / str(".", path.filename().string(), ".tmp-", ::getpid());
  file_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (file_ < 0) throw os_error("write", path_, errno);
}

AtomicFile::~AtomicFile() {
  if (file_ < 0) return;
  ::close(file_);
  ::unlink(temporary_.c_str());
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  written_ += bytes.size();
  if (buffer_.size() + bytes.size() > kBuffer) flush();
  if (bytes.size() >= kBuffer) {
    write_all(file_, bytes, path_);
  } else {
    buffer_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
}

void AtomicFile::flush() {
  write_all(file_, std::as_bytes(std::span(buffer_.data(), buffer_.size())), path_);
  buffer_.clear();
}

void AtomicFile::commit() {
  SMIDGEN_ASSERT(file_ >= 0);
  flush();
  sync_descriptor(file_, path_);
  // close() is where some network file systems report that the disk was full.
  const int file = std::exchange(file_, -1);
  if (::close(file) != 0 || ::rename(temporary_.c_str(), path_.c_str()) != 0) {
    const int code = errno;
    ::unlink(temporary_.c_str());
    throw os_error("write", path_, code);
  }
  sync_folder(path_.parent_path());
}

void write_all(int file, std::span<const std::byte> bytes, const fs::path& path) {
  while (!bytes.empty()) {
    const ssize_t done = ::write(file, bytes.data(), bytes.size());
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) throw os_error("write", path, errno);
    bytes = bytes.subspan(static_cast<size_t>(done));
  }
}

void write_file(const fs::path& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

std::string read_file(const fs::path& path, uint64_t limit) {
  Descriptor file(path, O_RDONLY | O_NONBLOCK);
  struct stat status{};
  open_regular(path, status, file);
  std::string text;
  const auto too_large = [&](uint64_t size) {
    return Error(ErrorKind::format,
                 str("the file is larger than the ", bytes_str(limit), " that are read here (",
                     bytes_str(size), ")"),
                 path.string());
  };
  if (static_cast<uint64_t>(status.st_size) > limit) throw too_large(status.st_size);
  text.resize(static_cast<size_t>(status.st_size));
  size_t have = 0;
  for (;;) {
    // Files in /proc and growing files hold more than fstat said.
    if (have == text.size()) text.resize(have + 4096);
    const ssize_t got = ::read(file.get(), text.data() + have, text.size() - have);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw os_error("read", path, errno);
    if (got == 0) break;
    have += static_cast<size_t>(got);
    if (have > limit) throw too_large(have);
  }
  text.resize(have);
  return text;
}

bool path_exists(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

void sync_file(const fs::path& path) {
  Descriptor file(path, O_RDONLY);
  if (file.get() < 0) throw os_error("sync", path, errno);
  sync_descriptor(file.get(), path);
}

void sync_folder(const fs::path& path) {
  const fs::path folder = path.empty() ? fs::path(".") : path;
  Descriptor file(folder, O_RDONLY | O_DIRECTORY);
  if (file.get() < 0) throw os_error("sync", folder, errno);
  sync_descriptor(file.get(), folder);
}

}  // namespace smidgen
