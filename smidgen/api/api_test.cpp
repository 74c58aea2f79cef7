// The public interface over a tiny model on disk; its numbers against the rooms below.
#include <algorithm>
#include <stdexcept>
#include <thread>

#include <gtest/gtest.h>

#include "smidgen/base/rng.h"
#include "smidgen/base/temporary_folder.h"
#include "smidgen/convert/hf_folder.h"
#include "smidgen/methods/adapter.h"
#include "smidgen/nn/tiny_model.h"
#include "smidgen/smidgen.h"
#include "smidgen/text/tiny_tokenizer.h"

namespace smidgen::api {
namespace {

constexpr const char* kTemplate =
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}";

class Api : public testing::Test {
 protected:
  void SetUp() override {
    TinySpec spec;
    spec.vocabulary = 261;
    const auto tiny = make_tiny_llama(spec);
    write_hf_folder(*tiny, tiny_llama_files(spec), base());
    write_file(fs::path(base()) / "tokenizer.json", tiny_tokenizer_json().dump());
    write_file(fs::path(base()) / "tokenizer_config.json",
               Json({{"eos_token", "</s>"}, {"chat_template", kTemplate}}).dump());
    for (const char* name : {"one", "two"}) {
      const auto adapter = Adapter::create(*tiny, "lora", {{"rank", 2}}, 1);
      uint64_t key = 0;
      for (const auto& p : adapter->store().parameters()) {
        const Rng rng(7, name, ++key);
        auto* value = static_cast<float*>(p->value().data_ptr());
        for (int64_t i = 0; i < p->value().numel(); ++i)
          value[i] = static_cast<float>(0.2 * rng.normal(static_cast<uint64_t>(i)));
      }
      adapter->save(folder_ / name, base(), nullptr);
    }
    write_file(
        folder_ / "train.jsonl",
        "{\"prompt\":\"a\",\"completion\":\"b\"}\n{\"prompt\":\"c\",\"completion\":\"d e\"}\n");
  }

  std::string base() const { return (folder_ / "base").string(); }
  std::string at(const char* name) const { return (folder_ / name).string(); }
  Model load() const { return Model::load(base(), {.dtype = "fp32"}); }
  Recipe recipe(const char* out) const {
    return Recipe::from_text("method: {name: lora, rank: 2}\nlearning_rate: 1e-2\nsamples: 0\n")
        .set("model", base())
        .set("data", at("train.jsonl"))
        .set("out", at(out))
        .set("dtype", "fp32")
        .set("batch_tokens", 1)
        .set("max_steps", 4);
  }

  TemporaryFolder folder_;
};

const GenerateOptions kGreedy{.max_new_tokens = 6, .greedy = true, .ignore_eos = true};
const std::vector<int32_t> kIds{5, 17, 200, 3};

ErrorKind kind_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.kind();
  }
  return ErrorKind::diverged;  // none of the calls here does
}

TEST_F(Api, TellsWhatItLoaded) {
  const Model model = load();
  EXPECT_EQ(model.path(), base());
  EXPECT_EQ(model.family(), "llama");
  EXPECT_EQ(model.dtype(), "fp32");
  EXPECT_EQ(model.vocabulary(), 261);
  EXPECT_EQ(model.context(), 96);
  EXPECT_GT(model.weight_bytes(), 40000u);
  EXPECT_TRUE(model.has_chat_template());
  const std::string ours = version();
  EXPECT_EQ(std::count(ours.begin(), ours.end(), '.'), 2) << ours;
  EXPECT_TRUE(torch_version().starts_with("2."));
}

TEST_F(Api, TextAndTokens) {
  const Model model = load();
  EXPECT_EQ(model.decode(model.encode("Zwölf </s>")), "Zwölf </s>");
  EXPECT_EQ(model.decode(model.encode_chat({{"user", "a"}})), "<user>a</s><assistant>");
  EXPECT_EQ(model.encode("ab"), (std::vector<int32_t>{'a', 'b'}));
}

