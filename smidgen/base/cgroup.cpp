#include "smidgen/base/cgroup.h"

#include <algorithm>
#include <fstream>
#include <functional>
#include <sstream>
#include <string_view>
#include <vector>

namespace smidgen {
namespace {

// Folders of the process's group and its parents in one hierarchy, innermost first. A container may
// mount its own group as the root, so the mount point itself is always tried last.
std::vector<std::string> group_folders(const std::string& root, const std::string& controller) {
  std::ifstream file(root + "/proc/self/cgroup");
  std::string line, path;
  bool found = false;
  while (std::getline(file, line)) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == line.npos || second == line.npos) continue;
    const std::string names = "," + line.substr(first + 1, second - first - 1) + ",";
    const bool unified = controller.empty() && line.starts_with("0::");
    if (unified || (!controller.empty() && names.find("," + controller + ",") != names.npos)) {
      path = line.substr(second + 1);
      found = true;
    }
  }
  std::vector<std::string> folders;
  if (!found) return folders;
  const std::string mount = root + "/sys/fs/cgroup" + (controller.empty() ? "" : "/" + controller);
  while (!path.empty() && path != "/") {
    folders.push_back(mount + path);
    path.resize(path.rfind('/') == path.npos ? 0 : path.rfind('/'));
  }
  folders.push_back(mount);
  return folders;
}

std::optional<std::string> first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  return line;
}

std::optional<int64_t> number_in(const std::string& path) {
  const auto line = first_line(path);
  if (!line) return std::nullopt;
  std::istringstream stream(*line);
  int64_t value = 0;
  if (!(stream >> value)) return std::nullopt;
  return value;
}

template <class T>
void keep_least(std::optional<T>& least, std::optional<T> value) {
  if (value && (!least || *value < *least)) least = value;
}

}  // namespace

std::optional<int64_t> cgroup_memory_limit(const std::string& root) {
  // Version 1 says "no limit" with a number near 2^63.
  constexpr int64_t kUnlimited = int64_t{1} << 60;
  std::optional<int64_t> least;
  const auto take = [&](const std::string& path) {
    const auto value = number_in(path);
    if (value && *value > 0 && *value < kUnlimited) keep_least(least, value);
  };
  for (const std::string& folder : group_folders(root, "")) take(folder + "/memory.max");
  for (const std::string& folder : group_folders(root, "memory")) {
    take(folder + "/memory.limit_in_bytes");
  }
  return least;
}

std::optional<double> cgroup_cpu_quota(const std::string& root) {
  std::optional<double> least;
  const auto take = [&](std::optional<int64_t> quota, std::optional<int64_t> period) {
    if (quota && period && *quota > 0 && *period > 0) {
      keep_least(least, std::optional(static_cast<double>(*quota) / static_cast<double>(*period)));
    }
  };
  for (const std::string& folder : group_folders(root, "")) {
    const auto line = first_line(folder + "/cpu.max");
    if (!line) continue;
    std::istringstream stream(*line);
    int64_t quota = 0, period = 0;
    if (stream >> quota >> period) take(quota, period);
  }
  for (const std::string& folder : group_folders(root, "cpu")) {
    take(number_in(folder + "/cpu.cfs_quota_us"), number_in(folder + "/cpu.cfs_period_us"));
  }
  return least;
}

}  // namespace smidgen
