#include "smidgen/io/delta_files.h"

#include <gtest/gtest.h>

#include "smidgen/base/temporary_folder.h"
#include "smidgen/io/adapter_files.h"

namespace smidgen {
namespace {

// Two tensors of a ternary delta in masks: {+, 0, -, 0, 0, 0} and {0, -}, and an exact one.
class DeltaFilesTest : public testing::Test {
 protected:
  DeltaFilesTest() {
    contents_.json = {{"version", 1},
                      {"kind", "ternary"},
                      {"of", "adapter"},
                      {"codec", "masks"},
                      {"base", nullptr},
                      {"scale", 0.5},
                      {"tensors", Json::array({entry("a", {2, 3}, 2, 2), entry("b", {2}, 2, 1)})}};
    contents_.codes = std::string("\x01\x04\x00\x02", 4);
    contents_.exact = {{"m", {Format::f32, {1}, std::as_bytes(std::span(&exact_, 1))}}};
    contents_.adapter_config = {{"peft_type", "LORA"}};
  }

  static Json entry(const char* name, std::vector<int64_t> shape, int bytes, int kept) {
    return {{"name", name}, {"shape", shape}, {"dtype", "f32"}, {"bytes", bytes}, {"kept", kept}};
  }

  // The Error of reading the folder with this change to delta.json.
  template <class Change>
  std::string refused(Change&& change) {
    DeltaContents changed = contents_;
    change(changed);
    const fs::path folder = folder_ / str("d", count_++);
    write_delta(folder, changed);
    return error_of([&] {
      const DeltaFiles files = read_delta(folder);
      for (const DeltaTensor& tensor : files.tensors) {
        std::vector<float> values(static_cast<size_t>(tensor.elements()));
        TensorDelta(files, tensor).read(0, values);
      }
    });
  }

  static void expect_has(const std::string& text, const std::string& part) {
    EXPECT_NE(text.find(part), std::string::npos) << text << "\nlacks: " << part;
  }

  float exact_ = 7;
  int count_ = 0;
  DeltaContents contents_;
  TemporaryFolder folder_;
};

std::vector<float> values_of(const TensorStore& store, const std::string& name) {
  const TensorView view = store.view(name);
  const auto* first = reinterpret_cast<const float*>(view.bytes.data());
  return {first, first + view.elements()};
}

TEST_F(DeltaFilesTest, ReadsAsAnAdapter) {
  write_delta(folder_ / "d", contents_);
  const AdapterFiles adapter = read_adapter(folder_ / "d");
  EXPECT_EQ(values_of(*adapter.tensors, "a"), (std::vector<float>{0.5f, 0, -0.5f, 0, 0, 0}));
  EXPECT_EQ(values_of(*adapter.tensors, "b"), (std::vector<float>{0, -0.5f}));
  EXPECT_EQ(values_of(*adapter.tensors, "m"), (std::vector<float>{7}));
  EXPECT_EQ(adapter.config["peft_type"], "LORA");
  expect_has(error_of([&] { write_delta(folder_ / "d", contents_); }), "not empty");
  write_file(folder_ / "d" / "adapter_model.safetensors", "x");
  expect_has(error_of([&] { read_adapter(folder_ / "d"); }), "and a compressed delta");
}

TEST_F(DeltaFilesTest, StartsFromOneAndKeepsValues) {
  contents_.json["tensors"][1]["start"] = 1;
  contents_.json["tensors"][1]["dtype"] = "bf16";
  contents_.json["kind"] = "sparse";
  contents_.values = {3, -4, -0.25f};
  write_delta(folder_ / "d", contents_);
  const AdapterFiles adapter = read_adapter(folder_ / "d");
  EXPECT_EQ(values_of(*adapter.tensors, "a"), (std::vector<float>{3, 0, -4, 0, 0, 0}));
  const TensorView b = adapter.tensors->view("b");
  EXPECT_EQ(b.format, Format::bf16);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(b.bytes.data()), 4),
            std::string("\x80\x3f\x40\x3f", 4));
}