TEST_F(Api, LogitsLeadTheGreedyAnswer) {
  const Model model = load();
  const std::vector<float> scores = model.logits(kIds);
  ASSERT_EQ(scores.size(), kIds.size() * 261);
  const auto last = scores.end() - 261;
  const auto best = static_cast<int32_t>(std::max_element(last, scores.end()) - last);
  const Generation made = model.generate_ids(kIds, kGreedy);
  ASSERT_EQ(made.ids.size(), 6u);
  EXPECT_EQ(made.ids.front(), best);
  EXPECT_EQ(made.finish, Finish::length);
  EXPECT_EQ(made.prompt_tokens, 4);
}

TEST_F(Api, StreamsTheTextAndStopsWhenAsked) {
  const Model model = load();
  std::string streamed;
  GenerateOptions options = kGreedy;
  options.on_text = [&](std::string_view piece) { return streamed += piece, true; };
  const Generation whole = model.chat({{"user", "x"}}, options);
  EXPECT_EQ(streamed, whole.text);
  int pieces = 0;
  options.max_new_tokens = 60;
  options.on_text = [&](std::string_view) { return ++pieces < 2; };
  const Generation cut = model.generate("x", options);
  EXPECT_EQ(cut.finish, Finish::interrupted);
  EXPECT_EQ(pieces, 2);
}

TEST_F(Api, ACallbacksOwnExceptionPassesUnchanged) {
  const Model model = load();
  GenerateOptions options = kGreedy;
  options.on_text = [](std::string_view) -> bool { throw std::domain_error("mine"); };
  EXPECT_THROW((void)model.generate("x", options), std::domain_error);
  EXPECT_EQ(model.generate("x", kGreedy).ids.size(), 6u) << "the model is as usable as before";
}

TEST_F(Api, ACallbackMayNotCallItsModel) {
  const Model model = load();
  GenerateOptions options = kGreedy;
  options.on_text = [&](std::string_view) { return model.context() > 0; };
  EXPECT_EQ(kind_of([&] { (void)model.generate("x", options); }), ErrorKind::usage);
}

TEST_F(Api, CallsFromSeveralThreadsGiveWhatOneWould) {
  const Model model = load();
  const std::string alone = model.generate("x", kGreedy).text;
  std::vector<std::string> texts(4);
  std::vector<std::thread> threads;
  for (std::string& text : texts)
    threads.emplace_back([&] { text = model.generate("x", kGreedy).text; });
  for (std::thread& thread : threads) thread.join();
  for (const std::string& text : texts) EXPECT_EQ(text, alone);
}

TEST_F(Api, AdaptersGoOnAndOff) {
  Model model = load();
  const auto bare = model.logits(kIds);
  model.load_adapter("one", at("one"));
  model.load_adapter("two", at("two"));
  EXPECT_EQ(model.logits(kIds), bare) << "loading changes nothing";
  model.use({{"one"}});
  const auto one = model.logits(kIds);
  EXPECT_NE(one, bare);
  model.use({{"one", 0.5}, {"two", -2}});
  EXPECT_NE(model.logits(kIds), one);
  EXPECT_EQ(model.in_use().size(), 2u);
  model.use({{"one"}, {"two"}});
  const auto both = model.logits(kIds);
  model.use({{"one", 1}, {"two", 0.999999}});
  const auto nearly = model.logits(kIds);
  for (size_t i = 0; i < both.size(); ++i) ASSERT_NEAR(nearly[i], both[i], 1e-4);
  model.use({});
  EXPECT_EQ(model.logits(kIds), bare) << "to the bit";
  EXPECT_EQ(model.adapters(), (std::vector<std::string>{"one", "two"}));
  model.unload_adapter("two");
  EXPECT_EQ(kind_of([&] { model.use({{"two"}}); }), ErrorKind::not_found);
  EXPECT_EQ(kind_of([&] { model.load_adapter("one", at("one")); }), ErrorKind::usage);
  model.use({{"one"}});
  EXPECT_EQ(kind_of([&] { model.unload_adapter("one"); }), ErrorKind::usage);
  EXPECT_EQ(model.logits(kIds), one);
}

TEST_F(Api, AdaptersInThePathAreInUse) {
  Model model = load();
  model.load_adapter("one", at("one"));
  model.use({{"one"}});
  const Model named = Model::load(base() + "+" + at("one"), {.dtype = "fp32"});
  EXPECT_EQ(named.in_use().front().name, "one");
  EXPECT_EQ(named.logits(kIds), model.logits(kIds));
}

