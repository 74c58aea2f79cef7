#include "smidgen/io/gguf.h"

#include <fstream>

#include <gtest/gtest.h>

#include "smidgen/base/temporary_folder.h"
#include "smidgen/io/dequantise.h"
#include "smidgen/io/golden_data.h"
#include "smidgen/io/hex_test.h"
#include "smidgen/io/little_endian.h"

namespace smidgen {
namespace {

void put(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

void expect_words(const std::string& error, const std::string& wanted,
                  const std::string& label = {}) {
  std::istringstream words(wanted);
  for (std::string word; std::getline(words, word, '|');) {
    EXPECT_NE(error.find(word), std::string::npos) << label << ": '" << word << "' in " << error;
  }
}

class GoldenGguf : public testing::Test {
 protected:
  void SetUp() override { put(folder / "g", from_hex(golden::kGguf)); }
  TemporaryFolder folder;
};

TEST_F(GoldenGguf, Metadata) {
  const GgufFile file(folder / "g");
  EXPECT_EQ(file.version(), 3u);
  EXPECT_EQ(file.alignment(), 32u);
  EXPECT_EQ(file.keys().front(), "general.architecture");
  EXPECT_EQ(file.get_string("general.architecture"), "llama");
  EXPECT_EQ(file.get_int("t.u8"), 200);
  EXPECT_EQ(file.get_int("t.i8"), -100);
  EXPECT_EQ(file.get_int("t.u16"), 60000);
  EXPECT_EQ(file.get_int("t.i16"), -30000);
  EXPECT_EQ(file.get_int("t.u32"), 4000000000);
  EXPECT_EQ(file.get_int("t.i32"), -2000000000);
  EXPECT_EQ(file.get_int("t.i64"), -(int64_t{1} << 62));
  EXPECT_EQ(file.get_float("t.f32"), static_cast<double>(0.1f));
  EXPECT_EQ(file.get_float("t.f64"), 0.1);
  EXPECT_EQ(file.get_float("t.i8"), -100);
  EXPECT_TRUE(file.get_bool("t.bool"));
  EXPECT_EQ(file.get_string("t.string"), "gr\u00fc\u00dfe");
  EXPECT_EQ(file.get_strings("t.strings"),
            (std::vector<std::string_view>{"a", "", "\u00e9\u00e9"}));
  EXPECT_EQ(file.get_ints("t.ints"), (std::vector<int64_t>{1, -2, 3}));
  EXPECT_EQ(file.get_floats("t.floats"), (std::vector<float>{0.5f, -1.25f}));
  EXPECT_EQ(file.get_int("t.none", 7), 7);
  EXPECT_EQ(file.get_int("t.u8", 7), 200);
  EXPECT_EQ(file.get_float("t.none", 0.5), 0.5);
  EXPECT_TRUE(file.get_bool("t.none", true));
  EXPECT_EQ(file.get_string("t.none", "x"), "x");
  EXPECT_EQ(file.find("t.none"), nullptr);
  EXPECT_EQ(file.find("t.strings")->count, 3u);
  expect_words(error_of([&] { file.get_int("t.u64"); }), "format|an integer below 2^63|t.u64");
  expect_words(error_of([&] { file.get_int("t.string"); }),
               "'t.string' is string, not an integer|byte ");
  expect_words(error_of([&] { file.get_float("t.bool"); }), "is bool, not a number");
  expect_words(error_of([&] { file.get_bool("t.u8"); }), "is u8, not a bool");
  expect_words(error_of([&] { file.get_string("t.u8"); }), "not a string");
  expect_words(error_of([&] { file.get_strings("t.ints"); }),
               "is array of i32, not an array of strings");
  expect_words(error_of([&] { file.get_ints("t.floats"); }), "not an array of integers");
  expect_words(error_of([&] { file.get_floats("t.ints"); }), "not an array of floats");
  expect_words(error_of([&] { file.get_int("general.architectura"); }),
               "not_found|did you mean 'general.architecture'");
}

TEST_F(GoldenGguf, Tensors) {
  const GgufFile file(folder / "g");
  EXPECT_EQ(file.names(), (std::vector<std::string>{"norm.weight", "half.weight", "Q8_0.weight",
                                                    "Q4_1.weight", "Q4_K.weight", "BF16.weight"}));
  EXPECT_EQ(file.view("norm.weight").shape, std::vector<int64_t>{5});
  EXPECT_EQ(file.view("half.weight").shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(file.view("Q8_0.weight").shape, (std::vector<int64_t>{3, 64}));
  EXPECT_EQ(file.view("Q4_K.weight").shape, (std::vector<int64_t>{3, 512}));
  EXPECT_EQ(file.view("Q4_K.weight").format, Format::q4_k);
  std::vector<float> half(6), norm(5);
  to_f32(file.view("half.weight"), half);
  to_f32(file.view("norm.weight"), norm);
  EXPECT_EQ(half, (std::vector<float>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(norm, (std::vector<float>{0, 1, 2, 3, 4}));
  std::vector<float> out(1536);
  to_f32(file.view("Q4_K.weight"), out);
  expect_words(error_of([&] { file.view("half.wieght"); }), "did you mean 'half.weight'");
}

TEST_F(GoldenGguf, EveryTruncationIsRefused) {
  const std::string whole = from_hex(golden::kGguf);
  const auto last = GgufFile(folder / "g").view("BF16.weight").bytes;
  const GgufFile file(folder / "g");
  const auto end =
      static_cast<size_t>(file.view("BF16.weight").bytes.data() - file.file().bytes().data()) +
      last.size();
  for (size_t size = 0; size < end; ++size) {
    put(folder / "t", whole.substr(0, size));
    EXPECT_EQ(error_of([&] { GgufFile open(folder / "t"); }).rfind("format: ", 0), 0u) << size;
  }
  // The padding after the last tensor is no one's.
  put(folder / "t", whole.substr(0, end));
  EXPECT_EQ(error_of([&] { GgufFile open(folder / "t"); }), "no error");
}

// Builds files that the Python writer would refuse to write.
struct Build {
  std::string bytes;

  template <class Number>
  Build& n(Number value) {
    append_bytes(bytes, value);
    return *this;
  }
  Build& s(std::string_view text) {
    n<uint64_t>(text.size());
    bytes += text;
    return *this;
  }
  Build& raw(std::string_view text) {
    bytes += text;
    return *this;
  }
  Build& head(uint64_t tensors, uint64_t pairs, uint32_t version = 3) {
    return raw("GGUF").n<uint32_t>(version).n(tensors).n(pairs);
  }
  Build& key(std::string_view name, uint32_t type) { return s(name).n(type); }
  Build& tensor(std::string_view name, std::vector<uint64_t> sizes, uint32_t type,
                uint64_t offset) {
    s(name).n<uint32_t>(static_cast<uint32_t>(sizes.size()));
    for (const uint64_t size : sizes) n(size);
    return n(type).n(offset);
  }
  Build& data(size_t size) {
    bytes.resize((bytes.size() + 31) / 32 * 32 + size);
    return *this;
  }
};

struct Hostile {
  const char* label;
  Build file;
  const char* words;  // empty: the file is fine
};

std::vector<Hostile> hostile() {
  const auto b = [] { return Build(); };
  constexpr uint64_t kHuge = UINT64_MAX, kHalf = uint64_t{1} << 63;
  return {
      {"nothing in it", b().head(0, 0), ""},
      {"version 2", b().head(0, 0, 2), ""},
      {"scalar tensor", b().head(1, 0).tensor("a", {}, 0, 0).data(4), ""},
      {"no rows", b().head(1, 0).tensor("a", {32, 0}, 2, 0).data(0), ""},
      {"two tensors", b().head(2, 0).tensor("a", {2}, 0, 0).tensor("b", {2}, 0, 32).data(40), ""},
      {"other magic", b().raw("GGML").n<uint32_t>(3), "does not start with 'GGUF'|byte 0"},
      {"version 1", b().head(0, 0, 1), "GGUF version 1|byte 4"},
      {"version 0", b().head(0, 0, 0), "GGUF version 0"},
      {"version 4", b().head(0, 0, 4), "GGUF version 4"},
      {"big-endian", b().head(0, 0, 0x03000000), "big-endian"},
      {"huge tensor count", b().head(kHuge, 0), "claims 18446744073709551615 tensors|byte 8"},
      {"huge key count", b().head(0, kHuge), "18446744073709551615 metadata keys"},
      {"more keys than bytes", b().head(0, 2).key("a", 0).raw("x"), "claims 0 tensors and 2"},
      {"huge key", b().head(0, 1).n(kHuge).raw(std::string(30, 'x')), "a key claims"},
      {"key beyond the end", b().head(0, 1).n<uint64_t>(1000).raw(std::string(30, 'x')),
       "truncated|a key takes 1000"},
      {"empty key", b().head(0, 1).key("", 0).raw("xxxxxxxx"), "an empty metadata key"},
      {"unknown type", b().head(0, 1).key("abc", 13).raw("xxxxxxxx"),
       "unknown value type 13|'abc'"},
      {"bool of 2", b().head(0, 1).key("abc", 7).raw("\x02"), "neither 0 nor 1"},
      {"key twice", b().head(0, 2).key("abc", 4).n(1).key("abc", 4).n(1), "'abc' occurs twice"},
      {"huge string", b().head(0, 1).key("abc", 8).n(kHuge), "a string claims"},
      {"string beyond the end", b().head(0, 1).key("abc", 8).n<uint64_t>(9).raw("12345678"),
       "truncated"},
      {"huge array", b().head(0, 1).key("abc", 9).n<uint32_t>(4).n(kHuge),
       "claims 18446744073709551615 elements"},
      {"array product overflows", b().head(0, 1).key("abc", 9).n<uint32_t>(10).n(kHalf / 4),
       "elements of at least 8"},
      {"huge array of strings", b().head(0, 1).key("abc", 9).n<uint32_t>(8).n(kHalf).s("a"),
       "claims 9223372036854775808"},
      {"array of arrays",
       b().head(0, 1).key("abc", 9).n<uint32_t>(9).n<uint64_t>(1).n<uint32_t>(4).n<uint64_t>(0),
       "array of arrays"},
      {"array of unknown", b().head(0, 1).key("abc", 9).n<uint32_t>(99).n<uint64_t>(0),
       "unknown value type 99"},
      {"alignment 24", b().head(0, 1).key("general.alignment", 4).n<uint32_t>(24),
       "24, not a power of two"},
      {"alignment 0", b().head(0, 1).key("general.alignment", 4).n<uint32_t>(0),
       "0, not a power of two"},
      {"alignment u64", b().head(0, 1).key("general.alignment", 10).n<uint64_t>(32),
       "is u64, not u32"},
      {"empty name", b().head(1, 0).tensor("", {2}, 0, 0).data(8), "0 bytes, not 1 to 63"},
      {"long name", b().head(1, 0).tensor(std::string(64, 'n'), {2}, 0, 0).data(8),
       "64 bytes, not 1 to 63"},
      {"five dimensions", b().head(1, 0).tensor("a", {1, 1, 1, 1, 1}, 0, 0).data(8),
       "5 dimensions"},
      {"huge dimensions", b().head(1, 0).s("abcd").n(UINT32_MAX).data(64),
       "4294967295 dimensions|'abcd'"},
      {"huge size", b().head(1, 0).tensor("a", {kHalf}, 0, 0).data(8), "too large"},
      {"product overflows", b().head(1, 0).tensor("a", {kHalf / 2, 4}, 0, 0).data(8), "overflows"},
      {"bytes overflow", b().head(1, 0).tensor("a", {kHalf / 2}, 0, 0).data(8), "overflows"},
      {"half a block", b().head(1, 0).tensor("a", {48}, 3, 0).data(64),
       "whole blocks of 32 (q4_1)"},
      {"block across rows", b().head(1, 0).tensor("a", {16, 2}, 8, 0).data(64), "whole blocks"},
      {"withdrawn type", b().head(1, 0).tensor("abc", {32}, 4, 0).data(64), "unknown ggml type 4"},
      {"huge type", b().head(1, 0).tensor("abc", {32}, UINT32_MAX, 0).data(64),
       "unknown ggml type 4294967295"},
      {"offset off by 8", b().head(2, 0).tensor("a", {2}, 0, 0).tensor("b", {2}, 0, 8).data(64),
       "not a multiple of 32"},
      {"overlap", b().head(2, 0).tensor("a", {2}, 0, 0).tensor("b", {2}, 0, 0).data(64),
       "the tensors before it end at 32"},
      {"hole", b().head(2, 0).tensor("a", {2}, 0, 0).tensor("b", {2}, 0, 64).data(96),
       "its offset is 64"},
      {"huge offset", b().head(1, 0).tensor("a", {2}, 0, kHuge - 31).data(64), "its offset is"},
      {"name twice", b().head(2, 0).tensor("abc", {2}, 0, 0).tensor("abc", {2}, 0, 32).data(64),
       "the name occurs twice|'abc'"},
      {"data cut", b().head(1, 0).tensor("abc", {2}, 0, 0).data(7), "truncated|'abc'"},
      {"data beyond", b().head(1, 0).tensor("abc", {kHalf / 16}, 0, 0).data(8), "truncated"},
      {"no data at all", b().head(1, 0).tensor("abc", {2}, 0, 0), "truncated"},
  };
}

TEST(Gguf, HostileFiles) {
  TemporaryFolder folder;
  for (const Hostile& test : hostile()) {
    put(folder / "h", test.file.bytes);
    const std::string error = error_of([&] { GgufFile open(folder / "h"); });
    if (!*test.words) {
      EXPECT_EQ(error, "no error") << test.label;
      continue;
    }
    expect_words(error, test.words, test.label);
    expect_words(error, (folder / "h").string() + ", byte ", test.label);
  }
  put(folder / "e", "");
  expect_words(error_of([&] { GgufFile open(folder / "e"); }), "the file is empty");
  expect_words(error_of([&] { GgufFile open(folder.path()); }), "a folder, not a file");
}

}  // namespace
}  // namespace smidgen
