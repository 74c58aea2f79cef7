// The linear host with every kind of hook, against the plain composition that autograd
// differentiates.
#include "smidgen/nn/host.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "smidgen/kernels/formats/registry.h"
#include "smidgen/nn/ops.h"

namespace smidgen {
namespace {

// One attachment with the hooks it is told: x' = x * p0, y += y0 * p1 + x' p2^T, y' = y * p3, and
// weight 2 p2 and bias -p1 in place of the base's.
class Toy : public Attachment {
 public:
  Toy(Hooks hooks, int64_t in, int64_t out, int seed) : Attachment(hooks, values(in, out, seed)) {}
  at::Tensor pre(const at::Tensor& x, const Tensors& p) const override { return x * p[0]; }
  at::Tensor add(const at::Tensor& x, const at::Tensor& y0, const Tensors& p) const override {
    const at::Tensor linear = at::linear(x, p[2]);
    return y0.defined() && hooks().add_needs_y0 ? y0 * p[1] + linear : linear;
  }
  at::Tensor post(const at::Tensor& y, const Tensors& p) const override { return y * p[3]; }
  at::Tensor weight(const Tensors& p) const override { return p[2] * 2; }
  at::Tensor bias(const Tensors& p) const override { return -p[1]; }

 private:
  static Tensors values(int64_t in, int64_t out, int seed) {
    const at::Generator generator = at::detail::createCPUGenerator(static_cast<uint64_t>(seed));
    Tensors p;
    for (const std::vector<int64_t>& shape : {std::vector<int64_t>{in}, {out}, {out, in}, {out}}) {
      p.push_back(at::randn(shape, generator).requires_grad_());
    }
    return p;
  }
};

constexpr int64_t kIn = 5, kRows = 11;

class HostLaw : public testing::TestWithParam<Hooks> {
 protected:
  HostLaw()
      : weight_(std::make_shared<HostedWeight>(
            find_weight_format("fp32").pack(weight_source(at::randn({7, kIn})), Arithmetic::fp32))),
        group_({{.name = "a", .out = 4, .in = kIn, .bias = true},
                {.name = "b", .out = 3, .in = kIn, .bias = true}},
               weight_, at::randn({7})) {
    rows_.segments = {{0, 0, 3}, {1, 3, 7}, {2, 7, kRows}};
    rows_.count = kRows;
    for (int slot : {1, 2}) {
      // Slot 1 covers one site, slot 2 both, and one of them twice.
      toys_.push_back(std::make_shared<Toy>(GetParam(), kIn, 4, slot));
      group_.slots(0).attach(slot, toys_.back());
    }
    toys_.push_back(std::make_shared<Toy>(GetParam(), kIn, 3, 3));
    group_.slots(1).attach(2, toys_.back());
    if (!GetParam().weight) {
      toys_.push_back(std::make_shared<Toy>(GetParam(), kIn, 3, 4));
      group_.slots(1).attach(2, toys_.back());
    }
  }

  // Result, input gradient and every parameter's gradient.
  Tensors run(bool fast, const at::Tensor& weights) {
    const at::Tensor x = at::linspace(-1, 2, kRows * kIn).view({kRows, kIn}).requires_grad_();
    const at::Tensor y = fast ? group_.forward(x, rows_) : group_.forward_ref(x, rows_);
    (y * weights).sum().backward();
    Tensors all{y.detach(), x.grad()};
    for (const auto& toy : toys_) {
      for (at::Tensor p : toy->parameters()) {
        all.push_back(p.grad().defined() ? p.grad().clone() : at::zeros_like(p));
        p.mutable_grad() = at::Tensor();
      }
    }
    return all;
  }

  static void expect_equal(const Tensors& a, const Tensors& b) {
    ASSERT_EQ(a.size(), b.size());
    for (size_t i = 0; i < a.size(); ++i) {
      EXPECT_TRUE(at::allclose(a[i], b[i], 1e-4, 1e-4)) << "entry " << i << "\n"
                                                        << a[i] << "\n"
                                                        << b[i];
    }
  }

  std::shared_ptr<HostedWeight> weight_;
  LinearGroup group_;
  Rows rows_;
  std::vector<std::shared_ptr<const Toy>> toys_;
};

TEST_P(HostLaw, FastEqualsReferenceInValueAndEveryGradient) {
  const ScopedKernels fast(KernelsMode::fast);
  const at::Tensor weights = at::randn({kRows, 7});
  expect_equal(run(true, weights), run(false, weights));
}

TEST_P(HostLaw, RowsBeforeGradBeginAreServedAndNotTrained) {
  const ScopedKernels fast(KernelsMode::fast);
  at::Tensor weights = at::randn({kRows, 7});
  for (const int64_t begin : {2, 5, 7}) {
    at::Tensor masked = weights.clone();
    masked.narrow(0, 0, begin).zero_();
    rows_.grad_begin = 0;
    const Tensors expected = run(false, masked);
    rows_.grad_begin = begin;
    expect_equal(run(true, weights), expected);
  }
}

TEST_P(HostLaw, BareRowsSeeTheBareBase) {
  const at::Tensor x = at::randn({kRows, kIn});
  const at::Tensor bare = at::linear(x, weight_->original().tile(0, 7), *group_.bias());
  EXPECT_TRUE(
      at::allclose(group_.forward(x, rows_).narrow(0, 0, 3), bare.narrow(0, 0, 3), 1e-5, 1e-5));
}

INSTANTIATE_TEST_SUITE_P(
    Hooks, HostLaw,
    testing::Values(
        Hooks{.add = true}, Hooks{.pre = true}, Hooks{.post = true},
        Hooks{.post = true, .scales_bias = true}, Hooks{.weight = true},
        Hooks{.add = true, .add_needs_y0 = true}, Hooks{.pre = true, .add = true, .post = true},
        Hooks{.pre = true, .add = true, .post = true, .add_needs_y0 = true, .scales_bias = true},
        Hooks{.pre = true, .add = true, .post = true, .weight = true}, Hooks{.bias = true},
        Hooks{.add = true, .bias = true}, Hooks{.weight = true, .bias = true},
        Hooks{.post = true, .bias = true}, Hooks{.post = true, .bias = true, .scales_bias = true}));

}  // namespace
}  // namespace smidgen
