// Schedules, optimisers, watchdog and edits: the parts of a step that need no model.
#include <cmath>
#include <limits>
#include <numbers>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "smidgen/base/error.h"
#include "smidgen/train/edit.h"
#include "smidgen/train/optimizer.h"
#include "smidgen/train/schedule.h"
#include "smidgen/train/watchdog.h"

namespace smidgen {
namespace {

TEST(Schedule, WarmsUpThenFallsAsItsNameSays) {
  ScheduleConfig c{.schedule = "linear", .warmup_steps = 4, .decay_steps = {}, .final_ratio = 0.1};
  EXPECT_DOUBLE_EQ(schedule_ratio(c, 1, 24), 0.25);
  EXPECT_DOUBLE_EQ(schedule_ratio(c, 4, 24), 1);
  EXPECT_DOUBLE_EQ(schedule_ratio(c, 5, 24), 1);
  EXPECT_DOUBLE_EQ(schedule_ratio(c, 15, 24), 1 - 0.9 * 0.5);
  c.schedule = "cosine";
  EXPECT_DOUBLE_EQ(schedule_ratio(c, 10, 24),
                   0.1 + 0.9 * 0.5 * (1 + std::cos(std::numbers::pi / 4)));
  c.schedule = "constant";
  EXPECT_DOUBLE_EQ(schedule_ratio(c, 24, 24), 1);
  c = {.schedule = "wsd", .warmup_steps = 0, .decay_steps = 4, .final_ratio = 0};
  EXPECT_DOUBLE_EQ(schedule_ratio(c, 20, 24), 1);
  EXPECT_DOUBLE_EQ(schedule_ratio(c, 22, 24), 1 - 2.0 / 5);
  EXPECT_DOUBLE_EQ(schedule_ratio(c, 24, 24), 1 - 4.0 / 5);
}

// A store with one parameter and a gradient that depends on the step.
struct Toy {
  Toy() { p = store.add({{"site", "w", {4, 3}}})[0]; }
  void gradient(int64_t step) {
    p->gradient().copy_(at::arange(12, at::kFloat).view({4, 3}).sin() * static_cast<double>(step));
  }
  ParamStore store;
  Parameter* p;
};

TEST(Optimizer, FollowsTorchStepByStep) {
  for (const std::string name : {"adamw", "sgd"}) {
    OptimizerConfig c;
    c.optimizer = name;
    c.weight_decay = 0.1;
    c.momentum = 0.9;
    Toy toy;
    toy.p->value().detach().copy_(at::linspace(-1, 1, 12).view({4, 3}));
    at::Tensor w = toy.p->value().detach().clone().requires_grad_();
    std::unique_ptr<torch::optim::Optimizer> peer;
    if (name == "adamw") {
      peer = std::make_unique<torch::optim::AdamW>(
          std::vector<at::Tensor>{w}, torch::optim::AdamWOptions(0.01).weight_decay(0.1));
    } else {
      peer = std::make_unique<torch::optim::SGD>(
          std::vector<at::Tensor>{w},
          torch::optim::SGDOptions(0.01).momentum(0.9).weight_decay(0.1));
    }
    for (int64_t step = 1; step <= 20; ++step) {
      toy.gradient(step);
      w.mutable_grad() = toy.p->gradient().clone();
      optimizer_step(toy.store, c, 0.01);
      peer->step();
      EXPECT_LT((toy.p->value().detach() - w.detach()).abs().max().item<double>(), 2e-6)
          << name << " step " << step;
    }
  }
}

TEST(Optimizer, ClipsToTheNormAsTorchDoes) {
  Toy toy;
  toy.gradient(3);
  at::Tensor w = at::zeros({4, 3}).requires_grad_();
  w.mutable_grad() = toy.p->gradient().clone();
  const double norm = clip_gradients(toy.store, 0.5);
  EXPECT_NEAR(norm, torch::nn::utils::clip_grad_norm_({w}, 0.5), 1e-5);
  EXPECT_TRUE(at::allclose(toy.p->gradient(), w.grad(), 1e-5, 1e-7));
}

TEST(Optimizer, LeavesFrozenAndInactiveRowsAlone) {
  Toy toy;
  toy.gradient(1);
  toy.store.set_active(*toy.p, 2);
  optimizer_step(toy.store, {}, 0.1);
  EXPECT_EQ(toy.p->value().detach().narrow(0, 2, 2).abs().max().item<float>(), 0);
  EXPECT_GT(toy.p->value().detach().narrow(0, 0, 2).abs().max().item<float>(), 0);
  EXPECT_EQ(toy.p->counts()[0], 1);
  EXPECT_EQ(toy.p->counts()[3], 0);
  const std::string before = toy.store.digest();
  apply(toy.store, {.kind = Edit::Kind::freeze, .parameter = "site.w"});
  optimizer_step(toy.store, {}, 0.1);
  EXPECT_EQ(toy.store.digest(), before);
  EXPECT_EQ(toy.p->counts()[0], 1);
}

TEST(Watchdog, StopsAtNaNAtOnceAndAtAJumpAfterTwentySteps) {
  Watchdog early(8);
  EXPECT_THROW(early.check(1, std::nan(""), 1, "batch"), Error);
  EXPECT_THROW(early.check(1, 1, std::numeric_limits<double>::infinity(), "batch"), Error);
  Watchdog w(8);
  for (int64_t step = 1; step <= 19; ++step) w.check(step, step % 2 ? 2.0 : 2.1, 1, "batch");
  EXPECT_NO_THROW(w.check(20, 50, 1, "batch"));
  Watchdog calm(8);
  for (int64_t step = 1; step <= 30; ++step) calm.check(step, step % 2 ? 2.0 : 2.1, 1, "batch");
  EXPECT_NO_THROW(calm.check(31, 2.3, 1, "batch"));
  try {
    calm.check(32, 9, 1, "rows 4, 5");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::diverged);
    EXPECT_EQ(e.where(), "rows 4, 5");
  }
}

TEST(Watchdog, GoesOnFromItsState) {
  Watchdog a(8);
  for (int64_t step = 1; step <= 60; ++step) a.check(step, step % 3, 1, "");
  Watchdog b(8);
  b.restore(a.state());
  EXPECT_EQ(a.state(), b.state());
  EXPECT_EQ(a.state().size(), 50u);
}

TEST(Edit, SurvivingRowsKeepValueMomentsAndCounts) {
  Toy toy;
  toy.gradient(2);
  optimizer_step(toy.store, {}, 0.1);
  const at::Tensor value = toy.p->value().detach().clone(), m = toy.p->first_moment().clone();
  apply(toy.store, {.kind = Edit::Kind::shrink, .parameter = "site.w", .keep = {3, 1}});
  apply(toy.store, {.kind = Edit::Kind::grow, .parameter = "site.w", .rows = 2});
  ASSERT_EQ(toy.p->spec().shape, (std::vector<int64_t>{4, 3}));
  EXPECT_TRUE(at::equal(toy.p->value().detach()[0], value[3]));
  EXPECT_TRUE(at::equal(toy.p->first_moment()[1], m[1]));
  EXPECT_EQ(std::vector<int64_t>(toy.p->counts().begin(), toy.p->counts().end()),
            (std::vector<int64_t>{1, 1, 0, 0}));
  // Fresh rows are corrected for bias by their own count: after one step they move as a first step
  // does.
  toy.gradient(1);
  optimizer_step(toy.store, {.weight_decay = 0}, 0.1);
  EXPECT_NEAR(toy.p->value().detach()[2][1].item<float>(), -0.1 * std::copysign(1.0, std::sin(7.0)),
              1e-5);
}

TEST(Edit, LogReplaysToTheSameStructure) {
  Toy a, b;
  EditLog log;
  const std::vector<Edit> edits = {{.kind = Edit::Kind::grow, .parameter = "site.w", .rows = 3},
                                   {.kind = Edit::Kind::activate, .parameter = "site.w", .rows = 5},
                                   {.kind = Edit::Kind::freeze, .parameter = "site.w"}};
  for (const Edit& edit : edits) apply(a.store, edit);
  log.record(4, edits);
  EditLog::from_json(Json::parse(log.to_json().dump()), "structure.json").replay(b.store);
  EXPECT_EQ(a.p->spec().shape, b.p->spec().shape);
  EXPECT_EQ(a.p->active_rows(), b.p->active_rows());
  EXPECT_EQ(a.p->frozen(), b.p->frozen());
}

TEST(Edit, RefusesWhatDoesNotFit) {
  Toy toy;
  EXPECT_THROW(apply(toy.store, {.kind = Edit::Kind::activate, .parameter = "site.w", .rows = 5}),
               Error);
  EXPECT_THROW(apply(toy.store, {.kind = Edit::Kind::shrink, .parameter = "site.w", .keep = {4}}),
               Error);
  EXPECT_THROW(apply(toy.store, {.kind = Edit::Kind::freeze, .parameter = "site.v"}), Error);
}

TEST(Edit, ALogCannotAskForUnboundedMemory) {
  Toy toy;
  const int64_t rows = int64_t{1} << 40;
  EXPECT_THROW(apply(toy.store, {.kind = Edit::Kind::grow, .parameter = "site.w", .rows = rows}),
               Error);
}

}  // namespace
}  // namespace smidgen
