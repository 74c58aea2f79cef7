#include "smidgen/io/safetensors.h"

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "smidgen/io/json_file.h"
#include "smidgen/io/json_member.h"
#include "smidgen/io/little_endian.h"
#include "smidgen/io/safetensors_header.h"

namespace smidgen {

namespace {

constexpr uint64_t kMaxHeader = 100'000'000;

// Checks that the sorted entries tile the buffer [0, size) and fills the table with views into it.
void place_tensors(std::vector<SafetensorsEntry> entries, std::span<const std::byte> buffer,
                   uint64_t buffer_start, TensorTable& table) {
  std::stable_sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  uint64_t at = 0;
  for (SafetensorsEntry& entry : entries) {
    const auto fail = [&](const std::string& message) {
      throw Error(ErrorKind::format, message,
                  str(table.where(), ", byte ", entry.offset, ", tensor '", entry.name, "'"));
    };
    const auto bytes = packed_bytes(entry.format, entry.shape);
    if (!bytes) {
      fail(str("the shape ", shape_str(entry.shape), " of ", info(entry.format).safetensors,
               " overflows or does not fill whole bytes"));
    }
    if (entry.end < entry.begin) {
      fail(str("data_offsets run backwards: [", entry.begin, ", ", entry.end, "]"));
    }
    if (entry.end - entry.begin != static_cast<uint64_t>(*bytes)) {
      fail(str("data_offsets span ", entry.end - entry.begin, " bytes, but ",
               info(entry.format).safetensors, " ", shape_str(entry.shape), " takes ", *bytes));
    }
    if (entry.begin != at) {
      fail(str(entry.begin > at ? "a hole" : "an overlap", " before the tensor: it begins at ",
               entry.begin, " of the buffer, the one before it ends at ", at));
    }
    if (entry.end > buffer.size()) {
      fail(str("the file is truncated: the tensor ends at byte ", buffer_start + entry.end,
               ", the file at ", buffer_start + buffer.size()));
    }
    at = entry.end;
    table.add(std::move(entry.name), {entry.format, std::move(entry.shape),
                                      buffer.subspan(entry.begin, entry.end - entry.begin)});
  }
  if (at != buffer.size()) {
    throw Error(ErrorKind::format,
                str(buffer.size() - at, " bytes follow the last tensor and belong to none"),
                str(table.where(), ", byte ", buffer_start + at));
  }
}

// Checks that the index and the files beside it agree, and shows them as one store.
class ShardedStore : public TensorStore {
 public:
  ShardedStore(const fs::path& index, std::vector<std::shared_ptr<SafetensorsFile>> files,
               const std::unordered_map<std::string, std::string>& place)
      : table_(index.string()), files_(std::move(files)) {
    for (const auto& file : files_) {
      const std::string shard = file->file().path().filename().string();
      for (const std::string& name : file->names()) {
        const auto found = place.find(name);
        if (found == place.end()) {
          throw Error(
              ErrorKind::mismatch,
              str("the tensor '", name, "' is in ", shard, ", but the index does not name it"),
              table_.where());
        }
        if (found->second != shard) {
          throw Error(
              ErrorKind::mismatch,
              str("the tensor '", name, "' is in ", shard, ", but the index says ", found->second),
              table_.where());
        }
        table_.add(name, file->view(name));
      }
    }
    for (const auto& [name, shard] : place) {
      if (!table_.contains(name)) {
        throw Error(
            ErrorKind::mismatch,
            str("the index places the tensor '", name, "' in ", shard, ", which does not hold it"),
            table_.where());
      }
    }
  }

  const std::vector<std::string>& names() const override { return table_.names(); }
  bool contains(const std::string& name) const override { return table_.contains(name); }
  TensorView view(const std::string& name) const override { return table_.view(name); }
  std::string where() const override { return table_.where(); }
  void release(std::span<const std::byte> bytes) const override {
    if (!bytes.empty()) holder(bytes).release(bytes);
  }
  void read(std::span<const std::byte> bytes, std::byte* out) const override {
    if (!bytes.empty()) holder(bytes).read(bytes, out);
  }

 private:
  const SafetensorsFile& holder(std::span<const std::byte> bytes) const {
    for (const auto& file : files_) {
      const auto all = file->file().bytes();
      if (bytes.data() >= all.data() && bytes.data() < all.data() + all.size()) return *file;
    }
    SMIDGEN_ASSERT(!"these are bytes of this store");
  }

  TensorTable table_;
  std::vector<std::shared_ptr<SafetensorsFile>> files_;
};

}  // namespace

SafetensorsFile::SafetensorsFile(const fs::path& path) : file_(path), table_(path.string()) {
  const auto bytes = file_.bytes();
  const auto fail = [&](const std::string& message, uint64_t offset, std::string hint = {}) {
    throw Error(ErrorKind::format, message, str(path.string(), ", byte ", offset), std::move(hint));
  };
  if (bytes.size() < 8) {
    fail(str("the file is truncated: ", bytes.size(), " bytes, the header length alone takes 8"),
         0);
  }
  const auto length = load<uint64_t>(bytes.data());
  const std::string hint = "is this a safetensors file?";
  if (length > kMaxHeader) {
    fail(str("the header length ", length, " is above the format's limit of ", kMaxHeader), 0,
         hint);
  }
  if (length > bytes.size() - 8) {
    fail(str("the file is truncated: the header takes ", length, " bytes, ", bytes.size() - 8,
             " follow"),
         0, hint);
  }
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + 8, length);
  if (text.empty() || text.front() != '{') fail("the header does not start with '{'", 8, hint);
  // The JSON library takes a zero byte for the end of its input.
  if (const size_t zero = text.find('\0'); zero != text.npos)
    fail("a zero byte in the header", 8 + zero);
  SafetensorsHeader header = parse_safetensors_header(text, path.string());
  metadata_ = std::move(header.metadata);
  place_tensors(std::move(header.entries), bytes.subspan(8 + length), 8 + length, table_);
}

std::shared_ptr<TensorStore> open_sharded(const fs::path& index_json) {
  const nlohmann::json index = read_json_table(index_json);
  const auto fail = [&](const std::string& message) {
    throw Error(ErrorKind::format, message, index_json.string());
  };
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object()) {
    fail("the index has no object \"weight_map\"");
  }
  std::unordered_map<std::string, std::string> place;
  std::vector<std::shared_ptr<SafetensorsFile>> files;
  std::vector<std::string> shards;
  for (const auto& [name, value] : index["weight_map"].items()) {
    if (!value.is_string()) fail(str("weight_map[\"", name, "\"] is not a file name"));
    const auto& shard = value.get_ref<const std::string&>();
    // An index from elsewhere must not make us open files outside its folder.
    if (!is_plain_name(shard)) {
      fail(str("weight_map[\"", name, "\"] is ", value.dump(),
               ", not a plain file name beside the index"));
    }
    place.emplace(name, shard);
    shards.push_back(shard);
  }
  std::sort(shards.begin(), shards.end());
  shards.erase(std::unique(shards.begin(), shards.end()), shards.end());
  for (const std::string& shard : shards) {
    files.push_back(std::make_shared<SafetensorsFile>(index_json.parent_path() / shard));
  }
  return std::make_shared<ShardedStore>(index_json, std::move(files), place);
}

}  // namespace smidgen
