#include "smidgen/nn/nan_trace.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "smidgen/base/error.h"

namespace smidgen {
namespace {

std::string message_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::diverged);
    return error.what();
  }
  return "";
}

TEST(NanTrace, NamesTheModuleAndThePlaceForward) {
  at::Tensor y = torch::ones({3, 4});
  y[1][2] = std::numeric_limits<float>::infinity();
  EXPECT_EQ(message_of([&] { traced(y, {}, "a.b"); }), "") << "without a trace nobody looks";
  const NanTrace trace("step 7");
  const std::string said = message_of([&] { traced(y, {}, "a.b"); });
  EXPECT_NE(said.find("step 7, forward: a.b gives inf at row 1, column 2 of [3, 4]"),
            std::string::npos)
      << said;
}

TEST(NanTrace, NamesTheModuleWhoseBackwardMakesIt) {
  const NanTrace trace("step 1");
  const at::Tensor w = torch::ones({2, 2}, at::kFloat).requires_grad_();
  const auto pass = [&](double at_zero) {
    const at::Tensor x = traced(w * 1.0, w, "first");
    // The slope of a root is infinite at 0.
    const at::Tensor y = traced(torch::sqrt(x - at_zero), x, "root");
    traced(y.sum(), y, "the loss").backward();
  };
  EXPECT_EQ(message_of([&] { pass(0.5); }), "");
  const std::string said = message_of([&] { pass(1.0); });
  EXPECT_NE(said.find("backward: root gives inf"), std::string::npos) << said;
}

TEST(NanTrace, SitesOfOneHostAreNamedTogether) {
  const NanTrace trace("step 1");
  Site q, k;
  q.name = "layers.0.q_proj";
  k.name = "layers.0.k_proj";
  const at::Tensor y = torch::full({1}, std::nan(""));
  const std::string said = message_of([&] { traced(y, {}, std::vector<Site>{q, k}); });
  EXPECT_NE(said.find("layers.0.{q_proj,k_proj} gives nan"), std::string::npos) << said;
}

}  // namespace
}  // namespace smidgen
