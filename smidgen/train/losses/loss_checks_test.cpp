#include "smidgen/train/losses/loss_checks_test.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "smidgen/base/rng.h"
#include "smidgen/io/json_file.h"
#include "smidgen/methods/adapter.h"
#include "smidgen/nn/tiny_model.h"
#include "smidgen/text/tokenizer.h"
#include "smidgen/train/losses/golden_trl.h"
#include "smidgen/train/losses/pairs.h"

namespace smidgen {

namespace {

Tokenizer any_tokenizer() {
  const Json file =
      read_json(str(SMIDGEN_SOURCE_DIR, "/smidgen/text/testdata/tokenizer_digits.json"));
  return Tokenizer(
      read_tokenizer_json(file["tokenizer"], {{"eos_token", "<|end|>"}}, nullptr, "test"));
}

at::Tensor vector(const std::vector<double>& values) {
  return torch::tensor(values, at::kDouble);
}

void near(const at::Tensor& ours, const std::vector<double>& theirs, double tolerance,
          const char* what) {
  ASSERT_EQ(ours.numel(), std::ssize(theirs));
  const double worst = (ours - vector(theirs)).abs().max().item<double>();
  EXPECT_LT(worst, tolerance) << what;
}

double total(const std::vector<double>& values) {
  double sum = 0;
  for (const double v : values) sum += v;
  return sum;
}

Dataset random_data(DataForm form) {
  Dataset data(form);
  const Rng rng(5, "losses");
  uint64_t draw = 0;
  for (int i = 0; i < 8; ++i) {
    Sample s;
    const uint64_t prompt = 2 + rng.below(draw++, 5), answer = 1 + rng.below(draw++, 6);
    for (uint64_t t = 0; t < prompt + answer; ++t) {
      s.ids.push_back(static_cast<int32_t>(rng.below(draw++, 67)));
      s.answer.push_back(t >= prompt);
    }
    s.where = str("made:", i / 2 + 1);
    s.label = i % 3 != 1;
    data.add(s);
  }
  return data;
}

}  // namespace

void check_pairs_against_trl(const std::string& loss) {
  const auto model = make_tiny_llama();
  const Tokenizer tokenizer = any_tokenizer();
  int seen = 0;
  for (const golden::LossCase& c : golden::kLossCases) {
    if (c.loss != loss) continue;
    SCOPED_TRACE(c.config);
    ++seen;
    const auto objective = losses().find(loss).start(Json::parse(c.config), {*model, tokenizer});
    auto& pairs = dynamic_cast<PairObjective&>(*objective);
    const double tolerance = loss == "orpo" ? 1e-6 : 1e-9;  // ORPOTrainer goes through fp32
    const auto count = static_cast<double>(golden::kChosen.size());
    pairs.pairs_per_answer = pairs.pairs_per_token = count / total(golden::kChosenTokens);
    PairScores scores;
    scores.chosen = vector(golden::kChosen).requires_grad_();
    scores.rejected = vector(golden::kRejected).requires_grad_();
    scores.reference_chosen = vector(golden::kReferenceChosen);
    scores.reference_rejected = vector(golden::kReferenceRejected);
    scores.chosen_tokens = vector(golden::kChosenTokens);
    scores.rejected_tokens = vector(golden::kRejectedTokens);
    scores.chosen_all = scores.chosen;
    Tally tally;
    const PairLosses made = pairs.losses(scores, tally);
    const at::Tensor mean =
        made.losses.sum() / pairs.divisor({.units = std::ssize(golden::kChosen)});
    EXPECT_NEAR(mean.item<double>(), c.value, tolerance);
    mean.backward();
    near(scores.chosen.grad(), c.by_chosen, tolerance, "gradient by chosen");
    near(scores.rejected.grad(), c.by_rejected, tolerance, "gradient by rejected");
    EXPECT_NEAR(made.chosen_rewards.mean().item<double>(), c.rewards[0], tolerance);
    EXPECT_NEAR(made.rejected_rewards.mean().item<double>(), c.rewards[1], tolerance);
    EXPECT_NEAR((made.chosen_rewards - made.rejected_rewards).mean().item<double>(), c.rewards[2],
                tolerance);
  }
  EXPECT_GT(seen, 0);
}

void check_on_a_model(const std::string& loss, const char* config, bool slope) {
  const auto model = make_tiny_llama();
  const Tokenizer tokenizer = any_tokenizer();
  const auto adapter = Adapter::create(*model, "lora", {{"rank", 3}}, 1);
  ParamStore& store = adapter->store();
  for (const auto& p : store.parameters()) {
    const Rng rng(9, p->spec().path());
    const at::Tensor value = p->value().detach();
    for (int64_t i = 0; i < value.numel(); ++i)
      value.view({-1})[i] = 0.1 * rng.normal(static_cast<uint64_t>(i));
  }
  adapter->attach(*model, 1);
  const Loss& entry = losses().find(loss);
  const Dataset data = random_data(entry.form());
  const LossScene scene{*model, data, 1};
  std::vector<int64_t> all;
  for (int64_t u = 0; u < data.units(); ++u) all.push_back(u);
  const auto run = [&](const MicroBatches& micro, std::vector<at::Tensor>* gradients) {
    const auto objective = entry.start(Json::parse(config), {*model, tokenizer});
    store.zero_grad();
    Tally tally;
    objective->begin(scene, micro);
    double value = 0;
    for (const auto& units : micro) {
      const at::Tensor sum = objective->sum(scene, units, tally);
      value += sum.item<double>();
      if (gradients) sum.backward();
    }
    store.scale_grad(1 / objective->divisor(tally));
    if (gradients) {
      for (const auto& p : store.parameters()) gradients->push_back(p->gradient().clone());
    }
    EXPECT_EQ(tally.units, data.units());
    return value / objective->divisor(tally);
  };
  std::vector<at::Tensor> whole, cut;
  MicroBatches single;
  for (const int64_t u : all) single.push_back({u});
  const double value = run({all}, &whole);
  EXPECT_NEAR(run(single, &cut), value, 1e-5);
  double norm = 0;
  for (size_t k = 0; k < whole.size(); ++k) {
    EXPECT_LT((whole[k] - cut[k]).abs().max().item<double>(), 1e-4);
    norm += whole[k].square().sum(at::kDouble).item<double>();
  }
  ASSERT_GT(norm, 1e-8);
  // Along the gradient the value rises by its norm.
  const double step = 3e-4 / std::sqrt(norm);
  const auto move = [&](double by) {
    for (size_t k = 0; k < whole.size(); ++k)
      store.parameters()[k]->value().detach().add_(whole[k], by);
  };
  move(step);
  const double up = run({all}, nullptr);
  move(-2 * step);
  const double down = run({all}, nullptr);
  const double rise = (up - down) / (2 * step);
  if (slope) {
    EXPECT_NEAR(rise / norm, 1, 0.02) << "slope " << rise << ", squared norm " << norm;
  }

  const auto objective = entry.start(Json::parse(config), {*model, tokenizer});
  move(step);
  const EvalResult scored = objective->evaluate(scene, {.micro_tokens = 17, .per_sample = true});
  EXPECT_NEAR(scored.loss(), value, 1e-5);
  double sum = 0;
  for (const SampleLoss& s : scored.per_sample) sum += s.loss_sum;
  EXPECT_NEAR(sum, scored.loss_sum, 1e-4);
  Adapter::detach(*model, 1);
}

}  // namespace smidgen
