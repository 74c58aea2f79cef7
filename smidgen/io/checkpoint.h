// Checkpoints that are complete or absent. A save writes into NAME.tmp, syncs every file and the
// folder, writes DONE last, renames to NAME, syncs the parent, and only then removes older ones,
// each renamed to NAME.tmp before anything in it goes. What a crash leaves (*.tmp) is ignored by
// list() and cleaned by the next save, and so are folders that somebody robbed of their DONE.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "smidgen/base/fs.h"
#include "smidgen/base/json.h"

namespace smidgen {

struct Checkpoint {
  fs::path path;  // .../step-00000100
  int64_t step = 0;

  Json state() const;  // state.json
};

struct Retention {
  int64_t total_limit = 0;      // newest complete checkpoints to keep; 0 keeps all
  std::optional<int64_t> best;  // this step is never removed (it counts towards the limit)
};

class CheckpointStore {
 public:
  // `folder` is RUN/checkpoints; it is made by the first save.
  explicit CheckpointStore(fs::path folder) : folder_(std::move(folder)) {}

  std::vector<Checkpoint> list() const;  // complete ones, by step
  std::optional<Checkpoint> latest() const;
  // Throws not_found with the steps that exist.
  Checkpoint find(int64_t step) const;

  // `write` fills the folder it is given (sub-folders allowed; the names state.json and DONE are
  // taken). A complete checkpoint of the same step is replaced. When anything fails the temporary
  // folder is removed, earlier checkpoints are untouched, and the Error says which one is the last.
  Checkpoint save(int64_t step, const Json& state,
                  const std::function<void(const fs::path&)>& write,
                  const Retention& retention = {});

  // Removes complete checkpoints later than `step`: after resuming from an older one they describe
  // another future.
  void remove_after(int64_t step);

 private:
  void clean() const;
  void remove_complete(const fs::path& path) const;
  void retain(const Retention& retention) const;
  fs::path folder_;
};

// "step-00000100"
std::string checkpoint_name(int64_t step);

}  // namespace smidgen
