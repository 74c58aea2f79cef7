#include "smidgen/cli/needed.h"

#include <elf.h>

#include <cstring>
#include <sstream>

#include "smidgen/base/fs.h"

namespace smidgen {

namespace {

// Reads of a mapped object, each checked against its end.
class Object {
 public:
  explicit Object(const fs::path& path) : path_(path), file_(path) {}

  template <class T>
  T at(uint64_t offset) const {
    if (offset > file_.bytes().size() || file_.bytes().size() - offset < sizeof(T)) refuse();
    T value;
    std::memcpy(&value, file_.bytes().data() + offset, sizeof value);
    return value;
  }
  std::string text(uint64_t offset) const {
    std::string word;
    for (char c; (c = at<char>(offset++)) != 0;) word += c;
    return word;
  }
  [[noreturn]] void refuse() const { throw Error(ErrorKind::format, "not a 64-bit shared object", path_.string()); }

 private:
  fs::path path_;
  MappedFile file_;
};

}  // namespace

std::vector<NeededLibrary> needed_libraries(const fs::path& path) {
  const Object object(path);
  const auto header = object.at<Elf64_Ehdr>(0);
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64) object.refuse();
  std::vector<Elf64_Phdr> segments;
  for (uint64_t i = 0; i < header.e_phnum; ++i) {
    segments.push_back(object.at<Elf64_Phdr>(header.e_phoff + i * sizeof(Elf64_Phdr)));
  }
  // Addresses in the dynamic section are those of the loaded image; segments say where that lies in the file.
  const auto in_file = [&](uint64_t address) {
    for (const Elf64_Phdr& s : segments) {
      if (s.p_type == PT_LOAD && address >= s.p_vaddr && address - s.p_vaddr < s.p_filesz) return address - s.p_vaddr + s.p_offset;
    }
    object.refuse();
  };
  std::vector<uint64_t> needed, paths;
  uint64_t strings = 0;
  for (const Elf64_Phdr& s : segments) {
    if (s.p_type != PT_DYNAMIC) continue;
    for (uint64_t i = 0;; ++i) {
      const auto entry = object.at<Elf64_Dyn>(s.p_offset + i * sizeof(Elf64_Dyn));
      if (entry.d_tag == DT_NULL) break;
      if (entry.d_tag == DT_STRTAB) strings = in_file(entry.d_un.d_ptr);
      if (entry.d_tag == DT_NEEDED) needed.push_back(entry.d_un.d_val);
      if (entry.d_tag == DT_RUNPATH || entry.d_tag == DT_RPATH) paths.push_back(entry.d_un.d_val);
    }
  }
  std::vector<fs::path> folders;
  for (const uint64_t offset : paths) {
    std::istringstream list(object.text(strings + offset));
    for (std::string folder; std::getline(list, folder, ':');) {
      if (const size_t at = folder.find("$ORIGIN"); at != folder.npos) folder.replace(at, 7, path.parent_path().string());
      folders.emplace_back(folder);
    }
  }
  std::vector<NeededLibrary> libraries;
  for (const uint64_t offset : needed) {
    NeededLibrary library{object.text(strings + offset), {}};
    for (const fs::path& folder : folders) {
      std::error_code ignored;
      if (library.found.empty() && fs::exists(folder / library.name, ignored)) library.found = folder / library.name;
    }
    libraries.push_back(std::move(library));
  }
  return libraries;
}

}  // namespace smidgen
