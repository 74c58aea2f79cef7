#include "smidgen/delta/diff/tensor_difference.h"

#include <cmath>
#include <cstring>

#include <gtest/gtest.h>

#include "smidgen/delta/diff/key_difference.h"
#include "smidgen/delta/diff/subject.h"

namespace smidgen {
namespace {

// Values of any format as a store that owns them.
class Table {
 public:
  template <class T>
  Table& add(const std::string& name, Format format, std::vector<int64_t> shape,
             const std::vector<T>& values) {
    std::vector<std::byte> bytes(values.size() * sizeof(T));
    std::memcpy(bytes.data(), values.data(), bytes.size());
    bytes_.push_back(std::make_unique<std::vector<std::byte>>(std::move(bytes)));
    table_->add(name, {format, std::move(shape), *bytes_.back()});
    return *this;
  }
  Table& f32(const std::string& name, std::vector<int64_t> shape,
             const std::vector<float>& values) {
    return add(name, Format::f32, std::move(shape), values);
  }
  std::shared_ptr<const Source> source() const { return store_source("t", table_); }

 private:
  std::shared_ptr<TensorTable> table_ = std::make_shared<TensorTable>("t");
  std::vector<std::unique_ptr<std::vector<std::byte>>> bytes_;
};

TEST(TensorDifference, FiguresAreTheDefinitions) {
  Table a, b;
  a.f32("w", {2, 2}, {1, -4, 2, 0});
  b.f32("w", {2, 2}, {1, -3, 2.5f, 0});
  const auto found = tensor_differences(*a.source(), *b.source());
  ASSERT_EQ(found.size(), 1u);
  ASSERT_TRUE(found[0].values);
  const ValueDifference& v = *found[0].values;
  EXPECT_FALSE(found[0].same_bits);
  EXPECT_EQ(v.elements, 4);
  EXPECT_EQ(v.differing, 2);
  EXPECT_EQ(v.max_abs, 1);
  EXPECT_EQ(v.relative(), 0.25);
  EXPECT_DOUBLE_EQ(v.rms(), std::sqrt(1.25 / 4));
}

TEST(TensorDifference, OfEqualTensorsIsNone) {
  Table a;
  a.f32("w", {3}, {1, NAN, -0.f}).add<int32_t>("ids", Format::i32, {2}, {1, 2});
  for (const auto& tensor : tensor_differences(*a.source(), *a.source())) {
    EXPECT_TRUE(tensor.equal());
    EXPECT_FALSE(tensor.values);
  }
}

TEST(TensorDifference, TellsBitsFromValues) {
  Table a, b;
  a.f32("zero", {2}, {0.f, 1});
  b.f32("zero", {2}, {-0.f, 1});
  a.f32("halves", {2}, {1, 2});
  b.add<uint16_t>("halves", Format::bf16, {2}, {0x3F80, 0x4000});
  a.add<int32_t>("ids", Format::i32, {2}, {1, 2});
  b.add<int32_t>("ids", Format::i32, {2}, {1, 3});
  const auto found = tensor_differences(*a.source(), *b.source());
  ASSERT_EQ(found.size(), 3u);
  for (const auto& tensor : found) EXPECT_FALSE(tensor.equal()) << tensor.name;
  EXPECT_EQ(found[0].values->differing, 0);
  EXPECT_EQ(found[1].values->differing, 0);
  EXPECT_FALSE(found[2].values);  // integers have bits only
}

TEST(TensorDifference, NamesWhatOneSideLacksAndOtherShapes) {
  Table a, b;
  a.f32("w", {2}, {1, 2}).f32("only_a", {1}, {1});
  b.f32("only_b", {1}, {1}).f32("w", {1, 2}, {1, 2});
  const auto found = tensor_differences(*a.source(), *b.source());
  ASSERT_EQ(found.size(), 3u);
  EXPECT_FALSE(found[0].values);
  EXPECT_FALSE(found[0].equal());
  EXPECT_FALSE(found[1].second);
  EXPECT_EQ(found[2].name, "only_b");
  EXPECT_FALSE(found[2].first);
}

TEST(TensorDifference, KeepsWhatIsNotFiniteApart) {
  Table a, b;
  a.f32("w", {5}, {1, NAN, INFINITY, INFINITY, NAN});
  b.f32("w", {5}, {2, 0, INFINITY, 1, NAN});
  const ValueDifference v = *tensor_differences(*a.source(), *b.source())[0].values;
  EXPECT_EQ(v.differing, 3);
  EXPECT_EQ(v.not_finite, 2);
  EXPECT_EQ(v.max_abs, 1);
  EXPECT_EQ(v.largest, 1);
}

// Many tiles, and a difference in the last element of the last of them.
TEST(TensorDifference, SeesTheEndOfLongTensors) {
  const int64_t rows = 2500, columns = 1000;
  std::vector<float> values(static_cast<size_t>(rows * columns), 0.5f);
  Table a, b;
  a.f32("w", {rows, columns}, values);
  values.back() = 0.75f;
  b.f32("w", {rows, columns}, values);
  const ValueDifference v = *tensor_differences(*a.source(), *b.source())[0].values;
  EXPECT_EQ(v.elements, rows * columns);
  EXPECT_EQ(v.differing, 1);
  EXPECT_EQ(v.max_abs, 0.25);
}

TEST(KeyDifference, WalksToTheLeaves) {
  const Json a = {{"same", 1},
                  {"rope", {{"factor", 2.0}, {"type", "x"}}},
                  {"list", {1, 2, 3}},
                  {"gone", nullptr}};
  const Json b = {
      {"same", 1.0}, {"rope", {{"type", "x"}, {"factor", 4.0}}}, {"list", {1, 5}}, {"new", false}};
  std::vector<std::string> keys;
  for (const KeyDifference& d : key_differences("config.json", a, b)) keys.push_back(d.key);
  EXPECT_EQ(keys, (std::vector<std::string>{"rope.factor", "list[1]", "list[2]", "gone", "new"}));
  EXPECT_TRUE(key_differences("f", a, a).empty());
}

}  // namespace
}  // namespace smidgen
