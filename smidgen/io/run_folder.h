// The folder of one run. At most one process works in it: RUN/lock is locked for the life of the
// object.
#pragma once

#include <filesystem>

#include "smidgen/base/fs.h"

namespace smidgen {

class RunFolder {
 public:
  // Makes the folder, or opens it when `resume`. A folder with content and no `resume` is an Error
  // usage (exit 2), a running owner, a read-only folder or a file in the way Error resource.
  static RunFolder create(const fs::path& path, bool resume);

  const fs::path& root() const { return root_; }
  fs::path recipe() const { return root_ / "recipe.yaml"; }
  fs::path metrics() const { return root_ / "metrics.jsonl"; }
  fs::path events() const { return root_ / "events"; }
  fs::path checkpoints() const { return root_ / "checkpoints"; }
  fs::path adapter() const { return root_ / "adapter"; }
  fs::path report() const { return root_ / "report.html"; }

 private:
  RunFolder(fs::path root, FileLock lock) : root_(std::move(root)), lock_(std::move(lock)) {}
  fs::path root_;
  FileLock lock_;
};

}  // namespace smidgen
