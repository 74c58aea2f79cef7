#include "smidgen/delta/compress/score.h"

#include <unistd.h>

#include "smidgen/base/unfinished_folder.h"
#include "smidgen/delta/compress/decompress.h"
#include "smidgen/eval/evaluate.h"
#include "smidgen/methods/open_model.h"
#include "smidgen/text/token_cache.h"

namespace smidgen {

struct DeltaScore::State {
  ScoreData choice;
  LoadedModel loaded;
  std::optional<Dataset> data;
};

DeltaScore::DeltaScore(const ScoreData& choice) : state_(std::make_unique<State>()) {
  State& s = *state_;
  s.choice = choice;
  const std::vector<fs::path> files = data_files(choice.data);  // before the model is loaded
  s.loaded = open({.choice = {.model = choice.base}});
  if (choice.max_length > s.loaded.model->context()) {
    throw Error(ErrorKind::usage,
                str("max_length is ", choice.max_length, ", and the model's context holds ",
                    s.loaded.model->context(), " tokens"),
                "max_length");
  }
  DatasetOptions options;
  options.max_length = choice.max_length ? choice.max_length : s.loaded.model->context();
  s.data = load_dataset(files, s.loaded.tokenizer(), s.loaded.chat_template(), options);
}

DeltaScore::~DeltaScore() = default;

double DeltaScore::base() const {
  return evaluate(*state_->loaded.model, *state_->data, {.slot = state_->loaded.slot}).loss();
}

double DeltaScore::operator()(const Compressed& compressed) {
  State& s = *state_;
  const UnfinishedFolder folder(fs::temp_directory_path() / str("smidgen-compress-", ::getpid()));
  write_delta(folder.path / "delta", compressed.contents);
  const DeltaFiles delta = read_delta(folder.path / "delta");
  if (!delta.adapter) {
    decompress_model(delta, s.choice.base, folder.path / "model");
    const LoadedModel tuned = open({.choice = {.model = (folder.path / "model").string()}});
    return evaluate(*tuned.model, *s.data, {.slot = tuned.slot}).loss();
  }
  const std::string name = "compressed";
  s.loaded.adapters->add(name, Adapter::load(*s.loaded.model, delta.path));
  Mix mix = s.loaded.mix;
  mix.push_back({name, 1});
  const double loss =
      evaluate(*s.loaded.model, *s.data, {.slot = s.loaded.adapters->slot(mix)}).loss();
  s.loaded.adapters->remove(name);
  return loss;
}

const std::vector<double>& alpha_grid() {
  static const std::vector<double> grid = {0.5, 1, 2, 3, 4, 5, 6, 8, 10};
  return grid;
}

std::vector<AlphaScore> tune_alpha(Compressed& compressed, const std::vector<double>& grid,
                                   const std::function<double(const Compressed&)>& score) {
  SMIDGEN_ASSERT(!grid.empty());
  std::vector<AlphaScore> all;
  size_t best = 0;
  for (const double alpha : grid) {
    set_alpha(compressed, alpha);
    all.push_back({alpha, score(compressed)});
    if (all.back().score < all[best].score) best = all.size() - 1;
  }
  set_alpha(compressed, all[best].alpha);
  return all;
}

}  // namespace smidgen