TEST_F(DeltaFilesTest, ReadsAnyRange) {
  constexpr int64_t kCount = 2 * kSignBlock + 100;
  Signs signs(kCount);
  std::vector<float> expected(kCount);
  for (int64_t i = 0; i < kCount; i += 7) {
    auto& mask = i % 2 ? signs.negative : signs.positive;
    mask[static_cast<size_t>(i / 64)] |= uint64_t{1} << (i % 64);
    contents_.values.push_back(static_cast<float>(i + 1));
    expected[static_cast<size_t>(i)] = static_cast<float>(i + 1);
  }
  contents_.codes = encode_signs(*codecs().find("rice").signs(), signs.view());
  contents_.json["codec"] = "rice";
  contents_.json["kind"] = "sparse";
  contents_.json["tensors"] =
      Json::array({entry("a", {kCount}, static_cast<int>(contents_.codes.size()),
                         static_cast<int>(contents_.values.size()))});
  write_delta(folder_ / "d", contents_);
  const DeltaFiles files = read_delta(folder_ / "d");
  const TensorDelta delta(files, files.tensors[0]);
  for (const auto& [begin, count] :
       std::vector<std::pair<int64_t, int64_t>>{{0, kCount},
                                                {5, 1},
                                                {kSignBlock - 3, 10},
                                                {kSignBlock, kSignBlock},
                                                {100, kCount - 100}}) {
    std::vector<float> out(static_cast<size_t>(count), -1);
    delta.read(begin, out);
    EXPECT_TRUE(std::equal(out.begin(), out.end(), expected.begin() + begin)) << begin;
  }
}

TEST_F(DeltaFilesTest, RefusesInWords) {
  const auto json = [&](const char* key, Json value) {
    return refused([&](DeltaContents& c) { c.json[key] = std::move(value); });
  };
  EXPECT_EQ(refused([](DeltaContents&) {}), "no error");
  expect_has(json("version", 2), "the codes are from a newer version: 2");
  expect_has(json("version", 2), "unsupported");
  expect_has(json("kind", "dense"), "no deltas of kind \"dense\"");
  expect_has(json("codec", "rise"), "did you mean 'rice'");
  expect_has(json("codec", "int8"), "a ternary delta is not coded by int8");
  expect_has(json("of", "base"), "\"of\" is \"base\"");
  expect_has(json("scale", "1"), "\"scale\"");
  expect_has(json("tensors", 3), "not a list");
  const auto tensor = [&](const char* key, Json value) {
    return refused([&](DeltaContents& c) { c.json["tensors"][0][key] = std::move(value); });
  };
  expect_has(tensor("bytes", 5), "its codes take 5 bytes, and 4 are left");
  expect_has(tensor("bytes", 1), "1 bytes of codes belong to no tensor");
  expect_has(tensor("shape", {int64_t{1} << 40, 4}), "claim to hold");
  expect_has(tensor("shape", {int64_t{1} << 62, 4}), "overflows");
  expect_has(tensor("shape", {2, 30}), "60 elements take 16 bytes of masks");
  expect_has(tensor("dtype", "q4_0"), "not restored");
  expect_has(tensor("name", "b"), "there twice");
  expect_has(tensor("name", "m"), "there twice");
  expect_has(tensor("kept", 7), "7 of 6 values");
  expect_has(json("kind", "sparse"), "2 values are kept, and 0 are left");
  expect_has(refused([](DeltaContents& c) { c.codes[0] = 4; }), "in both masks");
  expect_has(refused([](DeltaContents& c) {
               c.json["kind"] = "sparse";
               c.values = {1, 2, 3};
               c.json["tensors"][0]["kept"] = 1;
               c.json["tensors"][1]["kept"] = 2;
             }),
             "the codes keep 2 values, and delta.json says 1");
}

}  // namespace
}  // namespace smidgen
