// What a list of data files, folders and patterns stands for.
#include <algorithm>
#include <cerrno>
#include <glob.h>

#include "smidgen/base/error.h"
#include "smidgen/base/fs.h"
#include "smidgen/text/dataset.h"

namespace smidgen {
namespace {

std::vector<fs::path> in_folder(const fs::path& folder) {
  static const std::vector<std::string> kExtensions = {".jsonl", ".ndjson", ".json", ".txt"};
  std::vector<fs::path> found;
  std::error_code code;
  for (const auto& item : fs::directory_iterator(folder, code)) {
    const std::string extension = item.path().extension().string();
    if (item.is_regular_file(code) && item.path().filename().string()[0] != '.' &&
        std::find(kExtensions.begin(), kExtensions.end(), extension) != kExtensions.end())
      found.push_back(item.path());
  }
  if (code) throw os_error("read", folder, code.value());
  if (found.empty())
    throw Error(ErrorKind::not_found, str("no data file in the folder"), folder.string(),
                str("names that end in ", join(kExtensions), " are taken"));
  std::sort(found.begin(), found.end());
  return found;
}

std::vector<fs::path> matches(const std::string& pattern) {
  glob_t found{};
  const int code = ::glob(pattern.c_str(), 0, nullptr, &found);
  std::vector<fs::path> paths;
  for (size_t i = 0; code == 0 && i < found.gl_pathc; ++i) paths.emplace_back(found.gl_pathv[i]);
  ::globfree(&found);
  if (paths.empty()) throw Error(ErrorKind::not_found, "no file matches the pattern", pattern);
  return paths;  // sorted by glob
}

}  // namespace

std::vector<fs::path> data_files(std::span<const std::string> named) {
  std::vector<fs::path> files;
  const auto take = [&](const fs::path& path) {
    if (!fs::is_directory(path)) {
      files.push_back(path);
      return;
    }
    for (const fs::path& file : in_folder(path)) files.push_back(file);
  };
  for (const std::string& name : named) {
    if (path_exists(name)) {
      take(name);
    } else if (name.find_first_of("*?[") != std::string::npos) {
      for (const fs::path& path : matches(name)) take(path);
    } else {
      throw os_error("read", name, ENOENT);
    }
  }
  return files;
}

}  // namespace smidgen
