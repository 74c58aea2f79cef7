// What several importers say or compute alike.
#pragma once

#include <string>

#include "smidgen/io/importers/draft.h"

namespace smidgen::importing {

// Words for keys that every trainer has.
inline constexpr const char* kReport =
    "smidgen writes TensorBoard events, metrics.jsonl and an HTML page";
inline constexpr const char* kHardware = "about GPUs, processes or their kernels";
inline constexpr const char* kMemory = "trades memory for time; the result is the same";
inline constexpr const char* kQuantised =
    "the base is not quantised: it keeps its format, or base_format says which; more memory, and "
    "closer to the model";
inline constexpr const char* kPreference =
    "this recipe tunes by preferences or rewards; the settings here are those of supervised tuning "
    "and do not do the same";
inline constexpr const char* kLossPart = "see loss";
inline constexpr const char* kHub = "nothing is fetched from a hub or sent to one";
inline constexpr const char* kDora =
    "DoRA's magnitudes are not trained; plain LoRA of the same rank moves the weights differently";
inline constexpr const char* kDropout =
    "no dropout on the input of the update: a little more overfitting on small data";
inline constexpr const char* kImages = "images and audio are not read";

// model: a folder or file on this machine.
void model(Draft& draft, const Json& value);
// A name of transformers' `optim` or torch's class: adamw in all its storage forms, or sgd.
void optimizer(Draft& draft, const Json& value);
// A name of transformers' lr_scheduler_type.
void schedule(Draft& draft, const Json& value);
// Steps below 1 are a share of the run there, and ours are whole.
void steps(Draft& draft, const std::string& ours, const Json& value);
// warmup_steps from a share: of max_steps where that is known.
void warmup_ratio(Draft& draft, const std::string& key, double ratio);
// target_modules as PEFT understands them: names, a regular expression as one text, or all-linear.
void targets(Draft& draft, const Json& value);

// A loss over preferences with its strength, for the key that names it. `name` may be a variant of
// dpo (ipo, hinge). What no loss here does is a remark.
void preference(Draft& draft, const std::string& key, const std::string& name, double beta);

// batch_tokens and micro_tokens from a batch of sequences. `length` is the longest sequence;
// `packed`: every sequence is filled up to it.
struct Batch {
  std::string from;  // their keys
  double micro = 1, accumulate = 1;
  double length = 0;
  bool packed = false;
};
void batch(Draft& draft, const Batch& batch);

}  // namespace smidgen::importing
