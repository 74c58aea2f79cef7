// A folder that is filled under a name of its own and renamed when it is whole.
#pragma once

#include <utility>

#include "smidgen/base/fs.h"

namespace smidgen {

// Removes what an interrupted write left under this name, makes the folder, and removes it again at
// the end of the scope unless it was renamed away.
struct UnfinishedFolder {
  explicit UnfinishedFolder(fs::path at) : path(std::move(at)) {
    remove_tree(path);
    make_folder(path);
  }
  ~UnfinishedFolder() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
  UnfinishedFolder(const UnfinishedFolder&) = delete;
  UnfinishedFolder& operator=(const UnfinishedFolder&) = delete;

  const fs::path path;
};

}  // namespace smidgen
