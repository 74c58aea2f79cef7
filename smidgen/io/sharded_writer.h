// The weights of a model folder, written in any order and from several threads: model.safetensors,
// or shards and an index. Where everything goes is known before the first byte.
#pragma once

#include <filesystem>
#include <string>
#include <unordered_map>
#include <vector>

#include "smidgen/io/safetensors.h"

namespace smidgen {

class ShardedWriter {
 public:
  // Tensors fill shards in the order given; none is cut, and a larger one than `shard_bytes` has a
  // shard of its own. `folder` exists. Throws as layout_safetensors does.
  ShardedWriter(fs::path folder, std::vector<TensorSpec> tensors, uint64_t shard_bytes);
  ~ShardedWriter();
  ShardedWriter(const ShardedWriter&) = delete;
  ShardedWriter& operator=(const ShardedWriter&) = delete;

  size_t shards() const { return shards_.size(); }
  // Indices into the tensors given.
  const std::vector<size_t>& tensors(size_t shard) const { return shards_[shard].tensors; }
  uint64_t bytes(size_t shard) const { return shards_[shard].layout.size; }
  uint64_t bytes() const;  // of all shards

  // A shard gets its name when it is whole and synced, so one that lies there is done.
  bool finished(size_t shard) const;
  // Reserves the space of one shard: a full disk shows here. One shard is open at a time.
  void open(size_t shard);
  // Bytes of a tensor of the open shard, from `offset` in it on. From several threads.
  void write(size_t tensor, uint64_t offset, std::span<const std::byte> bytes) const;
  void close();   // syncs and renames
  void finish();  // the index, where there is more than one shard

 private:
  struct Shard {
    std::string name;
    std::vector<size_t> tensors;
    SafetensorsLayout layout;
  };
  fs::path folder_;
  std::vector<TensorSpec> tensors_;
  std::vector<Shard> shards_;
  std::vector<uint64_t> offsets_;  // of each tensor, in its shard
  size_t open_ = 0;
  int file_ = -1;
  fs::path temporary_;
};

// "model-00002-of-00005.safetensors", counted from 1; "model.safetensors" where there is one.
std::string shard_name(size_t number, size_t count);

}  // namespace smidgen