TEST_F(Api, SaveMergesWhatIsInUse) {
  Model model = load();
  model.load_adapter("one", at("one"));
  model.use({{"one"}});
  const auto before = model.logits(kIds);
  model.save(at("merged"));
  EXPECT_EQ(model.logits(kIds), before) << "saving leaves the model as it was";
  const auto after = Model::load(at("merged"), {.dtype = "fp32"}).logits(kIds);
  for (size_t i = 0; i < before.size(); ++i) ASSERT_NEAR(after[i], before[i], 1e-4);
  EXPECT_EQ(kind_of([&] { model.save(at("merged")); }), ErrorKind::usage);
}

TEST_F(Api, TuneLeavesAnAdapterThatLowersTheLoss) {
  Model model = load();
  const double before = model.score({at("train.jsonl")}).loss;
  std::vector<TuneStep> steps;
  const TuneResult run =
      tune(recipe("run").set("eval_data", at("train.jsonl")).set("max_steps", 12),
           {.on_step = [&](const TuneStep& s) { return steps.push_back(s), true; }});
  EXPECT_TRUE(run.finished);
  EXPECT_EQ(run.steps, 12);
  ASSERT_EQ(steps.size(), 12u);
  EXPECT_EQ(steps.back().step, 12);
  EXPECT_EQ(steps.back().total, 12);
  EXPECT_TRUE(path_exists(run.report));
  model.load_adapter("tuned", run.adapter);
  model.use({{"tuned"}});
  const Score after = model.score({at("train.jsonl")});
  EXPECT_LT(after.loss, before - 0.1);
  EXPECT_EQ(after.samples, 2);
  ASSERT_TRUE(run.held_out_before && run.held_out_after);
  EXPECT_NEAR(*run.held_out_before, before, 1e-5);
  EXPECT_NEAR(*run.held_out_after, after.loss, 1e-5);
}

TEST_F(Api, ATuneThatWasStoppedGoesOnToTheSameAdapter) {
  const TuneResult cut =
      tune(recipe("cut"), {.on_step = [](const TuneStep& s) { return s.step < 2; }});
  EXPECT_FALSE(cut.finished);
  EXPECT_EQ(cut.steps, 2);
  EXPECT_EQ(cut.adapter, "");
  const TuneResult resumed = tune(recipe("cut").set("resume", true));
  const TuneResult whole = tune(recipe("whole"));
  EXPECT_EQ(read_file(fs::path(resumed.adapter) / "adapter_model.safetensors"),
            read_file(fs::path(whole.adapter) / "adapter_model.safetensors"));
}

TEST_F(Api, ErrorsSayWhatWouldBeRight) {
  EXPECT_EQ(kind_of([&] { (void)Model::load(at("nothing")); }), ErrorKind::not_found);
  EXPECT_EQ(kind_of([&] { (void)Model::load(base(), {.dtype = "fp99"}); }), ErrorKind::usage);
  EXPECT_EQ(kind_of([&] { (void)Model::load(base(), {.base_format = "int3"}); }), ErrorKind::usage);
  const Model model = load();
  EXPECT_EQ(kind_of([&] { (void)model.logits(std::vector<int32_t>{261}); }), ErrorKind::usage);
  EXPECT_EQ(kind_of([&] { (void)model.logits({}); }), ErrorKind::usage);
  EXPECT_EQ(kind_of([&] { (void)model.generate("x", {.temperature = -1}); }), ErrorKind::usage);
  EXPECT_EQ(kind_of([&] { set_threads(0); }), ErrorKind::usage);
  const auto message = [&](const Recipe& r) { return error_of([&] { tune(r); }); };
  EXPECT_NE(message(recipe("run").set("learning_rat", 1.0)).find("learning_rate"),
            std::string::npos);
  EXPECT_NE(message(Recipe::from_text("rank: [")).find("the recipe:1"), std::string::npos);
  EXPECT_NE(message(recipe("run").set("threads", 2)).find("set_threads"), std::string::npos);
}

}  // namespace
}  // namespace smidgen::api
