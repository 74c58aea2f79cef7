#include "smidgen/io/checkpoint.h"

#include <algorithm>
#include <charconv>
#include <cstdio>

#include "smidgen/base/unfinished_folder.h"
#include "smidgen/io/json_file.h"

namespace smidgen {

namespace {

constexpr std::string_view kPrefix = "step-", kTemporary = ".tmp";
constexpr const char* kDone = "DONE";
constexpr const char* kState = "state.json";

// The step of "step-00000100", or nothing for a name of another kind.
std::optional<int64_t> step_of(std::string_view name) {
  if (!name.starts_with(kPrefix)) return std::nullopt;
  name.remove_prefix(kPrefix.size());
  int64_t step = 0;
  const auto [end, code] = std::from_chars(name.data(), name.data() + name.size(), step);
  if (code != std::errc() || end != name.data() + name.size() || step < 0) return std::nullopt;
  return step;
}

bool is_complete(const fs::path& folder) {
  return path_exists(folder / kDone);
}

std::vector<fs::path> folders_in(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code code;
  fs::directory_iterator at(folder, code), end;
  if (code == std::errc::no_such_file_or_directory) return found;
  for (; !code && at != end; at.increment(code)) {
    if (at->is_directory()) found.push_back(at->path());
  }
  if (code) throw os_error("read", folder, code.value());
  return found;
}

}  // namespace

std::string checkpoint_name(int64_t step) {
  char text[40];
  std::snprintf(text, sizeof text, "step-%08lld", static_cast<long long>(step));
  return text;
}

Json Checkpoint::state() const {
  return read_json(path / kState);
}

std::vector<Checkpoint> CheckpointStore::list() const {
  std::vector<Checkpoint> all;
  for (const fs::path& path : folders_in(folder_)) {
    const auto step = step_of(path.filename().string());
    if (step && is_complete(path)) all.push_back({path, *step});
  }
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.step < b.step; });
  return all;
}

std::optional<Checkpoint> CheckpointStore::latest() const {
  auto all = list();
  if (all.empty()) return std::nullopt;
  return std::move(all.back());
}

Checkpoint CheckpointStore::find(int64_t step) const {
  std::vector<int64_t> steps;
  for (Checkpoint& checkpoint : list()) {
    if (checkpoint.step == step) return checkpoint;
    steps.push_back(checkpoint.step);
  }
  throw Error(
      ErrorKind::not_found, str("there is no complete checkpoint of step ", step), folder_.string(),
      steps.empty() ? "there are none at all" : str("there are those of step ", join(steps)));
}

void CheckpointStore::clean() const {
  for (const fs::path& path : folders_in(folder_)) {
    std::string name = path.filename().string();
    const bool temporary = name.ends_with(kTemporary);
    if (temporary) name.resize(name.size() - kTemporary.size());
    if (step_of(name) && (temporary || !is_complete(path))) remove_tree(path);
  }
}

Checkpoint CheckpointStore::save(int64_t step, const Json& state,
                                 const std::function<void(const fs::path&)>& write,
                                 const Retention& retention) {
  SMIDGEN_ASSERT(step >= 0);
  const fs::path path = folder_ / checkpoint_name(step);
  try {
    make_folder(folder_);
    clean();
    const UnfinishedFolder temporary(fs::path(path) += kTemporary);
    write(temporary.path);
    write_file(temporary.path / kState, state.dump(2) + "\n");
    sync_tree(temporary.path);
    write_file(temporary.path / kDone, "");
    replace_folder(temporary.path, path);
  } catch (const Error& error) {
    std::string kept = "; there is no earlier checkpoint";
    if (const auto last = latest())
      kept = str("; the checkpoint of step ", last->step, " is intact");
    throw Error(error.kind(),
                str("the checkpoint of step ", step, " was not saved: ", error.message(), kept),
                error.where(), error.hint());
  }
  retain(retention);
  return {path, step};
}

void CheckpointStore::retain(const Retention& retention) const {
  if (retention.total_limit <= 0) return;
  const auto all = list();
  auto excess = static_cast<int64_t>(all.size()) - retention.total_limit;
  for (size_t i = 0; i + 1 < all.size() && excess > 0; ++i) {
    if (retention.best == all[i].step) continue;
    remove_complete(all[i].path);
    --excess;
  }
}

void CheckpointStore::remove_after(int64_t step) {
  for (const Checkpoint& checkpoint : list()) {
    if (checkpoint.step > step) remove_complete(checkpoint.path);
  }
}

// The name goes first, in one step: a crash half-way leaves a temporary folder, never a checkpoint
// that has its name and misses files.
void CheckpointStore::remove_complete(const fs::path& path) const {
  const fs::path temporary = fs::path(path) += kTemporary;
  remove_tree(temporary);
  std::error_code code;
  fs::rename(path, temporary, code);
  if (code) throw os_error("rename", path, code.value());
  sync_folder(folder_);
  remove_tree(temporary);
}

}  // namespace smidgen
