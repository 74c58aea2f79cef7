#include "smidgen/io/sharded_writer.h"

#include <gtest/gtest.h>

#include "smidgen/base/json.h"
#include "smidgen/base/temporary_folder.h"

namespace smidgen {
namespace {

std::vector<TensorSpec> three() {
  return {{"b", Format::f32, {4}}, {"a", Format::f32, {2, 2}}, {"c", Format::f32, {3}}};
}

std::vector<std::byte> bytes_of(size_t count, unsigned char first) {
  std::vector<std::byte> made(count);
  for (size_t i = 0; i < count; ++i) made[i] = static_cast<std::byte>(first + i);
  return made;
}

void fill(ShardedWriter& writer, size_t shard) {
  writer.open(shard);
  for (const size_t tensor : writer.tensors(shard)) {
    const auto bytes = bytes_of(tensor == 2 ? 12 : 16, static_cast<unsigned char>(tensor * 40));
    // The second half first: order does not matter.
    writer.write(tensor, 8, std::span(bytes).subspan(8));
    writer.write(tensor, 0, std::span(bytes).first(8));
  }
  writer.close();
}

TEST(ShardedWriter, WritesTheBytesOfTheOrdinaryWriter) {
  const TemporaryFolder folder;
  ShardedWriter writer(folder.path(), three(), 1000);
  ASSERT_EQ(writer.shards(), 1u);
  fill(writer, 0);
  writer.finish();
  std::vector<NamedTensor> tensors;
  std::vector<std::vector<std::byte>> kept;
  for (size_t i = 0; i < 3; ++i)
    kept.push_back(bytes_of(i == 2 ? 12 : 16, static_cast<unsigned char>(i * 40)));
  const auto specs = three();
  for (size_t i = 0; i < 3; ++i)
    tensors.push_back({specs[i].name, {specs[i].format, specs[i].shape, kept[i]}});
  write_safetensors(folder / "other.safetensors", tensors);
  EXPECT_EQ(read_file(folder / "model.safetensors"), read_file(folder / "other.safetensors"));
  EXPECT_FALSE(path_exists(folder / "model.safetensors.index.json"));
}

TEST(ShardedWriter, CutsBetweenTensorsAndOpensAsOne) {
  const TemporaryFolder folder;
  ShardedWriter writer(folder.path(), three(), 20);
  ASSERT_EQ(writer.shards(), 3u);
  for (size_t k = 0; k < 3; ++k) fill(writer, k);
  writer.finish();
  const auto store = open_sharded(folder / "model.safetensors.index.json");
  EXPECT_EQ(store->names().size(), 3u);
  EXPECT_EQ(store->view("c").bytes[0], std::byte{80});
}

TEST(ShardedWriter, KnowsWhatIsFinished) {
  const TemporaryFolder folder;
  {
    ShardedWriter writer(folder.path(), three(), 20);
    fill(writer, 0);
    writer.open(1);  // and is interrupted
  }
  const ShardedWriter again(folder.path(), three(), 20);
  EXPECT_TRUE(again.finished(0));
  EXPECT_FALSE(again.finished(1));
  size_t files = 0;
  for ([[maybe_unused]] const auto& entry : fs::directory_iterator(folder.path())) ++files;
  EXPECT_EQ(files, 1u) << "the open shard goes away";
}

TEST(ShardedWriter, RefusesNamesThatAreGivenTwice) {
  const TemporaryFolder folder;
  auto tensors = three();
  tensors[1].name = "c";
  EXPECT_NE(error_of([&] { ShardedWriter(folder.path(), tensors, 20); }).find("'c' is given twice"),
            std::string::npos);
}

}  // namespace
}  // namespace smidgen
