#include "smidgen/io/metrics_log.h"

#include <cerrno>
#include <fcntl.h>
#include <unistd.h>

#include <sys/stat.h>

namespace smidgen {

MetricsLog::MetricsLog(const fs::path& path, uint64_t offset) : path_(path), offset_(offset) {
  file_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (file_ < 0) throw os_error("write", path, errno);
  try {
    struct stat status{};
    if (::fstat(file_, &status) != 0) throw os_error("read", path, errno);
    const auto size = static_cast<uint64_t>(status.st_size);
    char last = '\n';
    if (offset > 0 && offset <= size &&
        ::pread(file_, &last, 1, static_cast<off_t>(offset - 1)) != 1) {
      throw os_error("read", path, errno);
    }
    if (offset > size || last != '\n') {
      throw Error(ErrorKind::mismatch,
                  offset > size
                      ? str("the log has ", size, " bytes, the checkpoint remembers ", offset)
                      : str("no line ends at byte ", offset),
                  path.string(), "the file was changed after the checkpoint");
    }
    if (::ftruncate(file_, static_cast<off_t>(offset)) != 0) throw os_error("cut", path, errno);
    if (::lseek(file_, static_cast<off_t>(offset), SEEK_SET) < 0)
      throw os_error("write", path, errno);
  } catch (...) {
    ::close(file_);
    throw;
  }
}

MetricsLog::~MetricsLog() {
  ::close(file_);
}

void MetricsLog::append(const Json& line) {
  const std::string text = line.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  try {
    write_all(file_, std::as_bytes(std::span(text.data(), text.size())), path_);
  } catch (const Error&) {
    // Never leave half a line.
    if (::ftruncate(file_, static_cast<off_t>(offset_)) == 0) {
      ::lseek(file_, static_cast<off_t>(offset_), SEEK_SET);
    }
    throw;
  }
  offset_ += text.size();
}

uint64_t MetricsLog::sync() {
  if (::fsync(file_) != 0 && errno != EINVAL) throw os_error("sync", path_, errno);
  return offset_;
}

}  // namespace smidgen
