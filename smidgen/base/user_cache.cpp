#include "smidgen/base/user_cache.h"

#include <cstdlib>
#include <ctime>

#include <sys/stat.h>

#include "smidgen/base/error.h"
#include "smidgen/base/sha256.h"

namespace smidgen {

namespace {

constexpr size_t kMost = 200;

fs::path table(const std::string& name) {
  const fs::path folder = user_cache();
  return folder.empty() ? folder : folder / (name + ".json");
}

}  // namespace

fs::path user_cache() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  if (cache && cache[0] == '/') return fs::path(cache) / "smidgen";
  const char* home = std::getenv("HOME");
  if (home && home[0] == '/') return fs::path(home) / ".cache" / "smidgen";
  return {};
}

Json read_cache(const std::string& name) {
  const fs::path path = table(name);
  if (path.empty() || !path_exists(path)) return Json::object();
  try {
    Json all = Json::parse(read_file(path), nullptr, /*allow_exceptions=*/false);
    return all.is_object() ? all : Json::object();
  } catch (const Error&) {
    return Json::object();
  }
}

void keep_in_cache(const std::string& name, const std::string& key, const Json& entry) {
  const fs::path path = table(name);
  if (path.empty()) return;
  Json all = read_cache(name);
  all.erase(key);
  all[key] = entry;
  while (all.size() > kMost) all.erase(all.begin());  // in the order of their arrival
  try {
    std::error_code ignored;
    fs::create_directories(path.parent_path(), ignored);
    write_file(path, all.dump(1) + "\n");
  } catch (const Error&) {
  }
}

std::string cached_file_digest(const fs::path& path) {
  // A file written twice within a tick of the clock may look the same both times.
  constexpr int64_t kSettled = 3;  // seconds
  struct stat s{};
  if (::stat(path.c_str(), &s) != 0) return sha256_file(path);
  const std::string key = str(s.st_dev, ":", s.st_ino, ":", s.st_size, ":", s.st_mtim.tv_sec, ".",
                              s.st_mtim.tv_nsec, ":", s.st_ctim.tv_sec, ".", s.st_ctim.tv_nsec);
  const Json known = read_cache("digests");
  if (const auto found = known.find(key); found != known.end() && found->is_string())
    return found->get<std::string>();
  const std::string digest = sha256_file(path);
  if (std::time(nullptr) - std::max(s.st_mtim.tv_sec, s.st_ctim.tv_sec) > kSettled)
    keep_in_cache("digests", key, digest);
  return digest;
}

}  // namespace smidgen
