// Writes reports into files, for the browser check in tests/report: a full one and a hostile one.
#include "smidgen/report/run_report.h"

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "smidgen/base/error.h"
#include "smidgen/base/rng.h"
#include "smidgen/report/html.h"

namespace smidgen {
namespace {

namespace fs = std::filesystem;

size_t occurrences(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size()))
    ++count;
  return count;
}

// The shape of a real run of the demonstration: 300 steps, evaluations every 50, LoRA on every
// linear layer.
RunReport example() {
  RunReport r;
  r.title = "LoRA on SmolLM2-135M-Instruct: bodies of standard-library functions";
  r.generated_at = "2026-01-31 12:00:00 UTC";
  r.summary = {{"model", "SmolLM2-135M-Instruct.Q4_1.gguf"},
               {"base format", "q4_1"},
               {"method", "lora, rank 8, alpha 16"},
               {"data", "stdlib-functions, 4,312 samples"},
               {"seed", 1},
               {"steps", 300},
               {"tuning time", "8 min 41 s"},
               {"trainable numbers", 2442240},
               {"of all", "1.78 %"},
               {"answer tokens", 307214}};
  r.held_out = HeldOut{1.912, 1.604, 10412, 96, -0.341, -0.262};
  const Rng rng(7, "report_test");
  Series loss{"training", {}}, lr{"learning rate", {}}, speed{"tokens per second", {}},
      memory{"peak memory", {}};
  for (int step = 1; step <= 300; ++step) {
    const double fall = 1.62 + 0.42 * std::exp(-step / 60.0);
    loss.points.push_back({double(step), fall + 0.11 * rng.normal(step)});
    lr.points.push_back({double(step), step <= 20
                                           ? 2e-4 * step / 20
                                           : 1e-4 * (1 + std::cos(M_PI * (step - 20) / 280))});
    speed.points.push_back(
        {double(step), 602 + 22 * rng.normal(1000 + step) - (step % 90 == 0 ? 160 : 0)});
    memory.points.push_back({double(step), step < 4 ? 611.0 + 40 * step : 764.0});
  }
  Series held{"held-out", {}};
  for (int step = 0; step <= 300; step += 50)
    held.points.push_back({double(step), 1.604 + 0.308 * std::exp(-step / 55.0)});
  r.loss = {loss};
  r.eval_loss = {held};
  r.learning_rate = {lr};
  r.tokens_per_second = {speed};
  r.memory = {memory};
  r.recipe = {{"model", "SmolLM2-135M-Instruct.Q4_1.gguf", "flag"},
              {"method.name", "lora", "recipe.yaml:3"},
              {"method.rank", "8", "recipe.yaml:4"},
              {"method.alpha", "16", "recipe.yaml:5"},
              {"learning_rate", "0.0002", "flag"},
              {"schedule", "cosine", "default"},
              {"warmup_steps", "20", "default"},
              {"batch_tokens", "1024", "default"},
              {"seed", "1", "default"},
              {"threads", "2", "SMIDGEN_THREADS"}};
  const std::string prompt =
      "<|im_start|>user\nWrite the body of this Python function.\n\ndef capwords(s, sep=None):\n   "
      " \"\"\"Split the argument into words, "
      "capitalize each\n    word, and join them.\"\"\"<|im_end|>\n<|im_start|>assistant\n";
  const std::string body = "return (sep or ' ').join(map(str.capitalize, s.split(sep)))";
  for (int i = 0; i < 3; ++i)
    r.first_batch.push_back(
        {{prompt, false, 64}, {body + "<|im_end|>", true, 21}, {"\n", false, 1}});
  for (int layer = 0; layer < 4; ++layer) {
    for (const char* site : {"q_proj", "k_proj", "v_proj", "o_proj"}) {
      const std::string name = "model.layers." + std::to_string(layer) + ".self_attn." + site;
      r.trainables.push_back({name + ".lora_A", {8, 576}, 4608, "fp32", 0.0123 * (layer + 1)});
      r.trainables.push_back({name + ".lora_B", {576, 8}, 4608, "fp32", 0.31 / (layer + 1)});
    }
  }
  r.samples = {{"def first(iterable, default=None):\n    \"\"\"Return the first item, or default "
                "when there is none.\"\"\"",
                "```python\ndef first(iterable, default=None):\n    \"\"\"\n    Return the first "
                "item, or default when there is none.\n    \"\"\"\n    return iterable[0]\n```\n"
                "This function takes an iterable and a default value.",
                "for item in iterable:\n    return item\nreturn default",
                "return next(iter(iterable), default)"},
               {"def is_tracked(self):\n    \"\"\"Return True if the resource tracker knows this "
                "name.\"\"\"",
                "return self.is_tracked", "return self._name in self._cache",
                "return self._name in self._registered"}};
  r.environment = {{"smidgen", "0.1.0"},
                   {"libtorch", "2.13.0"},
                   {"processor", "2 cores, AVX-512, bf16, VNNI"},
                   {"threads", "2"},
                   {"kernel target", "avx512_bf16"}};
  return r;
}

