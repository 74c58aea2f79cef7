// Everything that decides what a tuning run computes: the recipe of `tune`.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "smidgen/base/field.h"
#include "smidgen/base/schema.h"
#include "smidgen/nn/memory_plan.h"
#include "smidgen/text/reading.h"

namespace smidgen {

struct OptimizerConfig {
  std::string optimizer = "adamw";
  double learning_rate = 1e-4;
  double weight_decay = 0;
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
  double momentum = 0;
  double max_grad_norm = 1;
};

struct ScheduleConfig {
  std::string schedule = "linear";
  int64_t warmup_steps = 0;
  std::optional<int64_t> decay_steps;
  double final_ratio = 0;
};

struct DataConfig : ReadingConfig {
  std::vector<std::string> data;
  std::vector<std::string> eval_data;
  int64_t max_length = 512;
  bool shuffle = true;
};

struct TrainConfig {
  OneOf method{"lora"};
  OneOf loss{"cross_entropy"};
  OneOf policy;
  DataConfig data;
  int64_t batch_tokens = 1024;
  int64_t micro_tokens = 0;
  std::optional<int64_t> max_steps;
  double epochs = 1;
  OptimizerConfig optimizer;
  ScheduleConfig schedule;
  int64_t eval_every = 0;
  int64_t early_stop = 0;
  int64_t save_every = 0;
  int64_t save_total_limit = 2;
  double watchdog = 8;
  MemoryPlan memory;
  bool debug_nan = false;
  int64_t seed = 0;
};

template <class V>
void fields(V& v, OptimizerConfig& c) {
  v.choice("optimizer", c.optimizer, {"adamw", "sgd"},
           {.help = "Update rule; both as in torch.optim"});
  v("learning_rate", c.learning_rate, {.help = "Peak learning rate", .min = 0, .was = {"lr"}});
  v("weight_decay", c.weight_decay, {.help = "Decay, decoupled for adamw", .min = 0});
  v("beta1", c.beta1, {.help = "adamw: decay of the first moment", .min = 0, .max = 0.999999});
  v("beta2", c.beta2, {.help = "adamw: decay of the second moment", .min = 0, .max = 0.9999999});
  v("epsilon", c.epsilon, {.help = "adamw: added to the root of the second moment", .min = 0});
  v("momentum", c.momentum, {.help = "sgd: momentum", .min = 0, .max = 0.999999});
  v("max_grad_norm", c.max_grad_norm,
    {.help = "Gradients are scaled down to this norm; 0 leaves them", .min = 0});
}

template <class V>
void fields(V& v, ScheduleConfig& c) {
  v.choice(
      "schedule", c.schedule, {"constant", "linear", "cosine", "wsd"},
      {.help = "How the learning rate falls after the warm-up; wsd is warm-up, stable, decay"});
  v("warmup_steps", c.warmup_steps,
    {.help = "Steps of linear rise from 0", .min = 0, .unit = "steps"});
  v("decay_steps", c.decay_steps,
    {.help = "wsd: length of the final fall; a tenth of the run when unset",
     .min = 0,
     .unit = "steps"});
  v("final_ratio", c.final_ratio,
    {.help = "Share of the peak that is left at the end", .min = 0, .max = 1});
}

template <class V>
void fields(V& v, DataConfig& c) {
  v("data", c.data,
    {.help =
         "Training files, folders or patterns: .jsonl or .json rows of a form the loss takes, or "
         "plain text",
     .required = true});
  v("eval_data", c.eval_data, {.help = "Held-out files in the same forms"});
  v("max_length", c.max_length, {.help = "Longest sample", .min = 2, .unit = "tokens"});
  fields(v, static_cast<ReadingConfig&>(c));
  v("shuffle", c.shuffle, {.help = "Visit samples in a new order every epoch"});
}

template <class V>
void fields(V& v, TrainConfig& c) {
  v.oneof("method", c.method, "method", {.help = "What is trained"});
  v.oneof("loss", c.loss, "loss", {.help = "What is minimised"});
  v.oneof("policy", c.policy, "policy",
          {.help = "What decides during training which modules get how much"});
  fields(v, c.data);
  v("batch_tokens", c.batch_tokens,
    {.help = "Tokens that one optimiser step aims at; samples are never split",
     .min = 1,
     .unit = "tokens"});
  v("micro_tokens", c.micro_tokens,
    {.help = "Most tokens of one forward pass; 0 means batch_tokens", .min = 0, .unit = "tokens"});
  v("max_steps", c.max_steps,
    {.help = "Optimiser steps; unset, epochs decide", .min = 0, .unit = "steps"});
  v("epochs", c.epochs, {.help = "Passes over the data where max_steps is unset", .min = 0});
  fields(v, c.optimizer);
  fields(v, c.schedule);
  v("eval_every", c.eval_every,
    {.help = "Score the held-out data every so many steps; 0 only before and after",
     .min = 0,
     .unit = "steps"});
  v("early_stop", c.early_stop,
    {.help = "Stop after so many evaluations without a new best; 0 never", .min = 0});
  v("save_every", c.save_every,
    {.help = "Checkpoint every so many steps; 0 only at the end", .min = 0, .unit = "steps"});
  v("save_total_limit", c.save_total_limit,
    {.help = "Newest checkpoints to keep, the best one besides; 0 keeps all", .min = 0});
  v("watchdog", c.watchdog,
    {.help = "Stop when a loss exceeds the last 50 by so many standard deviations; 0 watches for "
             "NaN only",
     .min = 0});
  fields(v, c.memory);
  v("debug_nan", c.debug_nan,
    {.help = "Look into every module, forward and backward, and stop at the first NaN or infinity "
             "with the module's name; slower"});
  v("seed", c.seed, {.help = "Decides starting values, order and every other draw", .min = 0});
}

}  // namespace smidgen
