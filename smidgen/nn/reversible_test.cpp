// The laws of reversing: the inverse, how its error grows, what is exact, and that every way back
// has the gradients of plain autograd.
#include "smidgen/nn/reversible.h"

#include <cmath>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "smidgen/base/error.h"
#include "smidgen/nn/dropout.h"
#include "smidgen/nn/tensor_memory.h"

namespace smidgen {
namespace {

constexpr int64_t kRows = 24, kWidth = 32;

// A network of residual layers x + A tanh(B x) beside small bottlenecks, as MEFT has them.
struct Net {
  explicit Net(int64_t count, double dropout = 0) {
    torch::manual_seed(5);
    x = torch::randn({kRows, kWidth});
    for (int64_t n = 0; n < count; ++n) {
      const at::Tensor a = torch::randn({kWidth, 64}) * 0.05, b = torch::randn({64, kWidth}) * 0.1;
      const at::Tensor down = (torch::randn({8, kWidth}) * 0.05).requires_grad_(),
                       up = (torch::randn({kWidth, 8}) * 0.05).requires_grad_(),
                       own = torch::ones({kWidth}).requires_grad_();
      layers.push_back({.f =
                            [a, b, own](const at::Tensor& s) {
                              return s + at::linear(at::tanh(at::linear(s * own, b)), a);
                            },
                        .g =
                            [=, this](const at::Tensor& s) {
                              at::Tensor h = at::gelu(at::linear(s, down));
                              const at::Tensor keep =
                                  dropout_mask(clock, dropout, str("g", n), h.size(0), h.size(1));
                              if (keep.defined()) h = h * keep;
                              return at::linear(h, up);
                            },
                        .leaves = {own, down, up}});
    }
  }
  Tensors leaves() const {
    Tensors all;
    for (const auto& layer : layers)
      all.insert(all.end(), layer.leaves.begin(), layer.leaves.end());
    return all;
  }
  // Gradients of a weighted sum of the streams: of x, then of the leaves.
  Tensors gradients(const Coupling& coupling, const ReversePlan& plan) const {
    const at::Tensor input = x.detach().requires_grad_();
    const auto [y1, y2] = reversible(input, input, layers, coupling, plan);
    const at::Tensor loss = (at::sin(y2) * 3 + y1 * y1).mean();
    Tensors asked = leaves();
    asked.insert(asked.begin(), input);
    return torch::autograd::grad({loss}, asked);
  }

