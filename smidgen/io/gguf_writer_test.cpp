#include "smidgen/io/gguf_writer.h"

#include <fstream>

#include <gtest/gtest.h>

#include "smidgen/base/temporary_folder.h"
#include "smidgen/io/golden_data.h"
#include "smidgen/io/hex_test.h"

namespace smidgen {
namespace {

std::string error_of_write(const GgufMetadata& metadata, std::vector<TensorSpec> tensors) {
  TemporaryFolder folder;
  try {
    GgufWriter writer(folder / "x.gguf", metadata, std::move(tensors));
  } catch (const Error& e) {
    return str(to_string(e.kind()), ": ", e.what(), " | ", e.where());
  }
  return "no error";
}

// The same calls as scripts/golden/io.py makes to the Python writer.
GgufMetadata golden_metadata() {
  GgufMetadata m;
  m.add_string("general.architecture", "llama");
  m.add<uint8_t>("t.u8", 200);
  m.add<int8_t>("t.i8", -100);
  m.add<uint16_t>("t.u16", 60000);
  m.add<int16_t>("t.i16", -30000);
  m.add<uint32_t>("t.u32", 4000000000);
  m.add<int32_t>("t.i32", -2000000000);
  m.add<float>("t.f32", 0.1f);
  m.add<bool>("t.bool", true);
  m.add_string("t.string", "gr\u00fc\u00dfe");
  m.add<uint64_t>("t.u64", uint64_t{1} << 63);
  m.add<int64_t>("t.i64", -(int64_t{1} << 62));
  m.add<double>("t.f64", 0.1);
  m.add_strings("t.strings", {"a", "", "\u00e9\u00e9"});
  m.add_array<int32_t>("t.ints", {1, -2, 3});
  m.add_array<float>("t.floats", {0.5f, -1.25f});
  return m;
}

TEST(GgufWriter, GivesTheBytesOfThePythonWriter) {
  TemporaryFolder folder;
  std::ofstream(folder / "theirs.gguf", std::ios::binary) << from_hex(golden::kGguf);
  const GgufFile theirs(folder / "theirs.gguf");
  std::vector<TensorSpec> tensors;
  for (const std::string& name : theirs.names()) {
    const TensorView view = theirs.view(name);
    tensors.push_back({name, view.format, view.shape});
  }
  for (const size_t piece : {size_t{1}, size_t{7}, size_t{1000}}) {
    const fs::path ours = folder / str(piece, ".gguf");
    GgufWriter writer(ours, golden_metadata(), tensors);
    for (const std::string& name : theirs.names()) {
      const auto bytes = theirs.view(name).bytes;
      for (size_t at = 0; at < bytes.size(); at += piece)
        writer.append(name, bytes.subspan(at, std::min(piece, bytes.size() - at)));
    }
    EXPECT_FALSE(path_exists(ours)) << "appears at commit";
    writer.commit();
    EXPECT_EQ(to_hex(read_file(ours)), golden::kGguf) << piece;
  }
}

TEST(GgufWriter, CopiesValuesOfAllTypes) {
  TemporaryFolder folder;
  std::ofstream(folder / "theirs.gguf", std::ios::binary) << from_hex(golden::kGguf);
  const GgufFile theirs(folder / "theirs.gguf");
  GgufMetadata copied;
  for (const std::string& key : theirs.keys()) copied.copy(key, *theirs.find(key));
  EXPECT_EQ(to_hex(copied.bytes()), to_hex(golden_metadata().bytes()));
}

TEST(GgufWriter, AlignmentEmptyTensorsAndNoTensorsReadBack) {
  TemporaryFolder folder;
  for (const uint32_t alignment : {1u, 8u, 4096u}) {
    GgufMetadata m;
    m.set_alignment(alignment);
    GgufWriter writer(
        folder / "x", m,
        {{"a", Format::f32, {3}}, {"none", Format::f32, {0, 4}}, {"b", Format::i8, {5}}});
    const std::string a(12, 'a'), b(5, 'b');
    writer.append("a", as_span(a));
    writer.append("none", {});
    writer.append("b", as_span(b));
    writer.commit();
    const GgufFile file(folder / "x");
    EXPECT_EQ(file.alignment(), alignment);
    EXPECT_EQ(as_text(file.view("a").bytes), a);
    EXPECT_EQ(as_text(file.view("b").bytes), b);
    EXPECT_EQ(file.view("none").shape, (std::vector<int64_t>{0, 4}));
  }
  GgufWriter(folder / "n", {}, {}).commit();
  EXPECT_TRUE(GgufFile(folder / "n").names().empty());
}

TEST(GgufWriter, RefusesWhatAReaderWouldRefuse) {
  const std::vector<std::pair<TensorSpec, const char*>> cases = {
      {{"", Format::f32, {1}}, "0 bytes, GGUF allows 1 to 63"},
      {{std::string(64, 'n'), Format::f32, {1}}, "64 bytes"},
      {{"a", Format::f32, {1, 1, 1, 1, 1}}, "5 dimensions"},
      {{"a", Format::u16, {1}}, "GGUF has no type for u16"},
      {{"a", Format::f8_e4m3, {1}}, "GGUF has no type for f8_e4m3"},
      {{"a", Format::q8_0, {2, 48}}, "cannot be stored as q8_0"},
      {{"a", Format::f32, {int64_t{1} << 62, 4}}, "cannot be stored"},
  };
  for (const auto& [tensor, words] : cases) {
    const std::string error = error_of_write({}, {tensor});
    EXPECT_NE(error.find(words), std::string::npos) << error;
  }
  EXPECT_NE(error_of_write({}, {{"a", Format::f32, {1}}, {"a", Format::f32, {1}}}).find("twice"),
            std::string::npos);
  GgufMetadata m;
  m.add<bool>("k", true);
  EXPECT_THROW(m.add<bool>("k", true), Error);
  EXPECT_THROW(m.add_string("", "x"), Error);
  EXPECT_THROW(m.set_alignment(24), Error);
}

TEST(GgufWriter, AnUnfinishedFileIsGone) {
  TemporaryFolder folder;
  {
    GgufWriter writer(folder / "x", {}, {{"a", Format::f32, {1}}});
  }
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

}  // namespace
}  // namespace smidgen
