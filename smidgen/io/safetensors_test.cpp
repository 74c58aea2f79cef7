#include "smidgen/io/safetensors.h"

#include <fstream>

#include <gtest/gtest.h>

#include "smidgen/base/json.h"
#include "smidgen/base/temporary_folder.h"
#include "smidgen/io/golden_data.h"
#include "smidgen/io/hex_test.h"
#include "smidgen/io/little_endian.h"

namespace smidgen {
namespace {

// Without the sync of write_file: these tests write hundreds of files.
void put(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

// The tensors of the golden file: every type, and names that need escapes.
struct Golden {
  std::vector<std::string> bytes;
  std::vector<NamedTensor> tensors;
  Metadata metadata{{"for\"mat", "pt\u00e9\n"}};

  Golden() {
    bytes.reserve(std::size(golden::kSafetensorsPieces));
    for (const auto& piece : golden::kSafetensorsPieces) {
      NamedTensor tensor{std::string(piece.name, piece.name_size), {}};
      for (const FormatInfo& type : formats()) {
        if (type.safetensors == piece.dtype) tensor.view.format = type.format;
      }
      tensor.view.shape = Json::parse(piece.shape).get<std::vector<int64_t>>();
      tensor.view.bytes = as_span(bytes.emplace_back(from_hex(piece.hex)));
      tensors.push_back(std::move(tensor));
    }
  }
};

TEST(Safetensors, WritesThePythonLibrarysBytes) {
  TemporaryFolder folder;
  Golden golden;
  write_safetensors(folder / "a", golden.tensors, golden.metadata);
  EXPECT_EQ(to_hex(read_file(folder / "a")), golden::kSafetensors);
}

TEST(Safetensors, StreamsTheSameBytesInPieces) {
  TemporaryFolder folder;
  Golden golden;
  std::vector<TensorSpec> specs;
  for (const auto& tensor : golden.tensors)
    specs.push_back({tensor.name, tensor.view.format, tensor.view.shape});
  SafetensorsWriter writer(folder / "a", specs, golden.metadata);
  for (const TensorSpec& spec : writer.order()) {
    for (const auto& tensor : golden.tensors) {
      if (tensor.name != spec.name) continue;
      for (size_t i = 0; i < tensor.view.bytes.size(); ++i)
        writer.append(spec.name, tensor.view.bytes.subspan(i, 1));
    }
  }
  EXPECT_FALSE(path_exists(folder / "a"));
  writer.commit();
  EXPECT_EQ(to_hex(read_file(folder / "a")), golden::kSafetensors);
}

TEST(Safetensors, ReadsThePythonLibrarysFile) {
  TemporaryFolder folder;
  put(folder / "a", from_hex(golden::kSafetensors));
  Golden golden;
  const SafetensorsFile file(folder / "a");
  EXPECT_EQ(file.metadata(), golden.metadata);
  ASSERT_EQ(file.names().size(), golden.tensors.size());
  for (const auto& tensor : golden.tensors) {
    const TensorView view = file.view(tensor.name);
    EXPECT_EQ(view.format, tensor.view.format);
    EXPECT_EQ(view.shape, tensor.view.shape);
    EXPECT_EQ(as_text(view.bytes), as_text(tensor.view.bytes));
  }
  EXPECT_NE(error_of([&] { file.view("layer.0.wieght"); }).find("did you mean 'layer.0.weight'"),
            std::string::npos);
}

TEST(Safetensors, WritesAnEmptyFileWithoutMetadata) {
  TemporaryFolder folder;
  write_safetensors(folder / "a", {}, {});
  EXPECT_EQ(to_hex(read_file(folder / "a")), "08000000000000007b7d202020202020");
  EXPECT_TRUE(SafetensorsFile(folder / "a").names().empty());
}

TEST(Safetensors, WriterRefuses) {
  TemporaryFolder folder;
  const std::string bytes(20, 'x');
  const auto write = [&](NamedTensor tensor, int times = 1) {
    return error_of(
        [&] { write_safetensors(folder / "a", std::vector<NamedTensor>(times, tensor)); });
  };
  const NamedTensor good{"a", {Format::f32, {5}, as_span(bytes)}};
  EXPECT_EQ(write(good), "no error");
  EXPECT_NE(write(good, 2).find("given twice"), std::string::npos);
  EXPECT_NE(write({"__metadata__", good.view}).find("reserved"), std::string::npos);
  EXPECT_NE(write({"a", {Format::f32, {4}, as_span(bytes)}}).find("takes 16"), std::string::npos);
  EXPECT_NE(write({"a", {Format::q4_1, {32}, as_span(bytes)}}).find("no type for q4_1"),
            std::string::npos);
  EXPECT_NE(write({"a", {Format::f32, {-5}, as_span(bytes)}}).find("cannot be stored"),
            std::string::npos);
  EXPECT_NE(write({"\xff", good.view}).find("not valid UTF-8"), std::string::npos);
}

struct Hostile {
  const char* label;
  std::string header;
  size_t data;
  std::string words;  // all separated by '|' must be in the error; empty: the file is fine
};

const std::string kT = R"({"dtype":"F32","shape":[2],"data_offsets":[0,8]})";
const std::string kU = R"({"dtype":"F32","shape":[2],"data_offsets":[8,16]})";

std::string with(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"tensor.x":{"dtype":)" + dtype + R"(,"shape":)" + shape + R"(,"data_offsets":)" +
         offsets + "}}";
}

std::vector<Hostile> hostile() {
  return {
      {"fine", "{\"a\":" + kT + "}", 8, ""},
      {"padded", "{\"a\":" + kT + "}   \n", 8, ""},
      {"null metadata", "{\"__metadata__\":null,\"a\":" + kT + "}", 8, ""},
      {"four bits", with("\"F4\"", "[3,2]", "[0,3]"), 3, ""},
      {"six bits", with("\"F6_E2M3\"", "[4]", "[0,3]"), 3, ""},
      {"nothing in it", "{}", 0, ""},
      {"zero size", with("\"F32\"", "[0,9223372036854775807,4]", "[0,0]"), 0, ""},
      {"out of order", "{\"b\":" + kU + ",\"a\":" + kT + "}", 16, ""},
      {"not an object", "[1]", 0, "does not start with '{'|byte 8"},
      {"leading blank", " {}", 0, "does not start with '{'"},
      {"no end", "{\"a\":" + kT, 8, "not valid JSON|byte"},
      {"two objects", "{}{}", 0, "not valid JSON"},
      {"padded with zeros", std::string("{}\0\0", 4), 0, "a zero byte|byte 10"},
      {"zero inside", std::string("{\"a\0b\":", 8) + kT + "}", 8, "a zero byte"},
      {"not UTF-8", "{\"\xff\":" + kT + "}", 8, "not valid JSON"},
      {"lone surrogate", R"({"\ud800":)" + kT + "}", 8, "not valid JSON"},
      {"twice", "{\"a\":" + kT + ",\"a\":" + kU + "}", 16, "'a' occurs twice|byte 62"},
      {"twice, escaped", "{\"a\":" + kT + ",\"\\u0061\":" + kU + "}", 16, "'a' occurs twice"},
      {"metadata twice", R"({"__metadata__":{},"__metadata__":{}})", 0, "occurs twice"},
      {"metadata key twice", R"({"__metadata__":{"k":"1","k":"2"}})", 0,
       "metadata key 'k' occurs twice"},
      {"metadata number", R"({"__metadata__":{"k":1}})", 0, "a string in __metadata__"},
      {"metadata text", R"({"__metadata__":"x"})", 0, "an object of strings"},
      {"field twice", R"({"x":{"dtype":"F32","dtype":"F32","shape":[],"data_offsets":[0,4]}})", 4,
       "\"dtype\" occurs twice"},
      {"unknown field", R"({"x":{"dtype":"F32","shape":[],"data_offsets":[0,4],"y":1}})", 4,
       "unknown field \"y\""},
      {"no dtype", R"({"x":{"shape":[],"data_offsets":[0,4]}})", 4, "no \"dtype\"|tensor 'x'"},
      {"no offsets", R"({"x":{"dtype":"F32","shape":[]}})", 4, "no \"data_offsets\""},
      {"unknown dtype", with("\"f32\"", "[2]", "[0,8]"), 8, "unknown dtype 'f32'|tensor.x"},
      {"dtype number", with("3", "[2]", "[0,8]"), 8, "the number 3 where the name of a type"},
      {"shape text", with("\"F32\"", "\"2\"", "[0,8]"), 8, "a string where a list"},
      {"shape null", with("\"F32\"", "null", "[0,8]"), 8, "found null"},
      {"shape float", with("\"F32\"", "[2.0]", "[0,8]"), 8, "2.0, which is not a whole number"},
      {"shape negative", with("\"F32\"", "[-2]", "[0,8]"), 8, "negative number -2"},
      {"shape nested", with("\"F32\"", "[[2]]", "[0,8]"), 8, "found an array"},
      {"shape too large", with("\"F32\"", "[18446744073709551615]", "[0,8]"), 8, "too large"},
      {"shape beyond 64 bits", with("\"F32\"", "[99999999999999999999]", "[0,8]"), 8,
       "not a whole number"},
      {"product overflows", with("\"F32\"", "[4611686018427387904,4]", "[0,0]"), 0, "overflows"},
      {"bytes overflow", with("\"F64\"", "[2305843009213693952]", "[0,0]"), 0, "overflows"},
      {"half a byte", with("\"F4\"", "[3]", "[0,2]"), 2, "whole bytes"},
      {"one offset", with("\"F32\"", "[2]", "[0]"), 8, "1 numbers, not 2"},
      {"three offsets", with("\"F32\"", "[2]", "[0,8,9]"), 8, "3 numbers, not 2"},
      {"backwards", with("\"F32\"", "[2]", "[8,0]"), 8, "run backwards"},
      {"wrong size", with("\"F32\"", "[3]", "[0,8]"), 8, "span 8 bytes, but F32 [3] takes 12"},
      {"hole", with("\"F32\"", "[2]", "[8,16]"), 16, "a hole"},
      {"overlap", "{\"a\":" + kT + R"(,"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})", 12,
       "an overlap|'b'"},
      {"same place", "{\"a\":" + kT + ",\"b\":" + kT + "}", 8, "an overlap"},
      {"truncated", "{\"a\":" + kT + "}", 7, "truncated|'a'"},
      {"far beyond", with("\"U8\"", "[9223372036854775807]", "[0,9223372036854775807]"), 8,
       "truncated"},
      {"junk at the end", "{\"a\":" + kT + "}", 9, "1 bytes follow the last tensor"},
      {"junk alone", "{}", 1, "1 bytes follow"},
      {"deep", "{\"a\":" + std::string(100000, '['), 0, "found an array"},
      {"deep objects",
       [] {
         std::string s;
         for (int i = 0; i < 50000; ++i) s += "{\"a\":";
         return s;
       }(),
       0, "unknown field"},
      {"entry is a list", R"({"a":["F32",[2],[0,8]]})", 8, "found an array"},
  };
}

TEST(Safetensors, HostileFiles) {
  TemporaryFolder folder;
  for (const Hostile& test : hostile()) {
    std::string file;
    append_bytes<uint64_t>(file, test.header.size());
    put(folder / "h", file + test.header + std::string(test.data, '\0'));
    const std::string error = error_of([&] { SafetensorsFile open(folder / "h"); });
    if (test.words.empty()) {
      EXPECT_EQ(error, "no error") << test.label;
      continue;
    }
    EXPECT_EQ(error.rfind("format: ", 0), 0u) << test.label << ": " << error;
    EXPECT_NE(error.find((folder / "h").string()), std::string::npos)
        << test.label << ": " << error;
    EXPECT_NE(error.find("byte "), std::string::npos) << test.label << ": " << error;
    std::istringstream words(test.words);
    for (std::string word; std::getline(words, word, '|');) {
      EXPECT_NE(error.find(word), std::string::npos)
          << test.label << ": '" << word << "' in " << error;
    }
  }
}

TEST(Safetensors, EveryTruncationIsRefused) {
  TemporaryFolder folder;
  const std::string whole = from_hex(golden::kSafetensors);
  for (size_t size = 0; size < whole.size(); ++size) {
    put(folder / "t", whole.substr(0, size));
    EXPECT_EQ(error_of([&] { SafetensorsFile open(folder / "t"); }).rfind("format: ", 0), 0u)
        << size;
  }
}

TEST(Safetensors, HeaderLengthIsBounded) {
  TemporaryFolder folder;
  for (const uint64_t length : {uint64_t{100'000'001}, UINT64_MAX, UINT64_MAX - 7}) {
    std::string file;
    append_bytes(file, length);
    put(folder / "l", file + "{}");
    EXPECT_NE(
        error_of([&] { SafetensorsFile open(folder / "l"); }).find("above the format's limit"),
        std::string::npos);
  }
}

TEST(Sharded, ReadsAndRefuses) {
  TemporaryFolder folder;
  const std::string x(8, 'x'), y(8, 'y');
  write_safetensors(folder / "1.safetensors", {{"a", {Format::f32, {2}, as_span(x)}}});
  write_safetensors(folder / "2.safetensors", {{"b", {Format::f32, {2}, as_span(y)}}});
  const auto open = [&](const std::string& map) {
    put(folder / "i.json", R"({"metadata":{"total_size":16},"weight_map":)" + map + "}");
    return open_sharded(folder / "i.json");
  };
  const auto store = open(R"({"a":"1.safetensors","b":"2.safetensors"})");
  EXPECT_EQ(as_text(store->view("b").bytes), y);
  EXPECT_EQ(store->names().size(), 2u);
  const auto expect = [&](const std::string& map, const char* words) {
    const std::string error = error_of([&] { open(map); });
    EXPECT_NE(error.find(words), std::string::npos) << map << ": " << error;
  };
  expect(R"({"a":"../1.safetensors"})", "not a plain file name");
  expect(R"({"a":"/etc/passwd"})", "not a plain file name");
  expect(R"({"a":".."})", "not a plain file name");
  expect(R"({"a":""})", "not a plain file name");
  expect(R"({"a":"1.safetensors\u0000"})", "not a plain file name");
  expect(R"({"a":1})", "not a file name");
  expect(R"([])", "no object \"weight_map\"");
  expect(R"({"a":"3.safetensors"})", "no such file");
  expect(R"({"c":"1.safetensors"})", "the index does not name it");
  expect(R"({"a":"1.safetensors","b":"1.safetensors"})", "does not hold it");
  expect(R"({"a":"2.safetensors","b":"2.safetensors"})", "does not hold it");
  expect(R"({"a":"2.safetensors","b":"1.safetensors"})", "the index says");
  expect(R"({"a":"1.safetensors","a":"2.safetensors"})", "occurs twice");
}

}  // namespace
}  // namespace smidgen
