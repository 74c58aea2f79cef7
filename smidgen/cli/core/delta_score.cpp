#include "smidgen/cli/core/delta_score.h"

#include <optional>
#include <unistd.h>

#include "smidgen/base/signals.h"
#include "smidgen/base/unfinished_folder.h"
#include "smidgen/eval/evaluate.h"
#include "smidgen/methods/open_model.h"
#include "smidgen/text/token_cache.h"

namespace smidgen {

struct DeltaScore::State {
  LoadedModel loaded;
  std::optional<Dataset> data;
  int64_t micro_tokens = 0;

  double loss(int slot) const {
    EvalOptions options{.slot = slot, .micro_tokens = micro_tokens};
    options.stop = [] { return stop_requested() != 0; };
    return evaluate(*loaded.model, *data, options).loss();
  }
};

DeltaScore::DeltaScore(const std::string& base, const DataChoice& data)
    : state_(std::make_unique<State>()) {
  State& s = *state_;
  const std::vector<fs::path> files = data_files(data.files);  // before the model is loaded
  s.loaded = open({.choice = {.model = base}});
  s.micro_tokens = data.micro_tokens;
  s.data = load_dataset(files, s.loaded.tokenizer(), s.loaded.chat_template(data.chat_template),
                        dataset_options(data, *s.loaded.model));
}

DeltaScore::~DeltaScore() = default;

double DeltaScore::base() const {
  return state_->loss(state_->loaded.slot);
}

double DeltaScore::operator()(const Compressed& compressed) {
  State& s = *state_;
  const UnfinishedFolder folder(fs::temp_directory_path() / str("smidgen-compress-", ::getpid()));
  write_delta(folder.path / "delta", compressed.contents);
  const std::string name = "compressed";
  s.loaded.adapters->add(name, Adapter::load(*s.loaded.model, folder.path / "delta"));
  Mix mix = s.loaded.mix;
  mix.push_back({name, 1});
  const double loss = s.loss(s.loaded.adapters->slot(mix));
  s.loaded.adapters->remove(name);
  return loss;
}

}  // namespace smidgen
