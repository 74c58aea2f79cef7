#include "smidgen/base/sha256.h"

#include <cerrno>
#include <fcntl.h>
#include <unistd.h>
#include <vector>

#include <openssl/evp.h>
#include <sys/stat.h>

#include "smidgen/base/fs.h"

namespace smidgen {

struct Sha256::Context {
  EVP_MD_CTX* md = EVP_MD_CTX_new();
  ~Context() { EVP_MD_CTX_free(md); }
};

Sha256::Sha256() : context_(std::make_unique<Context>()) {
  SMIDGEN_ASSERT(context_->md && EVP_DigestInit_ex(context_->md, EVP_sha256(), nullptr) == 1);
}

Sha256::~Sha256() = default;

void Sha256::update(std::span<const std::byte> bytes) {
  SMIDGEN_ASSERT(EVP_DigestUpdate(context_->md, bytes.data(), bytes.size()) == 1);
}

void Sha256::update(std::string_view text) {
  update(std::as_bytes(std::span(text.data(), text.size())));
}

std::string Sha256::hex() {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  SMIDGEN_ASSERT(EVP_DigestFinal_ex(context_->md, digest, &size) == 1);
  std::string text;
  for (unsigned int i = 0; i < size; ++i) {
    text += "0123456789abcdef"[digest[i] >> 4];
    text += "0123456789abcdef"[digest[i] & 15];
  }
  return text;
}

std::string sha256(std::string_view text) {
  return sha256(std::as_bytes(std::span(text.data(), text.size())));
}

std::string sha256(std::span<const std::byte> bytes) {
  Sha256 state;
  state.update(bytes);
  return state.hex();
}

std::string sha256_file(const std::filesystem::path& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) throw os_error("open", path, errno);
  Sha256 state;
  std::vector<std::byte> buffer(1 << 20);
  for (;;) {
    const ssize_t got = ::read(file, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      const int code = errno;
      ::close(file);
      throw os_error("read", path, code);
    }
    if (got == 0) break;
    state.update(std::span(buffer.data(), static_cast<size_t>(got)));
  }
  ::close(file);
  return state.hex();
}

}  // namespace smidgen
