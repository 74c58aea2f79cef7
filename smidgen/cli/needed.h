// Which libraries a shared object needs and where the loader would find them, read from its headers: nothing is loaded.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace smidgen {

struct NeededLibrary {
  std::string name;             // "libtorch_cpu.so"
  std::filesystem::path found;  // empty: in none of the object's own search folders
};

// The DT_NEEDED entries of a 64-bit ELF file, looked up in its DT_RUNPATH or DT_RPATH ($ORIGIN is the file's folder). The
// system's own folders are not searched. Throws format for what is not such a file.
std::vector<NeededLibrary> needed_libraries(const std::filesystem::path& object);

}  // namespace smidgen