const std::string kAttack =
    "</pre></style><script>console.error('ran')</script><img src=x "
    "onerror=\"console.error(1)\">\x1b[31m\xff\xe2\x80\xae'\"&";

RunReport hostile() {
  RunReport r = example();
  r.title = r.generated_at = kAttack;
  r.summary = {{kAttack, kAttack}, {"list", {kAttack}}, {"nothing", nullptr}};
  r.held_out->after = NAN;
  r.recipe.push_back({kAttack, kAttack, kAttack});
  r.first_batch.push_back({{kAttack, true}, {kAttack, false}});
  r.trainables.push_back({kAttack, {}, -1, kAttack, INFINITY});
  r.without_gradient = {kAttack};
  r.samples.push_back({kAttack, kAttack + std::string(30000, 'w'), "", kAttack});
  r.environment.push_back({kAttack, kAttack});
  r.warnings = {kAttack};
  r.loss.push_back({kAttack, {{1, NAN}, {2, 1e300}, {3, INFINITY}, {4, -1e300}}});
  r.memory = {{kAttack, {}}};
  return r;
}

void write_for_browser(const std::string& name, const std::string& html) {
  if (const char* folder = std::getenv("SMIDGEN_REPORT_OUT"))
    std::ofstream(std::string(folder) + "/" + name) << html;
}

TEST(RunReport, HasEveryPart) {
  const std::string html = render(example());
  write_for_browser("full.html", html);
  for (const char* part :
       {"<strong>1.912 <i>\u2192</i> 1.604</strong>", "<strong>6.767 <i>\u2192</i> 4.973</strong>",
        "<strong class=\"good\">\u221216.1 %</strong>", "over 10,412 tokens of 96 samples",
        "interval: \u22120.341 to \u22120.262.", "Learning rate", "Memory",
        "Sequence 1: 21 of 86 tokens are learned", "<mark>return (sep or &#39; &#39;)",
        "32 tensors, 147,456 numbers", "<dd>2,442,240</dd>", "recipe.yaml:4"}) {
    EXPECT_NE(html.find(part), std::string::npos) << part;
  }
  EXPECT_EQ(html.find("warning</h3>"), std::string::npos);
}

TEST(RunReport, LoadsNothingAndRunsNothing) {
  const std::string html = render(example());
  for (const char* part : {"http://", "https://", "<script", "url(", "@import", " src="}) {
    EXPECT_EQ(html.find(part), std::string::npos) << part;
  }
}

TEST(RunReport, EscapesWhatModelsAndFilesSay) {
  const std::string html = render(hostile());
  write_for_browser("hostile.html", html);
  EXPECT_EQ(html.find("<script"), std::string::npos);
  EXPECT_EQ(html.find("<img"), std::string::npos);
  EXPECT_EQ(occurrences(html, "</style>"), 1u);
  for (const char byte : {'\x1b', '\xff'}) EXPECT_EQ(html.find(byte), std::string::npos);
  EXPECT_EQ(html.find("\u202e"), std::string::npos);
  EXPECT_GE(occurrences(html, "&lt;script&gt;"), 15u);
  EXPECT_NE(html.find("1 trainable tensor had no gradient"), std::string::npos);
  EXPECT_NE(html.find("2 points not finite"), std::string::npos);
}

TEST(RunReport, RendersWithNothingInside) {
  const std::string html = render(RunReport{});
  write_for_browser("empty.html", html);
  EXPECT_NE(html.find("<h1>Run report</h1>"), std::string::npos);
  EXPECT_NE(html.find("No held-out data was evaluated"), std::string::npos);
  EXPECT_NE(html.find("no data"), std::string::npos);
}

TEST(RunReport, HeadlineFallsBackToTheEvaluations) {
  RunReport r;
  r.eval_loss = {{"held-out", {{0, 2.0}, {10, 2.5}}}};
  const std::string html = render(r);
  EXPECT_NE(html.find("<strong class=\"bad\">+25.0 %</strong>"), std::string::npos);
}

TEST(RunReport, JoinsACharacterSplitBetweenTokens) {
  RunReport r;
  r.first_batch = {{{"\xc3", true}, {"\xa9", true}, {"\xc3", false}}};
  const std::string html = render(r);
  EXPECT_NE(html.find("<mark>\u00e9</mark><span class=\"ctl\">\\xC3</span>"), std::string::npos);
  EXPECT_NE(report_json(r).find("\u00e9"), std::string::npos);
}

