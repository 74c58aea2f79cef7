// What the fuzz targets share: one input becomes a file or a folder, and an Error is the only
// answer that a reader may give beside success.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "smidgen/base/temporary_folder.h"

namespace smidgen::fuzz {

// Compiled in release builds too, unlike assert(): a target without its laws finds crashes only.
inline void require(bool holds, std::string_view law, std::string_view found = {}) {
  if (holds) return;
  std::fprintf(stderr, "broken law: %.*s\n%.*s\n", static_cast<int>(law.size()), law.data(),
               static_cast<int>(found.size()), found.data());
  std::abort();
}

// True when `read` returned. An Error must say what and where; any other exception ends the run as
// a finding.
template <class Read>
bool accepted(Read&& read) {
  try {
    read();
    return true;
  } catch (const Error& error) {
    require(!error.message().empty() && !error.where().empty(), "an error says what and where",
            error.what());
    return false;
  }
}

// Files that live as long as the process and are written anew for every input. The runner points
// TMPDIR at memory.
class Folder {
 public:
  fs::path put(const std::string& name, std::string_view bytes) {
    const fs::path path = folder_ / name;
    std::ofstream(path, std::ios::binary | std::ios::trunc)
        .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    names_.push_back(name);
    return path;
  }
  void clear() {
    std::error_code ignored;
    for (const std::string& name : names_) fs::remove_all(folder_ / name, ignored);
    names_.clear();
  }
  const fs::path& path() const { return folder_.path(); }

  // Several files from one input, so that corpora stay readable:
  //   === NAME [zeros]
  //   text up to the next such line
  // A name that ends in .safetensors gets its header length in front and `zeros` zero bytes behind.
  void unpack(std::string_view archive);

 private:
  TemporaryFolder folder_;
  std::vector<std::string> names_;
};

// "HEADER" and a count of zero bytes as a safetensors file.
inline std::string safetensors(std::string_view header, size_t zeros) {
  uint64_t length = header.size();
  std::string file(reinterpret_cast<const char*>(&length), sizeof length);
  file += header;
  file.append(std::min<size_t>(zeros, 4096), '\0');
  return file;
}

inline void Folder::unpack(std::string_view archive) {
  clear();
  constexpr std::string_view kMark = "=== ";
  while (archive.starts_with(kMark) && names_.size() < 12) {
    const size_t line = std::min(archive.find('\n'), archive.size());
    std::string_view name = archive.substr(kMark.size(), line - kMark.size());
    archive.remove_prefix(std::min(line + 1, archive.size()));
    size_t end = archive.starts_with(kMark) ? 0 : archive.find("\n=== ");
    end = end == archive.npos ? archive.size() : end;
    const std::string_view body = archive.substr(0, end);
    archive.remove_prefix(std::min(end + (end != 0), archive.size()));
    size_t zeros = 0;
    if (const size_t blank = name.find(' '); blank != name.npos) {
      zeros = std::strtoul(std::string(name.substr(blank)).c_str(), nullptr, 10);
      name = name.substr(0, blank);
    }
    const bool plain = !name.empty() && name.size() < 64 && name.front() != '.' &&
                       name.find_first_not_of(
                           "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                           "0123456789._-") == name.npos;
    if (!plain) continue;
    put(std::string(name),
        name.ends_with(".safetensors") ? safetensors(body, zeros) : std::string(body));
  }
}

inline std::string_view text_of(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

}  // namespace smidgen::fuzz
