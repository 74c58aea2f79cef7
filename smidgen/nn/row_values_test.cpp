// Rows by blocks equal plain autograd over the whole logits. An output layer that trains needs an
// attachment, which comes from methods/: tests/parity/test_losses.py has it.
#include "smidgen/nn/row_values.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "smidgen/nn/tiny_model.h"

namespace smidgen {
namespace {

TEST(RowValues, EqualPlainAutogradOverTheWholeLogits) {
  // 2^22 elements a block: 20 rows of this vocabulary at a time, so two blocks.
  const auto model = make_tiny_llama({.layers = 1, .vocabulary = 200000});
  const int64_t n = 45;
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < n; ++i) ids.push_back(i * 7 % 60);
  const Stream stream = make_stream(ids);
  const at::Tensor start = model->forward(stream).detach();
  const at::Tensor rows = torch::arange(0, n, 2, at::kLong);
  const at::Tensor targets = (rows * 31 + 5) % 67, scale = torch::sin(rows.to(at::kFloat));

  const at::Tensor a = start.clone().requires_grad_(), b = start.clone().requires_grad_();
  const at::Tensor ours = row_values(*model, a, 0, rows, log_probability_of(targets));
  const at::Tensor theirs = torch::log_softmax(model->logits(b, *stream.rows), 1)
                                .index_select(0, rows)
                                .gather(1, targets.unsqueeze(1))
                                .squeeze(1);
  EXPECT_LT((ours - theirs).abs().max().item<double>(), 1e-5);
  (ours * scale).sum().backward();
  (theirs * scale).sum().backward();
  const double largest = b.grad().abs().max().item<double>();
  EXPECT_GT(largest, 1e-2);
  EXPECT_LT((a.grad() - b.grad()).abs().max().item<double>() / largest, 1e-5);
  EXPECT_EQ(a.grad()[1].abs().max().item<double>(), 0) << "a row that was not asked for";

  torch::NoGradGuard no_grad;
  const at::Tensor again = row_values(*model, a, 0, rows, log_probability_of(targets));
  EXPECT_TRUE(at::equal(again, ours.detach()));
  EXPECT_FALSE(again.requires_grad());
}

}  // namespace
}  // namespace smidgen
