// One JSON object a line, append-only.
#pragma once

#include <cstdint>
#include <filesystem>

#include "smidgen/base/fs.h"
#include "smidgen/base/json.h"

namespace smidgen {

class MetricsLog {
 public:
  // Opens or makes `path` and cuts it to `offset` bytes: 0 for a new run, a checkpoint's offset on
  // resume. An offset beyond the end, or not at the end of a line, is an Error mismatch.
  MetricsLog(const fs::path& path, uint64_t offset);
  ~MetricsLog();
  MetricsLog(const MetricsLog&) = delete;
  MetricsLog& operator=(const MetricsLog&) = delete;

  // The line is in the file (not yet synced) when this returns, so that `tail -f` shows it.
  void append(const Json& line);
  // Everything appended so far is on disk after this.
  uint64_t sync();
  uint64_t offset() const { return offset_; }

 private:
  fs::path path_;
  int file_ = -1;
  uint64_t offset_ = 0;
};

}  // namespace smidgen
