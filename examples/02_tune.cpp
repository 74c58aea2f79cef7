// 02_tune MODEL DATA RUN: tunes a LoRA of rank 4 on a JSONL file, then scores the data without and
// with it. RUN is the run folder to make; a second call with an unfinished one goes on where it
// stopped.
#include <filesystem>
#include <iostream>

#include <smidgen/smidgen.h>

namespace sm = smidgen::api;

int main(int argc, char** argv) {
  if (argc != 4) {
    std::cerr << "usage: " << argv[0] << " MODEL DATA RUN\n";
    return 2;
  }
  try {
    // Any key of docs/tune.md, as YAML or one by one.
    sm::Recipe recipe = sm::Recipe::from_text(R"(
      method: {name: lora, rank: 4, alpha: 8, target: all-linear}
      learning_rate: 1e-3
      schedule: cosine
      warmup_steps: 2
      batch_tokens: 512
      samples: 0
    )");
    recipe.set("model", argv[1]).set("data", argv[2]).set("out", argv[3]).set("max_steps", 20);
    recipe.set("resume", std::filesystem::exists(argv[3]));

    sm::TuneOptions options;
    options.on_step = [](const sm::TuneStep& s) {
      std::cerr << "step " << s.step << " of " << s.total << ", loss " << s.loss << "\n";
      return true;  // false would save and stop
    };
    const sm::TuneResult run = sm::tune(recipe, options);

    sm::Model model = sm::Model::load(argv[1]);
    const sm::ScoreOptions scoring{.truncate = true};
    const double before = model.score({argv[2]}, scoring).loss;
    model.load_adapter("tuned", run.adapter);
    model.use({{"tuned"}});
    const double after = model.score({argv[2]}, scoring).loss;
    std::cout << "loss " << before << " -> " << after << " with " << run.adapter << "\n";
  } catch (const smidgen::Error& error) {
    std::cerr << "error: " << error.what() << "\n";
    if (!error.hint().empty()) std::cerr << "hint: " << error.hint() << "\n";
    return 1;
  }
}
