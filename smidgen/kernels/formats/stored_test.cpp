#include <gtest/gtest.h>
#include <torch/torch.h>

#include "smidgen/base/error.h"
#include "smidgen/kernels/formats/format_checks_test.h"
#include "smidgen/kernels/formats/registry.h"

namespace smidgen {
namespace {

// One fp32 matrix, and a count of how often its pages were let go.
class CountingStore : public TensorTable {
 public:
  explicit CountingStore(at::Tensor values, int& released)
      : TensorTable("memory"), values_(std::move(values)), released_(released) {
    const auto* bytes = static_cast<const std::byte*>(values_.const_data_ptr());
    add("w", {Format::f32, values_.sizes().vec(), {bytes, values_.nbytes()}});
  }
  void release(std::span<const std::byte> bytes) const override {
    EXPECT_EQ(bytes.data(), view("w").bytes.data());
    EXPECT_EQ(bytes.size(), view("w").bytes.size());
    ++released_;
  }

 private:
  at::Tensor values_;
  int& released_;
};

std::shared_ptr<const BaseWeight> stored(const WeightSource& source) {
  return find_weight_format("stored").pack(source, Arithmetic::fp32);
}

TEST(StoredFormat, HoldsTheExactValuesAndReadsThemForEveryUse) {
  expect_weight_format("stored", 0.0, /*keeps_source=*/true);
}

TEST(StoredFormat, KeepsTheFileOpenAndLetsGoOfWhatItRead) {
  int released = 0;
  const at::Tensor values = torch::randn({1000, 600});
  auto store = std::make_shared<CountingStore>(values, released);
  const std::weak_ptr<CountingStore> watch = store;
  auto weight = stored(weight_source(store->view("w"), "w", store));
  store.reset();
  ASSERT_FALSE(watch.expired());
  EXPECT_EQ(weight->bytes(), 0u);
  EXPECT_TRUE(torch::equal(weight->tile(7, 9), values.narrow(0, 7, 2)));
  EXPECT_EQ(released, 0) << "a look-up of rows leaves the pages for the next";
  weight->tile(0, 500);
  EXPECT_EQ(released, 1);
  weight->tile(990, 1000);
  EXPECT_EQ(released, 2) << "the end of the matrix";
  weight.reset();
  EXPECT_TRUE(watch.expired());
}

TEST(StoredFormat, ChangesOfAFileLetGoOfItToo) {
  int released = 0;
  const at::Tensor values = torch::randn({6, 4});
  const auto store = std::make_shared<CountingStore>(values, released);
  const auto source = [&] { return weight_source(store->view("w"), "w", store); };
  const std::vector<int64_t> order{5, 0, 1, 4, 3, 2};
  const auto weight = stored(concatenate_rows(
      {permute_rows(source(), order), weight_source(torch::randn({2, 4})), source()}));
  EXPECT_TRUE(torch::equal(weight->tile(0, 6), values.index_select(0, torch::tensor(order))));
  weight->tile(0, 14);
  EXPECT_EQ(released, 2) << "of the two parts that have a file";
  find_weight_format("fp32").pack(source(), Arithmetic::fp32);
  EXPECT_EQ(released, 3) << "what was packed is not read again";
}

TEST(WeightSource, RowsOfATransposeAreStoredColumns) {
  int released = 0;
  const at::Tensor values = torch::randn({5, 7});
  const auto store = std::make_shared<CountingStore>(values, released);
  const WeightSource source = transposed_source(store->view("w"), "w", store);
  ASSERT_EQ(source.rows, 7);
  ASSERT_EQ(source.columns, 5);
  for (int64_t begin = 0; begin < 7; ++begin) {
    for (int64_t end = begin; end <= 7; ++end) {
      at::Tensor out = torch::empty({end - begin, 5});
      source.read(begin, end, out.data_ptr<float>());
      EXPECT_TRUE(torch::equal(out, values.t().narrow(0, begin, end - begin)));
    }
  }
  source.release();
  EXPECT_EQ(released, 1);
  const std::vector<std::byte> block(34);
  EXPECT_THROW(transposed_source({Format::q8_0, {1, 32}, block}, "w", store), Error);
}

}  // namespace
}  // namespace smidgen
