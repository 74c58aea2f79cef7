#include "smidgen/text/token_cache.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <unistd.h>

#include "smidgen/base/error.h"
#include "smidgen/base/log.h"
#include "smidgen/base/user_cache.h"
#include "smidgen/io/json_file.h"

namespace smidgen {
namespace {

constexpr const char* kEntry = "entry.json";
constexpr const char* kArrays[] = {"ids.i32", "answer.u8", "lengths.i32", "lines.u32", "labels.u8"};
constexpr const char* kLock = "lock";

Error damaged(const fs::path& path, const std::string& what) {
  return Error(ErrorKind::format, what, path.string());
}

int64_t number(const Json& entry, const char* key, const fs::path& path) {
  if (!entry.is_object() || !entry.contains(key) || !entry[key].is_number_integer())
    throw damaged(path, str("'", key, "' is missing"));
  return entry[key].get<int64_t>();
}

CachedTokens open_entry(const fs::path& path) {
  CachedTokens out;
  out.entry = read_json(path / kEntry);
  out.tokens = std::make_shared<TokenArrays>();
  const int64_t sequences = number(out.entry, "sequences", path / kEntry),
                tokens = number(out.entry, "tokens", path / kEntry);
  const auto check = [&](const char* name, size_t have, int64_t wanted) {
    if (wanted < 0 || have != static_cast<uint64_t>(wanted))
      throw damaged(path / name, str(have, " elements where entry.json says ", wanted));
  };
  TokenArrays& arrays = *out.tokens;
  arrays.ids = arrays.map<int32_t>(path / "ids.i32");
  arrays.answer = arrays.map<uint8_t>(path / "answer.u8");
  const auto lengths = arrays.map<int32_t>(path / "lengths.i32");
  arrays.lines = arrays.map<uint32_t>(path / "lines.u32");
  if (path_exists(path / "labels.u8")) {
    arrays.labels = arrays.map<uint8_t>(path / "labels.u8");
    check("labels.u8", arrays.labels.size(), sequences);
  }
  check("ids.i32", arrays.ids.size(), tokens);
  check("answer.u8", arrays.answer.size(), tokens);
  check("lengths.i32", lengths.size(), sequences);
  check("lines.u32", arrays.lines.size(), sequences);
  for (const char* count : {"answer_tokens", "truncated", "skipped"})
    number(out.entry, count, path / kEntry);
  out.lengths.assign(lengths.begin(), lengths.end());
  int64_t sum = 0;
  for (const int32_t length : out.lengths) {
    if (length < 1) throw damaged(path / "lengths.i32", "a sequence without tokens");
    sum += length;
  }
  if (sum != tokens) throw damaged(path / "lengths.i32", "the lengths do not add up to the tokens");
  out.digest = arrays.digest(out.lengths);
  if (!out.entry.contains("digest") || out.entry["digest"] != out.digest)
    throw damaged(path, "the arrays do not have the digest that entry.json says");
  return out;
}

// Of runs that were killed: nobody holds their lock any more.
void remove_leftovers(const fs::path& folder) {
  std::error_code code;
  for (const auto& item : fs::directory_iterator(folder, code)) {
    const std::string name = item.path().filename().string();
    if (!name.starts_with(".") || name.find(".tmp-") == std::string::npos) continue;
    if (!path_exists(item.path() / kLock)) continue;  // another run is just making it
    try {
      const FileLock mine(item.path() / kLock);
      remove_tree(item.path());
    } catch (const Error&) {
      // It is being written, or is not ours to remove.
    }
  }
}

}  // namespace

std::optional<CachedTokens> open_cached_tokens(const fs::path& folder, const std::string& key) {
  const fs::path path = folder / key;
  if (!path_exists(path)) return std::nullopt;
  try {
    return open_entry(path);
  } catch (const Error& error) {
    log_note("an entry of the token cache is damaged and is made anew: ", error.message(), " (",
             error.where(), ")");
    remove_tree(path);
    return std::nullopt;
  }
}

// An array that grows at the end of a file.
class TokenCacheWriter::Stream {
 public:
  explicit Stream(const fs::path& path)
      : path_(path), file_(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)) {
    if (file_ < 0) throw os_error("write", path, errno);
  }
  ~Stream() {
    if (file_ >= 0) ::close(file_);
  }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  template <class T>
  void add(std::span<const T> values) {
    const auto bytes = std::as_bytes(values);
    buffer_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (buffer_.size() >= size_t{1} << 20) flush();
  }
  void close() {
    flush();
    if (::fsync(file_) != 0 && errno != EINVAL) throw os_error("sync", path_, errno);
    const int file = std::exchange(file_, -1);
    if (::close(file) != 0) throw os_error("write", path_, errno);
  }

