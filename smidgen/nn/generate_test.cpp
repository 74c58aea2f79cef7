#include "smidgen/nn/generate.h"

#include <algorithm>
#include <set>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "smidgen/base/error.h"
#include "smidgen/nn/tiny_model.h"

namespace smidgen {
namespace {

at::Tensor last_logits(const Model& model, const std::vector<int32_t>& ids) {
  torch::NoGradGuard no_grad;
  const Stream stream = make_stream(ids);
  return model.logits(model.forward(stream), *stream.rows)[stream.size() - 1];
}

std::vector<Prompt> prompts() {
  return {{.ids = {5, 17, 3}, .stream = 0},
          {.ids = {60}, .stream = 1},
          {.ids = {1, 2, 3, 4, 5, 6, 7, 8, 9}, .stream = 2}};
}

// Every token that the cache led to is the one that a pass over the whole sequence gives.
void expect_recomputed(const Model& model) {
  const Prompt prompt{.ids = {5, 17, 3}};
  const Generation made =
      generate(model, prompt, {.sample = {.greedy = true}, .max_new_tokens = 40});
  ASSERT_EQ(made.ids.size(), 40u);
  EXPECT_EQ(made.finish, Finish::length);
  std::vector<int32_t> ids = prompt.ids;
  std::set<int32_t> distinct;
  for (const int32_t id : made.ids) {
    const at::Tensor scores = last_logits(model, ids);
    const auto [top, where] = scores.max(0);
    EXPECT_LE((top - scores[id]).item<float>(), 1e-4f) << "token " << ids.size();
    ids.push_back(id);
    distinct.insert(id);
  }
  EXPECT_GT(distinct.size(), 3u) << "a model that repeats one token proves nothing";
}

TEST(Generate, CachedEqualsRecomputed) {
  expect_recomputed(*make_tiny_llama());
}

TEST(Generate, CachedEqualsRecomputedWhereTheLengthTurnsTheAngles) {
  Json config = tiny_config("llama");
  config["max_position_embeddings"] = 96;
  config["rope_scaling"] = {{"rope_type", "longrope"},
                            {"short_factor", {1.0, 1.1, 1.2, 1.3}},
                            {"long_factor", {2.0, 3.0, 4.0, 5.0}},
                            {"original_max_position_embeddings", 20}};
  expect_recomputed(*load_model(tiny_files(config), {.dtype = "fp32"}));
}

TEST(Generate, ABatchEqualsItsPromptsAlone) {
  const auto model = make_tiny_llama();
  for (const SampleOptions& sample :
       {SampleOptions{.greedy = true}, SampleOptions{.temperature = 0.8, .top_k = 20, .seed = 4}}) {
    const GenerateOptions options{.sample = sample, .max_new_tokens = 30, .stop_tokens = {11, 30}};
    const auto together = generate(*model, prompts(), options);
    for (size_t i = 0; i < together.size(); ++i) {
      const Generation alone = generate(*model, prompts()[i], options);
      EXPECT_EQ(together[i].ids, alone.ids) << "prompt " << i;
      EXPECT_EQ(together[i].finish, alone.finish);
    }
  }
}

TEST(Generate, SlotsMayComeInAnyOrder) {
  const auto model = make_tiny_llama();
  std::vector<Prompt> mixed = prompts();
  mixed[0].slot = 2;
  mixed[1].slot = 0;
  mixed[2].slot = 1;
  const GenerateOptions options{.sample = {.greedy = true}, .max_new_tokens = 12};
  const auto plain = generate(*model, prompts(), options), got = generate(*model, mixed, options);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(got[i].ids, plain[i].ids);  // no adapter at any slot
}

TEST(Generate, StopsAtATokenThatIsNotPartOfTheAnswer) {
  const auto model = make_tiny_llama();
  const Prompt prompt{.ids = {5, 17, 3}};
  const auto whole =
      generate(*model, prompt, {.sample = {.greedy = true}, .max_new_tokens = 40}).ids;
  const int32_t stop = whole[7];
  const size_t first =
      static_cast<size_t>(std::find(whole.begin(), whole.end(), stop) - whole.begin());
  const Generation made = generate(
      *model, prompt, {.sample = {.greedy = true}, .max_new_tokens = 40, .stop_tokens = {stop}});
  EXPECT_EQ(made.ids, std::vector<int32_t>(whole.begin(),
                                           whole.begin() + static_cast<std::ptrdiff_t>(first)));
  EXPECT_EQ(made.finish, Finish::eos);
}

TEST(Generate, StopsWhereTheContextIsFull) {
  const auto model = make_tiny_llama({.context = 16});
  const Generation made =
      generate(*model, {.ids = {1, 2, 3}}, {.sample = {.greedy = true}, .max_new_tokens = 500});
  EXPECT_EQ(made.ids.size(), 13u);
  EXPECT_EQ(made.finish, Finish::context);
  const Generation none =
      generate(*model, {.ids = std::vector<int32_t>(16, 1)}, {.max_new_tokens = 5});
  EXPECT_TRUE(none.ids.empty());
  EXPECT_EQ(none.finish, Finish::context);
  EXPECT_THROW(generate(*model, {.ids = std::vector<int32_t>(17, 1)}, {}), Error);
  EXPECT_THROW(generate(*model, Prompt{}, {}), Error);
}

TEST(Generate, AnInterruptKeepsWhatIsThere) {
  const auto model = make_tiny_llama();
  int asked = 0;
  const Generation made =
      generate(*model, Prompt{.ids = {1}},
               {.sample = {.greedy = true}, .interrupt = [&] { return ++asked > 5; }});
  EXPECT_EQ(made.ids.size(), 5u);
  EXPECT_EQ(made.finish, Finish::interrupted);
}

TEST(Generate, TokensArriveInOrder) {
  const auto model = make_tiny_llama();
  std::vector<std::vector<int32_t>> heard(3);
  GenerateOptions options{.sample = {.greedy = true}, .max_new_tokens = 9};
  options.on_token = [&](size_t sequence, int32_t id) { heard[sequence].push_back(id); };
  const auto made = generate(*model, prompts(), options);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(heard[i], made[i].ids);
}

}  // namespace
}  // namespace smidgen
