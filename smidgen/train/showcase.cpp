#include "smidgen/train/showcase.h"

#include <algorithm>

#include <torch/torch.h>

#include "smidgen/base/sha256.h"
#include "smidgen/base/signals.h"
#include "smidgen/eval/bootstrap.h"
#include "smidgen/nn/generate.h"

namespace smidgen {

namespace {

// Tokens before the first answer token.
size_t prompt_length(std::span<const uint8_t> answer) {
  size_t n = 0;
  while (n < answer.size() && !answer[n]) ++n;
  return n;
}

}  // namespace

Showcase::Showcase(const Model& model, Objective& objective, const Tokenizer& tokenizer,
                   std::vector<int32_t> stop_tokens, const Dataset* held_out,
                   ShowcaseOptions options)
    : model_(model),
      objective_(objective),
      tokenizer_(tokenizer),
      stop_(std::move(stop_tokens)),
      held_out_(held_out),
      options_(options) {
  if (!held_out_) return;
  std::vector<std::pair<std::string, int64_t>> order;
  const int64_t stride = held_out_->form() == DataForm::pairs ? 2 : 1;  // chosen answers only
  for (int64_t i = 0; i < held_out_->size(); i += stride) {
    if (prompt_length(held_out_->answer(i)) > 1)
      order.emplace_back(sha256(std::as_bytes(held_out_->ids(i))), i);
  }
  std::sort(order.begin(), order.end());
  for (size_t k = 0; k < order.size() && k < static_cast<size_t>(options_.prompts); ++k)
    chosen_.push_back(order[k].second);
}

std::vector<std::string> Showcase::answers(int slot) const {
  std::vector<std::string> texts;
  for (const int64_t i : chosen_) {
    throw_if_stopped();
    const auto ids = held_out_->ids(i);
    Prompt prompt;
    prompt.ids.assign(ids.begin(),
                      ids.begin() + static_cast<long>(prompt_length(held_out_->answer(i))));
    prompt.slot = slot;
    GenerateOptions options;
    options.sample.greedy = true;
    options.max_new_tokens = options_.max_new_tokens;
    options.stop_tokens = stop_;
    options.tokenizer = &tokenizer_;
    options.interrupt = [] { return stop_requested() != 0; };
    const Generation made = generate(model_, prompt, options);
    texts.push_back(made.text);
    if (made.finish == Finish::length)
      texts.back() += str("\n[cut at ", options.max_new_tokens, " tokens]");
  }
  return texts;
}

EvalResult Showcase::score(int slot) const {
  EvalOptions options;
  options.per_sample = true;
  options.stop = [] { return stop_requested() != 0; };
  return objective_.evaluate({model_, *held_out_, slot}, options);
}

void Showcase::before(RunReport& report) {
  if (!held_out_) return;
  const EvalResult result = score(0);
  report.held_out = HeldOut{.before = result.loss(),
                            .after = result.loss(),
                            .tokens = result.tokens,
                            .samples = result.samples,
                            .interval_low = {},
                            .interval_high = {},
                            .per_token = objective_.per_token(),
                            .metrics_before = result.metrics,
                            .metrics_after = {}};
  report.samples.clear();
  const auto texts = answers(0);
  for (size_t k = 0; k < chosen_.size(); ++k) {
    const auto ids = held_out_->ids(chosen_[k]);
    const size_t cut = prompt_length(held_out_->answer(chosen_[k]));
    report.samples.push_back({tokenizer_.decode(ids.subspan(0, cut), true), texts[k], "",
                              tokenizer_.decode(ids.subspan(cut), true)});
  }
}

void Showcase::after(RunReport& report, int slot) {
  if (!held_out_ || !report.held_out) return;
  // The base is scored again rather than remembered: a resumed run pairs as an uninterrupted one
  // does.
  const EvalResult base = score(0), tuned = score(slot);
  const Interval interval = paired_bootstrap(base.per_sample, tuned.per_sample, options_.seed);
  report.held_out->after = tuned.loss();
  report.held_out->metrics_after = tuned.metrics;
  report.held_out->interval_low = interval.low;
  report.held_out->interval_high = interval.high;
  const auto texts = answers(slot);
  for (size_t k = 0; k < texts.size() && k < report.samples.size(); ++k)
    report.samples[k].after = texts[k];
}

}  // namespace smidgen
