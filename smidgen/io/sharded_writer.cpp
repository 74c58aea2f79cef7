#include "smidgen/io/sharded_writer.h"

#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <unistd.h>

#include "smidgen/base/json.h"

namespace smidgen {

namespace {

constexpr uint64_t kFlush = uint64_t{1} << 20;

void write_at(int file, std::span<const std::byte> bytes, uint64_t offset, const fs::path& path) {
  while (!bytes.empty()) {
    const ssize_t done = ::pwrite(file, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (done < 0) {
      if (errno == EINTR) continue;
      throw os_error("write", path, errno);
    }
    bytes = bytes.subspan(static_cast<size_t>(done));
    offset += static_cast<uint64_t>(done);
  }
}

}  // namespace

std::string shard_name(size_t number, size_t count) {
  if (count == 1) return "model.safetensors";
  char name[64];
  std::snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", number, count);
  return name;
}

ShardedWriter::ShardedWriter(fs::path folder, std::vector<TensorSpec> tensors, uint64_t shard_bytes)
    : folder_(std::move(folder)), tensors_(std::move(tensors)), offsets_(tensors_.size()) {
  std::vector<std::vector<TensorSpec>> specs;
  uint64_t filled = 0;
  std::unordered_map<std::string, size_t> number;
  for (size_t i = 0; i < tensors_.size(); ++i) {
    if (!number.emplace(tensors_[i].name, i).second) {
      throw Error(ErrorKind::usage, str("the tensor name '", tensors_[i].name, "' is given twice"),
                  folder_.string());
    }
    const auto size = packed_bytes(tensors_[i].format, tensors_[i].shape);
    const auto bytes = static_cast<uint64_t>(size.value_or(0));
    if (shards_.empty() || (filled > 0 && filled + bytes > shard_bytes)) {
      shards_.emplace_back();
      specs.emplace_back();
      filled = 0;
    }
    shards_.back().tensors.push_back(i);
    specs.back().push_back(tensors_[i]);
    filled += bytes;
  }
  for (size_t k = 0; k < shards_.size(); ++k) {
    Shard& shard = shards_[k];
    shard.name = shard_name(k + 1, shards_.size());
    shard.layout = layout_safetensors(folder_ / shard.name, std::move(specs[k]));
    for (size_t i = 0; i < shard.layout.order.size(); ++i)
      offsets_[number.at(shard.layout.order[i].name)] = shard.layout.offsets[i];
  }
}

ShardedWriter::~ShardedWriter() {
  if (file_ < 0) return;
  ::close(file_);
  ::unlink(temporary_.c_str());
}

uint64_t ShardedWriter::bytes() const {
  uint64_t sum = 0;
  for (const Shard& shard : shards_) sum += shard.layout.size;
  return sum;
}

bool ShardedWriter::finished(size_t shard) const {
  std::error_code error;
  const auto size = fs::file_size(folder_ / shards_[shard].name, error);
  return !error && size == shards_[shard].layout.size;
}

void ShardedWriter::open(size_t shard) {
  SMIDGEN_ASSERT(file_ < 0);
  open_ = shard;
  temporary_ = folder_ / str(".", shards_[shard].name, ".open");
  file_ = ::open(temporary_.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0666);
  if (file_ < 0) throw os_error("write", temporary_, errno);
  const SafetensorsLayout& layout = shards_[shard].layout;
  // Not every file system can reserve; those that cannot say so, and a full disk shows later.
  if (::fallocate(file_, 0, 0, static_cast<off_t>(layout.size)) != 0 && errno == ENOSPC)
    throw os_error("write", folder_ / shards_[shard].name, ENOSPC);
  write_at(file_, std::as_bytes(std::span(layout.head.data(), layout.head.size())), 0, temporary_);
}

void ShardedWriter::write(size_t tensor, uint64_t offset, std::span<const std::byte> bytes) const {
  SMIDGEN_ASSERT(file_ >= 0);
  const uint64_t at = offsets_[tensor] + offset;
  write_at(file_, bytes, at, temporary_);
  // Towards the disk as soon as a piece is full, so that closing has little left to wait for.
  const uint64_t first = at / kFlush, last = (at + bytes.size()) / kFlush;
  if (last > first) {
    ::sync_file_range(file_, static_cast<off_t>(first * kFlush),
                      static_cast<off_t>((last - first) * kFlush), SYNC_FILE_RANGE_WRITE);
  }
}

void ShardedWriter::close() {
  SMIDGEN_ASSERT(file_ >= 0);
  if (::ftruncate(file_, static_cast<off_t>(shards_[open_].layout.size)) != 0)
    throw os_error("write", temporary_, errno);
  if (::fsync(file_) != 0) throw os_error("write", temporary_, errno);
  ::close(file_);
  file_ = -1;
  std::error_code error;
  fs::rename(temporary_, folder_ / shards_[open_].name, error);
  if (error) throw os_error("rename", temporary_, error.value());
  sync_folder(folder_);
}

void ShardedWriter::finish() {
  if (shards_.size() < 2) return;
  Json places = Json::object();
  uint64_t total = 0;
  for (const Shard& shard : shards_) {
    for (const size_t tensor : shard.tensors) {
      places[tensors_[tensor].name] = shard.name;
      total += static_cast<uint64_t>(
          packed_bytes(tensors_[tensor].format, tensors_[tensor].shape).value_or(0));
    }
  }
  const Json index = {{"metadata", {{"total_size", total}}}, {"weight_map", places}};
  write_file(folder_ / "model.safetensors.index.json", index.dump(2) + "\n");
}

}  // namespace smidgen
