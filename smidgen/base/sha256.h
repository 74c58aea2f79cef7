// SHA-256 (FIPS 180-4) over OpenSSL, as 64 lower-case hexadecimal digits.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace smidgen {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;
  void update(std::span<const std::byte> bytes);
  void update(std::string_view text);
  std::string hex();  // ends the computation; call once

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

std::string sha256(std::string_view text);
std::string sha256(std::span<const std::byte> bytes);
// Reads the file in pieces; memory does not grow with it.
std::string sha256_file(const std::filesystem::path& path);

}  // namespace smidgen
