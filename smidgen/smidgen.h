// smidgen from C++: load a model, talk to it, tune a small part of it, and switch what was tuned on
// and off.
//
//   #include <smidgen/smidgen.h>                    find_package(smidgen), link smidgen::core
//   auto model = smidgen::api::Model::load("model.gguf");
//   std::cout << model.chat({{"user", "Name three rivers."}}).text;
//
// This header needs nothing but the standard library, and namespace smidgen::api is all that the
// shared library exports. Files are the ecosystem's own: model folders, GGUF, adapter folders.
//
// Errors. Every function throws smidgen::Error (kind, message, where, hint) and nothing else; what
// a callback of yours throws passes through unchanged.
//
// Threads. One Model may be used from several threads: its calls run one after the other, each on
// all compute threads (set_threads). A callback runs on the thread that called and must not call
// its own model: that throws usage. Different models share the compute threads.
//
// Process. Nothing is written to standard output; warnings go to standard error. No signal handler
// is installed, and no SMIDGEN_* variable is read except SMIDGEN_TARGET and SMIDGEN_KERNELS. Two
// things are the process's: the number of compute threads, and the bound of oneDNN's caches, which
// the first call sets through the environment where you did not (LRU_CACHE_CAPACITY,
// ONEDNN_PRIMITIVE_CACHE_CAPACITY).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "smidgen/base/error.h"

namespace smidgen::api {

std::string version();        // of smidgen: "0.1.0"
std::string torch_version();  // of the libtorch it was built against: "2.13.0"

// Compute threads of the process, from 1 on. libtorch starts with one per core.
void set_threads(int count);
int threads();

struct ModelOptions {
  std::string dtype =
      "auto";  // arithmetic: auto, fp32, bf16 (auto: bf16 where the machine multiplies it)
  std::string base_format =
      "native";  // how the frozen weights lie in memory: native, fp32, bf16, ...
  std::vector<std::string> allow_config_keys =
      {};                         // keys of adapter_config.json that are let through unread
  bool allow_other_base = false;  // take an adapter that was trained on another base
};

struct Message {
  std::string role;     // "system", "user", "assistant", or what the model's template knows
  std::string content;  // UTF-8
};

enum class Finish {
  eos,          // the model ended its answer
  stop,         // a stop string; the text ends before it
  length,       // max_new_tokens
  context,      // the model's context is full
  interrupted,  // on_text returned false
};

struct GenerateOptions {
  int64_t max_new_tokens = 256;
  bool greedy = false;            // always the most likely token
  double temperature = 0.7;       // 0 is greedy
  int64_t top_k = 0;              // keep the k most likely tokens; 0: all
  double top_p = 1;               // keep the most likely that reach this probability together
  double min_p = 0;               // keep those of at least this share of the highest probability
  double repetition_penalty = 1;  // 1: none
  uint64_t seed = 0;              // equal seeds give equal answers at equal thread counts
  std::vector<std::string> stop = {};  // texts that end the answer
  bool ignore_eos = false;
  // The answer as it comes: whole characters, never the beginning of a stop string. The pieces
  // together are the text. False ends the answer.
  std::function<bool(std::string_view piece)> on_text = {};
};

struct Generation {
  std::string text;          // special tokens left out
  std::vector<int32_t> ids;  // without the prompt and the end token
  int64_t prompt_tokens = 0;
  Finish finish = Finish::length;
};

struct ScoreOptions {
  int64_t max_length = 0;       // tokens; 0: the model's context
  bool truncate = false;        // cut longer samples; else they are an Error data
  bool chat_template = true;    // use the model's template where it has one
  int64_t micro_tokens = 2048;  // tokens of one forward pass
  std::function<bool(int64_t done, int64_t total)> on_progress =
      {};  // tokens; false ends with Error interrupted
};

// Cross-entropy of the answer tokens.
struct Score {
  double loss = 0;  // mean, nats
  double perplexity = 0;
  int64_t tokens = 0;
  int64_t samples = 0;
};

// An adapter and how much of it: y = base(x) + weight * delta(x).
struct AdapterUse {
  std::string name;
  double weight = 1;
};

// A model in memory with the adapters that were loaded for it.
class Model {
 public:
  // A model folder, a GGUF file, or BASE+ADAPTER[+ADAPTER]: adapters that are named here are loaded
  // under their folder's name and in use.
  static Model load(const std::string& path, const ModelOptions& options = {});
  Model(Model&&) noexcept;
  Model& operator=(Model&&) noexcept;
  ~Model();

