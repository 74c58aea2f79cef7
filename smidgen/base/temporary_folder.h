// For tests: an empty folder that goes away with its owner, and a way to look at an Error.
#pragma once

#include <stdlib.h>
#include <string>

#include "smidgen/base/fs.h"

namespace smidgen {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (fs::temp_directory_path() / "smidgen-test-XXXXXX").string();
    SMIDGEN_ASSERT(::mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const fs::path& path() const { return path_; }
  fs::path operator/(const fs::path& name) const { return path_ / name; }

 private:
  fs::path path_;
};

// "KIND: MESSAGE (WHERE) HINT" of the Error that `call` throws, or "no error".
template <class Call>
std::string error_of(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    return str(to_string(error.kind()), ": ", error.what(), " ", error.hint());
  }
  return "no error";
}

}  // namespace smidgen
