#include "smidgen/cli/core/recipe_score.h"

#include "smidgen/base/sha256.h"
#include "smidgen/base/signals.h"
#include "smidgen/base/unfinished_folder.h"
#include "smidgen/delta/merge/merge_models.h"
#include "smidgen/eval/choices.h"
#include "smidgen/methods/open_model.h"

namespace smidgen {

struct RecipeScore::Tasks {
  std::vector<Dataset> texts;
  std::vector<QuestionSet> questions;
};

RecipeScore::RecipeScore(const MergeRun& run, const DataChoice& data,
                         std::vector<std::string> choices, fs::path folder)
    : run_(run),
      data_(data),
      choices_(std::move(choices)),
      folder_(std::move(folder)),
      files_(data_files(data.files)) {
  run_.statistics = run_.digests = run_.verify = run_.dry_run = false;
  run_.quiet = true;
  run_.passes = std::make_shared<ModelPasses>();
}

RecipeScore::~RecipeScore() = default;

double RecipeScore::operator()(const std::string& recipe) {
  throw_if_stopped();
  const UnfinishedFolder trial(folder_ / "trial");
  run_.out = trial.path / "model";
  run_merge(run_, recipe);
  ModelConfig model;
  model.choice.model = run_.out.string();
  LoadedModel loaded = open(model);
  const bool asks = !choices_.empty();
  if (!tasks_) {
    auto tasks = std::make_unique<Tasks>();
    const DatasetOptions options = dataset_options(data_, *loaded.model);
    const ChatTemplate* chat = loaded.chat_template(data_.chat_template);
    const bool found = choices_ == std::vector<std::string>{"auto"};
    for (const fs::path& file : files_) {
      if (asks) {
        tasks->questions.push_back(load_questions(file,
                                                  found ? std::vector<std::string>{} : choices_,
                                                  loaded.tokenizer(), chat, options));
      } else {
        tasks->texts.push_back(load_dataset({&file, 1}, loaded.tokenizer(), chat, options));
      }
    }
    tasks_ = std::move(tasks);
  }
  EvalOptions options{.micro_tokens = data_.micro_tokens};
  options.stop = [] { return stop_requested() != 0; };
  double sum = 0;
  for (const Dataset& text : tasks_->texts) sum += evaluate(*loaded.model, text, options).loss();
  for (const QuestionSet& set : tasks_->questions)
    sum += 1 - evaluate_choices(*loaded.model, set.questions, options).accuracy();
  return sum / static_cast<double>(files_.size());
}

Json RecipeScore::identity() const {
  Json files = Json::array();
  for (const fs::path& file : files_)
    files.push_back(Json::array({file.string(), sha256_file(file)}));
  return {{"data", files},
          {"choices", choices_},
          {"max_length", data_.max_length},
          {"too_long", data_.too_long},
          {"chat_template", data_.chat_template},
          {"merge_seed", run_.seed}};
}

}  // namespace smidgen