  at::Tensor x;
  std::vector<ReversibleLayer> layers;
  DropoutClock clock;
};

const Coupling kMeft1{0.1, 1, true}, kMeft2{1, 0.1, true}, kMeft3{0.1, 0.1, false};

double distance(const at::Tensor& a, const at::Tensor& b) {
  return ((a - b).norm() / b.norm()).item<double>();
}

Net swapped(Net net) {
  for (ReversibleLayer& layer : net.layers) std::swap(layer.f, layer.g);
  return net;
}

TEST(Reversible, TheInverseHoldsInFp64) {
  for (const int64_t count : {1, 2, 4}) {
    const Net net(count);
    for (const Coupling& c : {kMeft1, kMeft2, kMeft3}) {
      const auto found = reconstruct(net.x, net.x, net.layers, c, {Reverse::fp64});
      EXPECT_LT(found.worst(), 1e-12 * std::max(1.0, std::pow(growth(c), count - 3)))
          << count << " layers";
    }
  }
}

// The law that decides the design: an error grows by about 1 / lambda a layer.
TEST(Reversible, ErrorsGrowByTheFactorALayer) {
  const Net net(8);
  const auto found = reconstruct(net.x, net.x, net.layers, kMeft1, {Reverse::anchors, 8});
  for (size_t n = 0; n + 2 < found.errors.size() && found.errors[n] < 0.05; ++n) {
    const double ratio = found.errors[n] / found.errors[n + 1];
    EXPECT_GT(ratio, 0.5 / kMeft1.lambda) << n;
    EXPECT_LT(ratio, 2 / kMeft1.lambda) << n;
  }
  EXPECT_GT(found.worst(), 1e-3) << "eight layers without an anchor";
  const auto short_way = reconstruct(net.x, net.x, net.layers, kMeft1, {Reverse::anchors, 2});
  EXPECT_LT(short_way.worst(), 1e-5);
  EXPECT_EQ(short_way.distance, (std::vector<int64_t>{2, 1, 2, 1, 2, 1, 2, 1}));
}

TEST(Reversible, DistancesOfAnchorsFollowFromTheFactors) {
  EXPECT_EQ(anchor_distance(kMeft1, 1e-4), 3);
  EXPECT_EQ(anchor_distance(kMeft2, 1e-4), 3);
  EXPECT_EQ(anchor_distance(kMeft3, 1e-4), 1);
  EXPECT_EQ(anchor_distance(kMeft3, 1e-3), 2);
  EXPECT_GT(anchor_distance({0.5, 1, true}, 1e-4), 6);
  EXPECT_NEAR(growth({1, 1, true}), 1.618, 1e-3);
}

TEST(Reversible, ExactGivesBackEveryBitOfManyLayers) {
  const Net net(24);
  for (const Coupling& c : {kMeft1, kMeft2, kMeft3, Coupling{0.25, 1.0 / 3, true}}) {
    const auto found = reconstruct(net.x, net.x, net.layers, c, {Reverse::exact});
    EXPECT_EQ(found.worst(), 0);
  }
}

TEST(Reversible, ExactTakesOnlyWholeDivisorsAndWhatFits) {
  EXPECT_EQ(whole_divisor(0.1), 10);
  EXPECT_EQ(whole_divisor(1), 1);
  EXPECT_FALSE(whole_divisor(0.3));
  EXPECT_FALSE(whole_divisor(1e-9));
  const Net net(2);
  try {
    reversible(net.x, net.x, net.layers, {0.3, 1, true}, {Reverse::exact});
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::usage);
    EXPECT_NE(e.hint().find("0.33"), std::string::npos) << e.hint();
  }
  for (const double bad : {std::nan(""), 1e9}) {
    const at::Tensor x = torch::full({2, kWidth}, bad);
    EXPECT_THROW(reversible(x, x, net.layers, kMeft1, {Reverse::exact}), Error);
  }
}

TEST(Reversible, EveryWayBackHasTheGradientsOfAutograd) {
  for (const bool dropping : {false, true}) {
    Net net(6, 0.3);
    net.clock.on = dropping;
    for (const Coupling& c : {kMeft1, kMeft3, Coupling{0.5, 1, true}}) {
      const Tensors wanted = net.gradients(c, {Reverse::cached});
      for (const auto& [plan, bound] : {std::pair(ReversePlan{Reverse::exact}, 1e-5),
                                        std::pair(ReversePlan{Reverse::fp64}, 1e-5),
                                        std::pair(ReversePlan{Reverse::anchors, 1}, 2e-5)}) {
        const Tensors got = net.gradients(c, plan);
        for (size_t i = 0; i < got.size(); ++i)
          EXPECT_LT(distance(got[i], wanted[i]), bound)
              << static_cast<int>(plan.mode) << " tensor " << i << " lambda " << c.lambda;
      }
    }
    const Net second = swapped(net);
    const Tensors wanted = second.gradients(kMeft2, {Reverse::cached});
    const Tensors got = second.gradients(kMeft2, {Reverse::exact});
    for (size_t i = 0; i < got.size(); ++i) EXPECT_LT(distance(got[i], wanted[i]), 1e-5) << i;
  }
}

TEST(Reversible, WithoutAnchorsDeepGradientsAreNoise) {
  const Net net(24);
  const Tensors wanted = net.gradients(kMeft1, {Reverse::cached});
  const Tensors got = net.gradients(kMeft1, {Reverse::anchors, 24});
  EXPECT_GT(distance(got[1], wanted[1]), 0.1) << "the lowest layer";
  EXPECT_LT(distance(got[wanted.size() - 1], wanted.back()), 1e-5) << "the highest";
}

TEST(Reversible, ForwardIsTheSameWithAndWithoutAGraph) {
  const Net net(20);
  for (const Reverse mode : {Reverse::exact, Reverse::fp64, Reverse::anchors, Reverse::cached}) {
    const auto with = reversible(net.x, net.x, net.layers, kMeft1, {mode, 3});
    const torch::NoGradGuard no_grad;
    const auto without = reversible(net.x, net.x, net.layers, kMeft1, {mode, 3});
    EXPECT_TRUE(at::equal(with.first, without.first));
    EXPECT_TRUE(at::equal(with.second, without.second));
  }
}

TEST(Reversible, ANullPartIsZero) {
  Net net(3);
  net.layers.back().g = nullptr;
  Net zero(3);
  zero.layers.back().g = [](const at::Tensor& x) { return at::zeros_like(x); };
  net.layers.back().leaves.resize(1);
  zero.layers.back().leaves.resize(1);
  const auto a = net.gradients(kMeft1, {Reverse::exact}),
             b = zero.gradients(kMeft1, {Reverse::exact});
  for (size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(at::equal(a[i], b[i])) << i;
}

TEST(Reversible, WalksBackOnce) {
  const Net net(2);
  const auto [y1, y2] = reversible(net.x, net.x, net.layers, kMeft1, {Reverse::exact});
  const at::Tensor loss = (y1 + y2).sum();
  loss.backward({}, /*retain_graph=*/true);
  EXPECT_THROW(loss.backward(), Error);
}

// What lies between forward and backward pass does not grow with the layers, but for anchors and
// the digits that exact keeps.
TEST(Reversible, MemoryDoesNotGrowWithLayers) {
  const auto live = [](int64_t count, const ReversePlan& plan) {
    const Net net(count);
    const TensorMemory memory;
    const auto pair = reversible(net.x, net.x, net.layers, kMeft1, plan);
    return memory.live();
  };
  const int64_t stream = 4 * kRows * kWidth;
  EXPECT_EQ(live(30, {Reverse::fp64}), live(10, {Reverse::fp64}));
  EXPECT_EQ(live(36, {Reverse::exact}) - live(18, {Reverse::exact}), 2 * stream)
      << "eighteen digits of base ten fill a word";
  EXPECT_EQ(live(31, {Reverse::anchors, 3}) - live(16, {Reverse::anchors, 3}), 5 * 2 * stream);
  EXPECT_GT(live(30, {Reverse::cached}), 3 * live(30, {Reverse::exact}));
}

}  // namespace
}  // namespace smidgen
