// Every vector kernel on every target this machine runs against its reference; the references
// against closed forms where nn/ops_test does not already compare them with torch. Widths are
// chosen to leave partial vectors.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "smidgen/base/error.h"
#include "smidgen/base/rng.h"
#include "smidgen/kernels/cross_entropy.h"
#include "smidgen/kernels/optimiser_steps.h"
#include "smidgen/kernels/rms_norm.h"
#include "smidgen/kernels/rope.h"
#include "smidgen/kernels/swiglu.h"
#include "smidgen/kernels/target.h"

namespace smidgen {
namespace {

using Floats = std::vector<float>;

Floats normal(int64_t n, double scale = 1) {
  static uint64_t call = 0;
  const Rng rng(2, "kernel tests", ++call);
  Floats x(static_cast<size_t>(n));
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(scale * rng.normal(i));
  return x;
}

std::vector<Bf16> rounded(const Floats& x) {
  std::vector<Bf16> out(x.size());
  std::transform(x.begin(), x.end(), out.begin(), to_bf16);
  return out;
}

Floats widened(const std::vector<Bf16>& x) {
  Floats out(x.size());
  std::transform(x.begin(), x.end(), out.begin(), [](Bf16 b) { return to_float(b); });
  return out;
}

void expect_close(const Floats& found, const Floats& wanted, double bound, const char* what) {
  ASSERT_EQ(found.size(), wanted.size());
  double scale = 1e-30, worst = 0;
  for (float w : wanted) scale = std::max(scale, std::abs(static_cast<double>(w)));
  for (size_t i = 0; i < wanted.size(); ++i) {
    ASSERT_FALSE(std::isnan(found[i])) << what << " " << i;
    worst = std::max(worst, std::abs(static_cast<double>(found[i]) - wanted[i]) / scale);
  }
  EXPECT_LE(worst, bound) << what << " on " << kernel_target();
}

constexpr double kFp32 = 2e-6;  // of the largest magnitude
constexpr double kBf16 = 5e-3;  // half a unit in the last of 8 bits, and a little

// Each test runs once per target.
class OnTarget : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { force_kernel_target(GetParam()); }
  void TearDown() override { force_kernel_target(""); }
};

INSTANTIATE_TEST_SUITE_P(Targets, OnTarget, testing::ValuesIn(kernel_targets()),
                         [](const auto& tested) { return tested.param; });

TEST_P(OnTarget, IsTheOneAskedFor) {
  EXPECT_EQ(kernel_target(), GetParam());
}

TEST_P(OnTarget, RmsNorm) {
  for (int64_t d : {3, 16, 37, 576}) {
    const int64_t n = 130;
    const Floats x = normal(n * d), w = normal(d), dy = normal(n * d), beside = normal(n * d);
    Floats y(x.size()), y_ref(x.size()), dx(x.size()), dx_ref(x.size()), dw(w.size()),
        dw_ref(w.size());
    rms_norm_forward(n, d, x.data(), w.data(), 1e-5f, y.data());
    rms_norm_forward_ref(n, d, x.data(), w.data(), 1e-5f, y_ref.data());
    expect_close(y, y_ref, kFp32, "y");
    rms_norm_backward(n, d, x.data(), w.data(), 1e-5f, dy.data(), beside.data(), dx.data(),
                      dw.data());
    rms_norm_backward_ref(n, d, x.data(), w.data(), 1e-5f, dy.data(), beside.data(), dx_ref.data(),
                          dw_ref.data());
    expect_close(dx, dx_ref, kFp32, "dx");
    expect_close(dw, dw_ref, kFp32, "dw");

    std::vector<Bf16> half(x.size());
    rms_norm_forward(n, d, x.data(), w.data(), 1e-5f, half.data());
    EXPECT_EQ(widened(half), widened(rounded(y))) << "rounding to bf16 is the scalar one";
    const std::vector<Bf16> dy_half = rounded(dy);
    rms_norm_backward(n, d, x.data(), w.data(), 1e-5f, dy_half.data(), nullptr, dx.data(), nullptr);
    rms_norm_backward_ref(n, d, x.data(), w.data(), 1e-5f, widened(dy_half).data(), nullptr,
                          dx_ref.data(), nullptr);
    expect_close(dx, dx_ref, kFp32, "dx from bf16");
  }
}

TEST_P(OnTarget, Swiglu) {
  for (int64_t d : {1, 16, 37}) {
    const int64_t n = 5, gate_stride = d + 3, up_stride = d + 1;
    const Floats gate = normal(n * gate_stride, 4), up = normal(n * up_stride), dy = normal(n * d);
    Floats y(dy.size()), y_ref(dy.size()), dg(dy.size()), dg_ref(dy.size()), du(dy.size()),
        du_ref(dy.size());
    swiglu_forward(n, d, gate.data(), gate_stride, up.data(), up_stride, y.data());
    swiglu_forward_ref(n, d, gate.data(), gate_stride, up.data(), up_stride, y_ref.data());
    expect_close(y, y_ref, kFp32, "y");
    swiglu_backward(n, d, gate.data(), gate_stride, up.data(), up_stride, dy.data(), dg.data(),
                    du.data(), d);
    swiglu_backward_ref(n, d, gate.data(), gate_stride, up.data(), up_stride, dy.data(),
                        dg_ref.data(), du_ref.data());
    expect_close(dg, dg_ref, kFp32, "dgate");
    expect_close(du, du_ref, kFp32, "dup");

    const std::vector<Bf16> gate_h = rounded(gate), up_h = rounded(up), dy_h = rounded(dy);
    std::vector<Bf16> y_h(dy.size()), dg_h(dy.size()), du_h(dy.size());
    swiglu_forward(n, d, gate_h.data(), gate_stride, up_h.data(), up_stride, y_h.data());
    expect_close(widened(y_h), y_ref, 2 * kBf16, "y bf16");
    swiglu_backward(n, d, gate_h.data(), gate_stride, up_h.data(), up_stride, dy_h.data(),
                    dg_h.data(), du_h.data(), d);
    expect_close(widened(dg_h), dg_ref, 4 * kBf16, "dgate bf16");
    expect_close(widened(du_h), du_ref, 4 * kBf16, "dup bf16");
  }
}

TEST_P(OnTarget, RopeTurnsAndTurnsBack) {
  for (int64_t c : {2, 22, 64}) {
    const int64_t n = 6, h = 3, stride = h * c + 5;
    Floats cos(static_cast<size_t>(9 * c / 2)), sin(cos.size());
    for (size_t i = 0; i < cos.size(); ++i) {
      cos[i] = std::cos(0.37f * static_cast<float>(i));
      sin[i] = std::sin(0.37f * static_cast<float>(i));
    }
    const std::vector<int64_t> positions{0, 8, 3, 3, 1, 7};
    const Floats x = normal(n * stride);
    Floats y(x.size()), y_ref(x.size());
    const auto turn = [&](auto&& rotate, Turn way, const Floats& from, Floats& to) {
      rotate(way, n, h, c, from.data(), stride, cos.data(), sin.data(), positions.data(), to.data(),
             stride);
    };
    const auto fast = [](auto... a) { rope_rotate(a...); };
    turn(fast, Turn::forward, x, y);
    turn(rope_rotate_ref, Turn::forward, x, y_ref);
    expect_close(y, y_ref, kFp32, "forward");
    Floats back = y;
    turn(fast, Turn::backward, y, back);
    Floats trimmed = x;  // the gaps between rows were never written
    for (int64_t r = 0; r < n; ++r) {
      for (int64_t j = h * c; j < stride; ++j) {
        trimmed[static_cast<size_t>(r * stride + j)] = back[static_cast<size_t>(r * stride + j)];
        EXPECT_EQ(y[static_cast<size_t>(r * stride + j)], 0);
      }
    }
    expect_close(back, trimmed, kFp32, "there and back");
    Floats in_place = x;
    turn(fast, Turn::forward, in_place, in_place);
    for (int64_t j = 0; j < h * c; ++j)
      EXPECT_EQ(in_place[static_cast<size_t>(j)], y[static_cast<size_t>(j)]);
  }
}

TEST_P(OnTarget, CrossEntropy) {
  for (int64_t v : {1, 16, 37, 9001}) {
    const std::vector<int64_t> targets{0, v - 1, -100, v / 2};
    const Floats logits = normal(4 * v, 5), weights{1, 0.5, 1, 3};
    Floats losses(4), losses_ref(4), grad(logits.size()), grad_ref(logits.size());
    cross_entropy_rows(4, v, logits.data(), targets.data(), weights.data(), losses.data(),
                       grad.data());
    cross_entropy_rows_ref(4, v, logits.data(), targets.data(), weights.data(), losses_ref.data(),
                           grad_ref.data());
    if (v > 1) {
      expect_close(losses, losses_ref, kFp32, "loss");
      expect_close(grad, grad_ref, kFp32, "gradient");
    } else {
      EXPECT_EQ(losses, Floats(4, 0.0f)) << "one word is always certain";
    }
    Floats in_place = logits;
    cross_entropy_rows(4, v, in_place.data(), targets.data(), weights.data(), losses.data(),
                       in_place.data());
    EXPECT_EQ(in_place, grad);

    const std::vector<Bf16> half = rounded(logits);
    std::vector<Bf16> grad_half(half.size());
    cross_entropy_rows_ref(4, v, widened(half).data(), targets.data(), weights.data(),
                           losses_ref.data(), grad_ref.data());
    cross_entropy_rows(4, v, half.data(), targets.data(), weights.data(), losses.data(),
                       grad_half.data());
    if (v > 1) expect_close(losses, losses_ref, kFp32, "loss of bf16");
    if (v > 1) expect_close(widened(grad_half), grad_ref, kBf16, "gradient in bf16");
  }
}

TEST_P(OnTarget, CrossEntropyOfEqualLogitsIsTheLogarithm) {
  const int64_t v = 49152, target = 17;
  const Floats logits(static_cast<size_t>(v), 80.0f);
  float loss = 0;
  cross_entropy_rows(1, v, logits.data(), &target, nullptr, &loss, static_cast<float*>(nullptr));
  EXPECT_NEAR(loss, std::log(49152.0), 1e-5);
}

TEST_P(OnTarget, CrossEntropyShowsNanAndInfinity) {
  for (float bad : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
    for (size_t at : {size_t{0}, size_t{20}, size_t{36}}) {
      Floats logits = normal(37);
      logits[at] = bad;
      const int64_t target = 5;
      float loss = 0;
      cross_entropy_rows(1, 37, logits.data(), &target, nullptr, &loss,
                         static_cast<float*>(nullptr));
      EXPECT_TRUE(std::isnan(loss)) << bad << " at " << at;
    }
  }
}

TEST_P(OnTarget, Adamw) {
  const int64_t n = 1003;
  Floats value = normal(n), m(value.size()), v(value.size());
  Floats value_ref = value, m_ref = m, v_ref = v;
  for (int64_t count = 1; count <= 5; ++count) {
    const AdamwStep step{1e-2, 0.9, 0.999, 1e-8, 0.1, count};
    const Floats grad = normal(n);
    adamw_step(step, n, value.data(), grad.data(), m.data(), v.data());
    adamw_step_ref(step, n, value_ref.data(), grad.data(), m_ref.data(), v_ref.data());
  }
  // The order of operations is the reference's and nothing is fused, so the bits are too.
  EXPECT_EQ(value, value_ref);
  EXPECT_EQ(m, m_ref);
  EXPECT_EQ(v, v_ref);
}

TEST_P(OnTarget, Sgd) {
  for (double momentum : {0.0, 0.9}) {
    for (bool nesterov : {false, true}) {
      const int64_t n = 67;
      Floats value = normal(n), buffer(value.size()), value_ref = value, buffer_ref = buffer;
      for (int step = 0; step < 4; ++step) {
        const SgdStep now{0.1, momentum, 0.01, nesterov, step == 0};
        const Floats grad = normal(n);
        sgd_step(now, n, value.data(), grad.data(), momentum == 0 ? nullptr : buffer.data());
        sgd_step_ref(now, n, value_ref.data(), grad.data(),
                     momentum == 0 ? nullptr : buffer_ref.data());
      }
      EXPECT_EQ(value, value_ref);
      EXPECT_EQ(buffer, buffer_ref);
    }
  }
}

TEST_P(OnTarget, ScaleAndSumOfSquares) {
  Floats x(200001, 2.0f);
  scale_in_place(200001, x.data(), 1.5f);
  EXPECT_EQ(x, Floats(200001, 3.0f));
  EXPECT_EQ(sum_of_squares(200001, x.data()), 9.0 * 200001);
}

// One step by hand: with m = v = 0 the corrected moments are g and g^2, so the step is lr g / (|g|
// + eps).
TEST(Optimisers, FirstAdamwStepIsTheSign) {
  Floats value{1, 1}, m(2), v(2);
  const Floats grad{0.5f, -4.0f};
  adamw_step({0.01, 0.9, 0.999, 0, 0.1, 1}, 2, value.data(), grad.data(), m.data(), v.data());
  EXPECT_NEAR(value[0], 1 - 0.001 - 0.01, 1e-6);
  EXPECT_NEAR(value[1], 1 - 0.001 + 0.01, 1e-6);
}

TEST(Targets, UnknownNamesAreRefused) {
  EXPECT_THROW(force_kernel_target("avx3000"), Error);
  // What every machine of the architecture has.
#if defined(__aarch64__)
  EXPECT_EQ(kernel_targets().back(), "NEON");
#else
  EXPECT_EQ(kernel_targets().back(), "scalar");
#endif
}

TEST(Bf16, RoundsToNearestEven) {
  EXPECT_EQ(to_bf16(1.0f).bits, 0x3f80);
  EXPECT_EQ(to_bf16(1.0f + 0x1p-8f).bits, 0x3f80) << "a tie goes to the even neighbour";
  EXPECT_EQ(to_bf16(1.0f + 0x3p-8f).bits, 0x3f82);
  EXPECT_EQ(to_bf16(1.0f + 0x1p-8f + 0x1p-20f).bits, 0x3f81);
  EXPECT_EQ(to_bf16(std::numeric_limits<float>::max()).bits, 0x7f80);
  EXPECT_EQ(to_bf16(std::nanf("")).bits, 0x7fc0);
}

}  // namespace
}  // namespace smidgen
