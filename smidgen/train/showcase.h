// What a run shows of itself: held-out loss and a few answers, before the first step and after the
// last.
#pragma once

#include "smidgen/eval/evaluate.h"
#include "smidgen/report/run_report.h"
#include "smidgen/text/dataset.h"
#include "smidgen/text/tokenizer.h"
#include "smidgen/train/losses/registry.h"

namespace smidgen {

struct ShowcaseOptions {
  int64_t prompts = 3;
  int64_t max_new_tokens = 160;
  uint64_t seed = 0;  // of the bootstrap
};

class Showcase {
 public:
  // `held_out` may be null: then there is nothing to show. It is scored by `objective`. The prompts
  // are the first by the SHA-256 of their ids, so that nobody picks the flattering ones.
  Showcase(const Model& model, Objective& objective, const Tokenizer& tokenizer,
           std::vector<int32_t> stop_tokens, const Dataset* held_out, ShowcaseOptions options);

  void before(RunReport& report);  // of the bare base
  void after(RunReport& report,
             int slot);  // of what was trained, with the paired interval where `before` ran here

 private:
  std::vector<std::string> answers(int slot) const;
  EvalResult score(int slot) const;
  const Model& model_;
  Objective& objective_;
  const Tokenizer& tokenizer_;
  std::vector<int32_t> stop_;
  const Dataset* held_out_;
  ShowcaseOptions options_;
  std::vector<int64_t> chosen_;
};

}  // namespace smidgen