 private:
  void flush() {
    write_all(file_, std::as_bytes(std::span(buffer_.data(), buffer_.size())), path_);
    buffer_.clear();
  }
  fs::path path_;
  std::string buffer_;
  int file_;
};

TokenCacheWriter::TokenCacheWriter(const fs::path& folder, const std::string& key)
    : folder_(folder), key_(key) {
  make_folder(folder);
  remove_leftovers(folder);
  std::string scratch = (folder / str(".", key, ".tmp-XXXXXX")).string();
  if (!::mkdtemp(scratch.data())) throw os_error("write", folder, errno);
  scratch_ = scratch;
  lock_ = std::make_unique<FileLock>(scratch_ / kLock);
  for (const char* name : kArrays) streams_.push_back(std::make_unique<Stream>(scratch_ / name));
}

TokenCacheWriter::~TokenCacheWriter() {
  if (!lock_) return;
  try {
    remove_tree(scratch_);
  } catch (const Error&) {
    // The next writer tries again.
  }
}

void TokenCacheWriter::push(std::span<const int32_t> ids, std::span<const uint8_t> answer,
                            uint32_t line, bool label, bool labelled) {
  const auto length = static_cast<int32_t>(ids.size());
  const uint8_t mark = label;
  streams_[0]->add(ids);
  streams_[1]->add(answer);
  streams_[2]->add(std::span(&length, 1));
  streams_[3]->add(std::span<const uint32_t>(&line, 1));
  if (labelled) streams_[4]->add(std::span(&mark, 1));
  ++sequences_;
}

CachedTokens TokenCacheWriter::commit(Json facts) {
  for (const auto& stream : streams_) stream->close();
  if (fs::file_size(scratch_ / kArrays[4]) == 0) fs::remove(scratch_ / kArrays[4]);
  CachedTokens out;
  {
    TokenArrays arrays;
    const auto lengths = arrays.map<int32_t>(scratch_ / "lengths.i32");
    arrays.ids = arrays.map<int32_t>(scratch_ / "ids.i32");
    arrays.answer = arrays.map<uint8_t>(scratch_ / "answer.u8");
    if (path_exists(scratch_ / "labels.u8"))
      arrays.labels = arrays.map<uint8_t>(scratch_ / "labels.u8");
    facts["sequences"] = sequences_;
    facts["tokens"] = arrays.ids.size();
    facts["digest"] = arrays.digest(lengths);
  }
  write_file(scratch_ / kEntry, facts.dump(1) + "\n");
  sync_folder(scratch_);
  std::error_code code, ignored;
  fs::rename(scratch_, folder_ / key_, code);
  // Another run may have been first; its entry has the same bytes.
  if (code && !path_exists(folder_ / key_)) throw os_error("write", folder_ / key_, code.value());
  if (code) {
    remove_tree(scratch_);
  } else {
    fs::remove(folder_ / key_ / kLock, ignored);
  }
  lock_.reset();
  sync_folder(folder_);
  return open_entry(folder_ / key_);
}

std::vector<Json> list_token_cache(const fs::path& folder) {
  std::vector<std::pair<fs::file_time_type, Json>> found;
  std::error_code code;
  for (const auto& item : fs::directory_iterator(folder, code)) {
    const std::string name = item.path().filename().string();
    if (name.starts_with(".") || !path_exists(item.path() / kEntry)) continue;
    Json entry = {{"key", name}};
    uint64_t bytes = 0;
    for (const auto& file : fs::directory_iterator(item.path(), code)) {
      if (file.is_regular_file(code)) bytes += file.file_size(code);
    }
    entry["bytes"] = bytes;
    try {
      const Json held = read_json(item.path() / kEntry);
      for (const auto& [key, value] : held.items()) entry[key] = value;
    } catch (const Error& error) {
      entry["damaged"] = error.message();
    }
    found.emplace_back(fs::last_write_time(item.path(), code), std::move(entry));
  }
  std::sort(found.begin(), found.end(),
            [](const auto& a, const auto& b) { return a.first > b.first; });
  std::vector<Json> entries;
  for (auto& item : found) entries.push_back(std::move(item.second));
  return entries;
}

fs::path default_token_cache() {
  const fs::path folder = user_cache();
  return folder.empty() ? folder : folder / "tokens";
}

DataCache data_cache(const std::string& value) {
  if (value == "none") return {};
  if (value == "auto")
    return {.folder = default_token_cache(), .least_bytes = int64_t{16} << 20, .needed = false};
  if (value.empty())
    throw Error(ErrorKind::usage, "data_cache is empty", "data_cache", "auto, none, or a folder");
  return {.folder = value};
}

}  // namespace smidgen
