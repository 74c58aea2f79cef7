#include "smidgen/io/run_folder.h"

namespace smidgen {

namespace {

constexpr const char* kLock = "lock";

// A lock file alone is what a run leaves that was stopped before it wrote anything.
bool has_content(const fs::path& folder) {
  std::error_code code;
  for (fs::directory_iterator at(folder, code), end; !code && at != end; at.increment(code)) {
    if (at->path().filename() != kLock) return true;
  }
  if (code) throw os_error("read", folder, code.value());
  return false;
}

}  // namespace

RunFolder RunFolder::create(const fs::path& path, bool resume) {
  if (path.empty()) throw Error(ErrorKind::usage, "no run folder is given");
  std::error_code ignored;
  const bool present = fs::exists(path, ignored);
  if (present && !fs::is_directory(path, ignored)) {
    throw Error(ErrorKind::resource, "a run is a folder, and there is a file of that name",
                path.string(), "choose another name");
  }
  const std::string hint = "continue it with --resume, or choose another folder";
  if (present && !resume && has_content(path)) {
    throw Error(ErrorKind::usage, "the run folder exists and is not empty", path.string(), hint);
  }
  make_folder(path);
  FileLock lock(path / kLock);
  // Another process may have come and gone between the look and the lock.
  if (!resume && has_content(path)) {
    throw Error(ErrorKind::usage, "the run folder exists and is not empty", path.string(), hint);
  }
  return RunFolder(path, std::move(lock));
}

}  // namespace smidgen
