// Tokens of data files on disk, so that a set is tokenised once and may be larger than memory.
//
// An entry is a folder FOLDER/KEY that is complete or absent: it is written as .KEY.tmp-XXXXXX
// under a lock, synced, and renamed. KEY is the SHA-256 of what decides the tokens
// (text/dataset_read.cpp: the file's content, the tokenizer, the template, the options that matter,
// kTokenCacheVersion), so an entry never goes stale, and renamed or touched files find theirs. Of
// two runs that make one entry at a time the first to rename wins, and the other takes that one.
// What a killed run left is removed by the next writer, told by its lock.
//   ids.i32 answer.u8 lengths.i32 lines.u32 [labels.u8]   little-endian arrays
//   entry.json                                            counts, sizes and the digest of the
//   arrays
// open() compares sizes and digest: a damaged entry is a note, and is made anew.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "smidgen/base/json.h"
#include "smidgen/text/dataset.h"
#include "smidgen/text/token_arrays.h"

namespace smidgen {

inline constexpr int kTokenCacheVersion = 1;

struct CachedTokens {
  std::shared_ptr<TokenArrays> tokens;
  std::vector<int32_t> lengths;
  std::string digest;
  Json entry;  // entry.json
};

// None when there is no such entry; a damaged one is removed with a note.
std::optional<CachedTokens> open_cached_tokens(const fs::path& folder, const std::string& key);

class TokenCacheWriter {
 public:
  // Makes the folder where it is missing. Throws resource.
  TokenCacheWriter(const fs::path& folder, const std::string& key);
  ~TokenCacheWriter();  // without commit(), removes what was written

  void push(std::span<const int32_t> ids, std::span<const uint8_t> answer, uint32_t line,
            bool label, bool labelled);
  int64_t sequences() const { return sequences_; }
  // `facts` go into entry.json beside the digest and the sizes. Throws resource: a full disk.
  CachedTokens commit(Json facts);

 private:
  class Stream;
  fs::path folder_, scratch_;
  std::string key_;
  std::unique_ptr<FileLock> lock_;
  std::vector<std::unique_ptr<Stream>> streams_;  // ids, answer, lengths, lines, labels
  int64_t sequences_ = 0;
};

// entry.json of every entry with its "key" and "bytes", newest first.
std::vector<Json> list_token_cache(const fs::path& folder);

// Where `auto` keeps them: $XDG_CACHE_HOME/smidgen/tokens, else ~/.cache/smidgen/tokens; empty
// without a home.
fs::path default_token_cache();

// What --data-cache means: `auto` (the default folder, for files of at least 16 MiB, and memory
// where it cannot be made), `none` (memory), or a folder for every file.
DataCache data_cache(const std::string& value);

}  // namespace smidgen