  // Text and tokens. A model whose tokenizer cannot be read still computes with ids.
  std::vector<int32_t> encode(std::string_view text) const;
  std::string decode(std::span<const int32_t> ids) const;
  bool has_chat_template() const;
  // The conversation up to where the assistant speaks. Throws unsupported without a template.
  std::vector<int32_t> encode_chat(const std::vector<Message>& conversation) const;

  // An answer to a conversation.
  Generation chat(const std::vector<Message>& conversation,
                  const GenerateOptions& options = {}) const;
  // The text, or the ids, continued as they stand.
  Generation generate(std::string_view text, const GenerateOptions& options = {}) const;
  Generation generate_ids(std::span<const int32_t> ids, const GenerateOptions& options = {}) const;

  // Scores of the next token after each of the ids: ids.size() rows of vocabulary() floats.
  std::vector<float> logits(std::span<const int32_t> ids) const;
  // Loss on data files: .jsonl rows with messages, prompt and completion, or text; or plain text.
  Score score(const std::vector<std::string>& files, const ScoreOptions& options = {}) const;

  // Adapters. Loading one changes nothing until it is used; a name that is taken is an Error usage.
  // A folder of PEFT or mlx-lm, or a GGUF file.
  void load_adapter(const std::string& name, const std::string& path);
  // Frees it. Throws usage while it is in use.
  void unload_adapter(const std::string& name);
  // These and no others from now on; none is the bare base. They are computed beside the base,
  // which is never written to, so going back gives its bits. A weight other than 1 needs a method
  // that is linear in its delta (unsupported otherwise).
  void use(const std::vector<AdapterUse>& adapters);
  std::vector<std::string> adapters() const;  // loaded, in the order of loading
  std::vector<AdapterUse> in_use() const;

  // Writes a Hugging Face folder of the base with the adapters in use merged into it; the folder
  // must be new or empty. dtype: native, fp32, bf16, fp16.
  void save(const std::string& folder, const std::string& dtype = "native") const;

  std::string path() const;
  std::string family() const;
  std::string dtype() const;      // arithmetic: "fp32" or "bf16"
  int64_t vocabulary() const;     // rows of logits; may exceed the tokenizer's
  int64_t context() const;        // longest sequence
  uint64_t weight_bytes() const;  // of the frozen weights in memory

 private:
  struct State;
  explicit Model(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// A tuning recipe: the keys of docs/tune.md, as text or one by one. Keys and values are checked
// when tune() begins, with the nearest right name in the Error; later settings win over the text.
class Recipe {
 public:
  Recipe() = default;
  // YAML, of which JSON is a part.
  static Recipe from_text(std::string yaml);
  static Recipe from_file(const std::string& path);

  Recipe& set(std::string key,
              std::string value);  // set("data", "a.jsonl,b.jsonl"), set("policy.rate", "0.1")
  Recipe& set(std::string key, const char* value) {
    return set(std::move(key), std::string(value));
  }
  Recipe& set(std::string key, bool value) {
    return set(std::move(key), std::string(value ? "true" : "false"));
  }
  Recipe& set(std::string key, int64_t value) { return set(std::move(key), std::to_string(value)); }
  Recipe& set(std::string key, int value) { return set(std::move(key), int64_t{value}); }
  Recipe& set(std::string key, double value);

  const std::string& text() const { return text_; }
  const std::vector<std::pair<std::string, std::string>>& settings() const { return settings_; }

 private:
  std::string text_;
  std::string file_;
  std::vector<std::pair<std::string, std::string>> settings_;
  friend struct RecipeReader;
};

struct TuneStep {
  int64_t step = 0, total = 0;
  double loss = 0;  // mean over the step's answer tokens, nats
  double learning_rate = 0;
  double grad_norm = 0;
  double tokens_per_second = 0;
  std::optional<double> held_out_loss;  // on steps that score eval_data
};

struct TuneOptions {
  // After every step. False ends the run at this step: everything is saved, and a recipe with
  // resume: true goes on from there.
  std::function<bool(const TuneStep&)> on_step = {};
};

struct TuneResult {
  int64_t steps = 0;
  bool finished = true;        // false: on_step ended it
  bool stopped_early = false;  // by the recipe's early_stop
  std::string adapter;  // folder for Model::load_adapter; for method full a model folder; empty if
                        // not finished
  std::string report;   // the run's page
  std::optional<double> held_out_before, held_out_after;  // loss on eval_data
};

// Trains as `smidgen tune` does and leaves the same run folder: the recipe's `out`.
TuneResult tune(const Recipe& recipe, const TuneOptions& options = {});

}  // namespace smidgen::api