class RunFolder : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::temp_directory_path() / ("smidgen_report_" + std::string(info->name()));
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  void write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / name, std::ios::binary) << text;
  }

  std::string message() {
    try {
      from_run_folder(folder_);
    } catch (const Error& e) {
      return e.what() + std::string(" | ") + e.hint();
    }
    return "no error";
  }

  fs::path folder_;
};

TEST_F(RunFolder, RebuildsTheSamePage) {
  const RunReport r = example();
  std::string metrics =
      "{\"step\": 0, \"eval_loss\": " + std::to_string(r.eval_loss[0].points[0].y) + "}\n";
  for (size_t i = 0; i < r.loss[0].points.size(); ++i) {
    Json row{{"step", i + 1},
             {"loss", r.loss[0].points[i].y},
             {"tokens", 1024},
             {"lr", r.learning_rate[0].points[i].y},
             {"tokens_per_s", r.tokens_per_second[0].points[i].y},
             {"peak_mb", r.memory[0].points[i].y}};
    metrics += row.dump() + "\n";
    if ((i + 1) % 50 == 0)
      metrics +=
          Json{{"step", i + 1}, {"eval_loss", r.eval_loss[0].points[(i + 1) / 50].y}}.dump() + "\n";
  }
  write("metrics.jsonl", metrics);
  write("report.json", report_json(r));
  EXPECT_EQ(render(from_run_folder(folder_)), render(r));
}

TEST_F(RunFolder, KeepsOddBytesOutOfJson) {
  const RunReport r = hostile();
  write("metrics.jsonl",
        "{\"step\": 1, \"loss\": null}\n{\"step\": 2, \"loss\": 1.5}\n{\"step\": 3, \"lo");
  write("report.json", report_json(r));
  const RunReport back = from_run_folder(folder_);
  EXPECT_EQ(back.samples.size(), r.samples.size());
  EXPECT_TRUE(std::isnan(back.held_out->after));
  EXPECT_TRUE(std::isnan(back.loss.at(0).points.at(0).y));
  EXPECT_EQ(back.loss[0].points.at(1).y, 1.5);
  ASSERT_EQ(back.warnings.size(), 2u);
  EXPECT_NE(back.warnings[1].find("cut short (line 3)"), std::string::npos);
}

TEST_F(RunFolder, NamesFileAndLine) {
  EXPECT_NE(message().find("no metrics.jsonl"), std::string::npos);
  write("metrics.jsonl", "{\"step\": 1, \"loss\": 2}\n{\"step\": 2, \"loss\": \"two\"}\n");
  EXPECT_NE(message().find("'loss' is not a number"), std::string::npos);
  EXPECT_NE(message().find("metrics.jsonl, line 2"), std::string::npos);
  write("metrics.jsonl", "{\"step\": 1}\nnonsense\n{\"step\": 2}\n");
  EXPECT_NE(message().find("expected a JSON object"), std::string::npos);
  write("metrics.jsonl", "[1]\n");
  EXPECT_NE(message().find("line 1"), std::string::npos);
  write("metrics.jsonl", "{\"loss\": 1}\n");
  EXPECT_NE(message().find("no number 'step'"), std::string::npos);
  fs::remove(folder_ / "metrics.jsonl");
  fs::create_directory(folder_ / "metrics.jsonl");
  EXPECT_NE(message().find("it is a folder"), std::string::npos);
}

TEST_F(RunFolder, RefusesAReportItDoesNotKnow) {
  write("metrics.jsonl", "");
  EXPECT_EQ(message(), "no error");
  write("report.json", "{\"trainable\": []}");
  EXPECT_NE(message().find("unknown key 'trainable'"), std::string::npos);
  EXPECT_NE(message().find("trainables"), std::string::npos);
  write("report.json", "{\"samples\": [{\"prompt\": 3}]}");
  EXPECT_NE(message().find("'prompt' has the wrong type: number (" +
                           (folder_ / "report.json").string() + ": samples[0])"),
            std::string::npos)
      << message();
  write("report.json", "{\"version\": 2}");
  EXPECT_NE(message().find("version 2"), std::string::npos);
  write("report.json", "{\"title\": ");
  EXPECT_NE(message().find("not JSON"), std::string::npos);
  for (const char* bad :
       {"{\"first_batch\": {}}", "{\"first_batch\": [{}]}", "{\"first_batch\": [[1]]}",
        "{\"summary\": 1}", "{\"samples\": 1}", "{\"held_out\": 1}", "{\"warnings\": [1]}",
        "{\"trainables\": [{\"shape\": \"x\"}]}", "[]"}) {
    write("report.json", bad);
    EXPECT_NE(message(), "no error") << bad;
  }
}

}  // namespace
}  // namespace smidgen
