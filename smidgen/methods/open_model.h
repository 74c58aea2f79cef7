// A model with its adapters, as a user names them: what everything that runs a model asks for, and
// what comes of it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "smidgen/base/schema.h"
#include "smidgen/io/adapter_files.h"
#include "smidgen/io/model_files.h"
#include "smidgen/kernels/formats/registry.h"
#include "smidgen/methods/adapter_set.h"
#include "smidgen/text/chat_template.h"
#include "smidgen/text/tokenizer.h"

namespace smidgen {

// Which model.
struct ModelChoice {
  std::string model;
  std::vector<std::string> adapter;
  std::vector<std::string> allow_config_key;
  bool allow_other_base = false;
};

// Which model, and how it computes.
struct ModelConfig {
  ModelChoice choice;
  std::string dtype = "auto";
  std::string base_format = "native";
};

template <class V>
void fields(V& v, ModelChoice& c) {
  v("model", c.model, {.help = "Model folder, GGUF file, or BASE+ADAPTER", .required = true});
  v("adapter", c.adapter,
    {.help = "Adapters, summed: PATH, PATH:SCALE or NAME=PATH; folders of PEFT or mlx-lm, GGUF "
             "files"});
  v("allow_config_key", c.allow_config_key,
    {.help = "Keys of adapter_config.json that are let through unread"});
  v("allow_other_base", c.allow_other_base,
    {.help = "Use an adapter on another base than it was trained on"});
}

template <class V>
void fields(V& v, ModelConfig& c) {
  fields(v, c.choice);
  v.choice("dtype", c.dtype, {"auto", "fp32", "bf16"},
           {.help = "Arithmetic; auto is bf16 where the machine multiplies it"});
  v.choice("base_format", c.base_format, weight_formats().names(),
           {.help = "How the frozen weights are stored in memory"});
}

struct LoadedModel {
  ModelFiles files;
  std::unique_ptr<Model> model;
  std::unique_ptr<AdapterSet> adapters;  // never null
  Mix mix;                               // all of them, in the order given
  int slot = 0;                          // of the mix; 0 when there are no adapters

  // Read when first asked for: a call with token ids needs neither.
  const Tokenizer& tokenizer();
  // Null when the model has none. `choice`: auto, none, or a name; the first call decides. Throws
  // usage for a name that the model does not have.
  const ChatTemplate* chat_template(const std::string& choice = "auto");

 private:
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::shared_ptr<const ChatTemplate> template_;
  bool template_read_ = false;
};

// One adapter on the command line: [NAME=]PATH[:SCALE]. A path that exists as written wins over
// both cuts. Without a name it is called after its folder, or after the folder around it where that
// one is just called "adapter", as in a run.
struct AdapterChoice {
  std::string name;
  fs::path path;
  double scale = 1;
};
AdapterChoice parse_adapter(const std::string& text);

// An adapter in any layout: a GGUF file, a folder of mlx-lm, else a folder of PEFT.
AdapterFiles open_adapter(const fs::path& path, const ModelFiles& base);

// Adapters that smidgen trained say which base they belong to (those of PEFT do not). Throws
// mismatch with both digests where it is another one.
void check_base(const AdapterFiles& adapter, const ModelFiles& base, bool allow_other);

// The model with its adapters attached.
LoadedModel open(const ModelConfig& config);
// The same without attaching.
LoadedModel open_detached(const ModelChoice& choice, const LoadOptions& options);

// Puts the weights of its files in place of what a planned model has, and nothing attached.
void load_weights(LoadedModel& loaded, const LoadOptions& options);

// The ids of a conversation up to where the assistant speaks. One BOS where the tokenizer adds one.
// Throws unsupported when the model has no chat template.
std::vector<int32_t> chat_ids(LoadedModel& loaded, const Json& messages);

}  // namespace smidgen
