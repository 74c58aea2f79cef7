// LLaMA-Factory's YAML. Keys, defaults and their meaning: LLaMA-Factory 0.9.5,
// src/llamafactory/hparams, and transformers' TrainingArguments for the rest.
#include <algorithm>

#include "smidgen/base/error.h"
#include "smidgen/base/fs.h"
#include "smidgen/io/importers/registry.h"
#include "smidgen/io/importers/shared.h"
#include "smidgen/io/json_file.h"

namespace smidgen {
namespace {

using namespace importing;
using F = Fate;

std::vector<std::string> names_of(const Json& value) {
  std::vector<std::string> names;
  if (value.is_array()) {
    for (const Json& item : value)
      names.push_back(item.is_string() ? item.get<std::string>() : item.dump());
    return names;
  }
  const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const size_t first = std::min(text.find_first_not_of(' ', begin), end);
    if (first < end) names.push_back(text.substr(first, end - first));
    begin = end + 1;
  }
  return names;
}

// A name of dataset_info.json: the file it leads to, and what its rows must become.
std::string resolved(const Json& info, const std::string& folder, const std::string& name,
                     std::string& words) {
  const auto entry = info.find(name);
  if (entry == info.end() || !entry->is_object()) {
    words += path_exists(name) ? ""
                               : str(name, " stands for an entry of ", folder,
                                     "/dataset_info.json: name its file; ");
    return name;
  }
  const Json file = entry->value("file_name", Json());
  std::string path = name;
  if (file.is_string()) {
    path = (fs::path(folder) / file.get<std::string>()).string();
  } else {
    words += str(name, " comes from a hub: save it as JSON lines; ");
  }
  // Its Alpaca and ShareGPT rows are read as they are, unless their columns have other names.
  if (entry->contains("columns"))
    words += str(path, ": its columns are named ", (*entry)["columns"].dump(),
                 ", and have to get the names that smidgen data lists; ");
  return path;
}

void data_sets(Draft& draft, const Json& value, const std::string& ours) {
  const Json dir = draft.value("dataset_dir");
  const std::string folder = dir.is_string() ? dir.get<std::string>() : "data";
  const std::string index = folder + "/dataset_info.json";
  const Json info = path_exists(index) ? read_json(index) : Json::object();
  Json files = Json::array();
  std::string words;
  for (const std::string& name : names_of(value))
    files.push_back(resolved(info.is_object() ? info : Json::object(), folder, name, words));
  if (!words.empty()) words.resize(words.size() - 2);
  if (files.empty()) return draft.remark(F::lost, "no data set");
  draft.set(ours, std::move(files), words);
}

void tuning(Draft& draft, const Json& value) {
  draft.set("method.name", value == "full" ? "full" : "lora");
  if (value == "freeze" || value == "oft")
    draft.remark(F::lost, str(value.dump(), " is another method; what follows is LoRA's"));
}

const std::vector<ImportRule>& table() {
  static const std::vector<ImportRule> rules = {
      {"model_name_or_path", F::mapped, "model", "", nullptr, model},
      {"adapter_name_or_path", F::mapped, "adapter", "", nullptr,
       [](Draft& d, const Json& v) { d.set("adapter", names_of(v)); }},
      {"output_dir", F::mapped, "out"},
      {"stage", F::mapped, "", "", nullptr,
       [](Draft& d, const Json& v) {
         if (v == "sft") return d.remark(F::mapped, "supervised tuning");
         if (v == "pt")
           return d.remark(F::changed, "tuning on texts: the rows are {\"text\": ...}");
         if (v == "dpo" || v == "kto") return d.leave();
         d.remark(F::lost, kPreference);
       }},
      {"finetuning_type", F::mapped, "method.name", "", "lora", tuning},
      {"dataset", F::mapped, "data", "", nullptr,
       [](Draft& d, const Json& v) { data_sets(d, v, "data"); }},
      {"eval_dataset", F::mapped, "eval_data", "", nullptr,
       [](Draft& d, const Json& v) { data_sets(d, v, "eval_data"); }},
      {"dataset_dir", F::mapped, "", "where dataset_info.json was looked for"},
      {"val_size", F::lost, "",
       "no share is split off: put the held-out rows into a file of their own and name it in "
       "eval_data"},
      {"tokenized_path", F::no_effect, "", "how LLaMA-Factory prepares data"},
      {"max_samples", F::lost, "", "all rows are used: cut the file (head -n) for fewer"},
      {"mix_strategy", F::lost, "", "all files are read to their end"},
      {"interleave_probs", F::lost, "", "all files are read to their end"},
      {"template", F::lost, "",
       "the model's own template is used; LLaMA-Factory's writes nearly the same for the model it "
       "is named after"},
      {"default_system", F::lost, "", "no message is added: write it into the rows"},
      {"tool_format", F::lost, "", "the model's own template writes the tools"},
      {"enable_thinking", F::lost, "", "the template is not told; its own default holds"},
      {"preserve_thinking", F::lost, "", "the template decides"},
      {"cutoff_len", F::mapped, "max_length", "", 2048,
       [](Draft& d, const Json& v) {
         d.set("max_length", v);
         d.set_from("cutoff_len", "too_long", "truncate", "longer samples are cut there");
       }},
      {"packing", F::mapped, "",
       "batches are always packed here, and samples do not see each other; see batch_tokens"},
      {"neat_packing", F::mapped, "", "samples of a batch do not see each other"},
      {"train_on_prompt", F::lost, "",
       "loss is taken on answers only: for loss on all, write the rows as {\"text\": ...}"},
      {"mask_history", F::lost, "",
       "every answer of a conversation is learned, not the last alone"},
      {"disable_shuffling", F::mapped, "shuffle", "", nullptr,
       [](Draft& d, const Json& v) { d.set("shuffle", v != true); }},

      {"lora_rank", F::mapped, "peft:r", "", 8},
      {"lora_alpha", F::mapped, "", "see alpha"},
      {"lora_dropout", F::mapped, "", "", nullptr,
       [](Draft& d, const Json& v) {
         is_off(v) ? d.remark(F::no_effect, "off there as well") : d.peft("lora_dropout", v);
       }},
      {"lora_target", F::mapped, "", "", "all", targets},
      {"additional_target", F::mapped, "peft:modules_to_save", "", nullptr,
       [](Draft& d, const Json& v) { d.peft("modules_to_save", names_of(v)); }},
      {"use_rslora", F::mapped, "peft:use_rslora"},
      {"use_dora", F::mapped, "", "", nullptr,
       [](Draft& d, const Json& v) {
         v == true ? d.peft("use_dora", v) : d.remark(F::no_effect, "off there as well");
       }},
      {"pissa_init", F::mapped, "", "", nullptr,
       [](Draft& d, const Json& v) {
         v == true ? d.peft("init_lora_weights", "pissa")
                   : d.remark(F::no_effect, "off there as well");
       }},
      {"pissa_iter", F::no_effect, "", "only with pissa_init"},
      {"pissa_convert", F::no_effect, "", "only with pissa_init"},
      {"loraplus_lr_ratio", F::lost, "", "A and B have the same learning rate"},
      {"loraplus_lr_embedding", F::no_effect, "", "only with loraplus_lr_ratio"},
      {"create_new_adapter", F::lost, "",
       "an adapter that is named is applied and stays as it is; the new one is trained on it"},
      {"quantization_bit", F::lost, "", kQuantised},
      {"quantization_*", F::no_effect, "", kQuantised},
      {"double_quantization", F::no_effect, "", kQuantised},
      {"freeze_*", F::lost, "", "belongs to another method, or to images"},
      {"oft_*", F::lost, "", "belongs to another method"},
      {"module_dropout", F::lost, "", "belongs to another method"},

      {"learning_rate", F::mapped, "learning_rate", "", 5e-5},
      {"num_train_epochs", F::mapped, "epochs", "", 3.0},
      {"max_steps", F::mapped, "max_steps", "", nullptr,
       [](Draft& d, const Json& v) {
         if (v.is_number() && v.get<double>() > 0) return d.set("max_steps", v);
         d.remark(F::no_effect, "off there as well");
       }},
      {"lr_scheduler_type", F::mapped, "schedule", "", "linear", schedule},
      {"lr_scheduler_kwargs", F::lost, "", "see final_ratio and decay_steps"},
      {"warmup_steps", F::mapped, "", "", nullptr,
       [](Draft& d, const Json& v) { steps(d, "warmup_steps", v); }},
      {"warmup_ratio", F::mapped, "", "", nullptr,
       [](Draft& d, const Json&) {
         d.leave();
         warmup_ratio(d, "warmup_ratio", d.number("warmup_ratio", 0));
       }},
      {"optim", F::mapped, "optimizer", "", "adamw_torch", optimizer},
      {"optim_args", F::lost, "", "arguments of another optimiser"},
      {"weight_decay", F::mapped, "weight_decay", "", 0.0},
      {"adam_beta1", F::mapped, "beta1"},
      {"adam_beta2", F::mapped, "beta2"},
      {"adam_epsilon", F::mapped, "epsilon"},
      {"max_grad_norm", F::mapped, "max_grad_norm", "", 1.0},
      {"seed", F::mapped, "seed", "", 42},
      {"data_seed", F::lost, "", "one seed decides everything"},
      {"neftune_noise_alpha", F::lost, "", "no noise on the embeddings"},
      {"label_smoothing_factor", F::lost, "", "the loss is plain cross-entropy"},
      {"per_device_train_batch_size", F::mapped, "", "see batch_tokens"},
      {"gradient_accumulation_steps", F::mapped, "", "see batch_tokens"},
      {"auto_find_batch_size", F::no_effect, "", "see micro_tokens"},
      {"eval_steps", F::mapped, "", "", nullptr,
       [](Draft& d, const Json& v) { steps(d, "eval_every", v); }},
      {"eval_strategy", F::no_effect, "", "see eval_every"},
      {"evaluation_strategy", F::no_effect, "", "see eval_every"},
      {"save_steps", F::mapped, "", "", 500,
       [](Draft& d, const Json& v) { steps(d, "save_every", v); }},
      {"save_strategy", F::no_effect, "", "see save_every"},
      {"save_total_limit", F::mapped, "save_total_limit", "", 0},
      {"early_stopping_steps", F::mapped, "early_stop"},

      {"pref_beta", F::mapped, "", kLossPart},
      {"pref_loss", F::mapped, "", kLossPart},
      {"pref_*", F::lost, "", "nothing is mixed into the loss"},
      {"dpo_*", F::lost, "", kPreference},
      {"kto_*", F::lost, "", kPreference},
      {"simpo_gamma", F::mapped, "", kLossPart},
      {"ppo_*", F::lost, "", kPreference},
      {"ref_model*", F::lost, "", kPreference},
      {"reward_model*", F::lost, "", kPreference},
      {"ld_alpha", F::lost, "", kPreference},
      {"use_galore", F::lost, "", "another optimiser"},
      {"galore_*", F::no_effect, "", "another optimiser"},
      {"use_apollo", F::lost, "", "another optimiser"},
      {"apollo_*", F::no_effect, "", "another optimiser"},
      {"use_badam", F::lost, "", "see the policies of smidgen list"},
      {"badam_*", F::no_effect, "", "see the policies of smidgen list"},
      {"use_adam_mini", F::lost, "", "another optimiser"},
      {"use_muon", F::lost, "", "another optimiser"},
      {"use_llama_pro", F::lost, "", "no blocks are added"},
      {"use_dft_loss", F::lost, "", "the loss is plain cross-entropy"},
      {"use_asft_loss", F::lost, "", "the loss is plain cross-entropy"},
      {"asft_alpha", F::no_effect, "", "only with use_asft_loss"},
      {"use_eaft_loss", F::lost, "", "the loss is plain cross-entropy"},
      {"eaft_alpha", F::no_effect, "", "only with use_eaft_loss"},
      {"rope_scaling", F::lost, "", "positions are those of the model's config.json"},
      {"shift_attn", F::lost, "", "attention is not shifted"},
      {"mixture_of_depths", F::lost, "", "every layer works on every token"},
      {"moe_aux_loss_coef", F::lost, "", "no loss on the routing"},
      {"resize_vocab", F::lost, "", "the vocabulary keeps its size"},
      {"add_tokens", F::lost, "", "no tokens are added"},
      {"add_special_tokens", F::lost, "", "no tokens are added"},
      {"new_special_tokens_config", F::lost, "", "no tokens are added"},
      {"image_*", F::lost, "", kImages},
      {"video_*", F::lost, "", kImages},
      {"audio_*", F::lost, "", kImages},
      {"media_dir", F::lost, "", kImages},
      {"crop_to_patches", F::lost, "", kImages},
      {"train_from_scratch", F::lost, "", "tuning begins with the model's weights"},

      {"do_train", F::no_effect, "", "the verb says what is done"},
      {"do_eval", F::no_effect, "", "held-out files are scored before and after"},
      {"do_predict", F::lost, "", "smidgen generate answers prompts; this recipe does not train"},
      {"predict_with_generate", F::no_effect, "", "a run answers held-out prompts: see samples"},
      {"per_device_eval_batch_size", F::no_effect, "", "the score does not depend on it"},
      {"eval_*", F::no_effect, "", "smidgen eval scores with loss and perplexity"},
      {"compute_accuracy", F::no_effect, "", "smidgen eval scores with loss and perplexity"},
      {"do_sample", F::no_effect, "", "about generation"},
      {"max_new_tokens", F::no_effect, "", "about generation: see sample_tokens"},
      {"temperature", F::no_effect, "", "about generation"},
      {"top_*", F::no_effect, "", "about generation"},
      {"load_best_model_at_end", F::no_effect, "", "the best checkpoint is kept"},
      {"metric_for_best_model", F::no_effect, "", "the held-out loss decides"},
      {"overwrite_*", F::no_effect, "", "a run folder that is there is never overwritten"},
      {"resume_from_checkpoint", F::no_effect, "", "smidgen tune --resume goes on with a run"},
      {"save_*", F::no_effect, "", "a run writes adapter, checkpoints and report"},
      {"ignore_data_skip", F::no_effect, "", "a resumed run goes on where it stopped"},
      {"ignore_pad_token_for_loss", F::no_effect, "", "nothing is padded"},
      {"logging_*", F::no_effect, "", "every step is logged"},
      {"plot_loss", F::no_effect, "", kReport},
      {"report_to", F::no_effect, "", kReport},
      {"run_name", F::no_effect, "", kReport},
      {"use_swanlab", F::no_effect, "", kReport},
      {"swanlab_*", F::no_effect, "", kReport},
      {"trackio_*", F::no_effect, "", kReport},
      {"include_*", F::no_effect, "", kReport},
      {"enable_torch_profiler", F::no_effect, "", kReport},
      {"profile*", F::no_effect, "", kReport},
      {"disable_tqdm", F::no_effect, "", kReport},
      {"print_param_status", F::no_effect, "", "smidgen tune --dry-run shows the plan"},
      {"preprocessing_*", F::no_effect, "", "how LLaMA-Factory prepares data"},
      {"streaming", F::no_effect, "", "how LLaMA-Factory reads data"},
      {"buffer_size", F::no_effect, "", "how LLaMA-Factory reads data"},
      {"data_shared_file_system", F::no_effect, "", "how LLaMA-Factory reads data"},
      {"dataloader_*", F::no_effect, "", "how LLaMA-Factory reads data"},
      {"remove_unused_columns", F::no_effect, "", "an unknown column is an error here"},
      {"group_by_length", F::no_effect, "", "samples are packed, nothing is padded"},
      {"trust_remote_code", F::no_effect, "", "no code of a model is run"},
      {"model_revision", F::no_effect, "", kHub},
      {"cache_dir", F::no_effect, "", kHub},
      {"hf_hub_token", F::no_effect, "", kHub},
      {"ms_hub_token", F::no_effect, "", kHub},
      {"om_hub_token", F::no_effect, "", kHub},
      {"push_to_hub", F::no_effect, "", kHub},
      {"hub_*", F::no_effect, "", kHub},
      {"use_fast_tokenizer", F::no_effect, "", "the tokenizer is read from tokenizer.json"},
      {"split_special_tokens", F::lost, "", "special tokens in the data stay whole"},
      {"bf16", F::no_effect, "", "dtype auto multiplies in bf16 where the machine does"},
      {"pure_bf16", F::no_effect, "", "what is trained is fp32"},
      {"fp16", F::no_effect, "", "there is no fp16 arithmetic; see dtype"},
      {"fp8*", F::no_effect, "", "dtype chooses between fp32 and bf16"},
      {"tf32", F::no_effect, "", kHardware},
      {"upcast_*", F::no_effect, "", "norms and the loss are fp32"},
      {"infer_dtype", F::no_effect, "", "see dtype"},
      {"gradient_checkpointing*", F::no_effect, "", kMemory},
      {"disable_gradient_checkpointing", F::no_effect, "", kMemory},
      {"use_reentrant_gc", F::no_effect, "", kMemory},
      {"use_unsloth*", F::no_effect, "", kHardware},
      {"enable_liger_kernel", F::no_effect, "", kHardware},
      {"flash_attn", F::no_effect, "", kHardware},
      {"use_v1_kernels", F::no_effect, "", kHardware},
      {"use_kv_cache", F::no_effect, "", "about generation"},
      {"use_kt", F::no_effect, "", kHardware},
      {"kt_*", F::no_effect, "", kHardware},
      {"use_mca", F::no_effect, "", kHardware},
      {"use_hyper_parallel", F::no_effect, "", kHardware},
      {"hyper_parallel_args", F::no_effect, "", kHardware},
      {"infer_backend", F::no_effect, "", "about generation"},
      {"vllm_*", F::no_effect, "", "about generation"},
      {"sglang_*", F::no_effect, "", "about generation"},
      {"offload_folder", F::no_effect, "", kHardware},
      {"low_cpu_mem_usage", F::no_effect, "", "weights are mapped from the file"},
      {"device_map", F::no_effect, "", kHardware},
      {"deepspeed", F::no_effect, "", kHardware},
      {"fsdp*", F::no_effect, "", kHardware},
      {"ddp_*", F::no_effect, "", kHardware},
      {"ray_*", F::no_effect, "", kHardware},
      {"master_*", F::no_effect, "", kHardware},
      {"torch_compile*", F::no_effect, "", kHardware},
      {"local_rank", F::no_effect, "", kHardware},
      {"export_*", F::no_effect, "", "smidgen export writes the merged model"},
  };
  return rules;
}

class LlamaFactory : public Importer {
 public:
  std::string summary() const override { return "LLaMA-Factory 0.9"; }
  const std::vector<ImportRule>& rules() const override { return table(); }
  bool recognises(const Json& theirs) const override {
    return theirs.contains("model_name_or_path") &&
           (theirs.contains("finetuning_type") || theirs.contains("stage") ||
            theirs.contains("template"));
  }

  void finish(Draft& draft) const override {
    const double rank = draft.number("lora_rank", 8);
    if (draft.value("lora_alpha").is_null()) {
      draft.set_from("lora_alpha", "peft:lora_alpha", static_cast<int64_t>(2 * rank),
                     "a missing lora_alpha is twice lora_rank there");
    } else {
      draft.set_from("lora_alpha", "peft:lora_alpha", draft.value("lora_alpha"));
    }
    if (const std::string stage = draft.text("stage"); stage == "dpo" || stage == "kto") {
      const std::string loss = draft.text("pref_loss");
      const std::string name = stage == "kto" ? stage : loss.empty() ? "sigmoid" : loss;
      preference(draft, "stage", name, draft.number("pref_beta", 0.1));
      if (name == "simpo")
        draft.set_from("simpo_gamma", "loss.gamma", draft.number("simpo_gamma", 0.5));
    }
    batch(draft, {"per_device_train_batch_size x gradient_accumulation_steps",
                  std::max(1.0, draft.number("per_device_train_batch_size", 8)),
                  draft.number("gradient_accumulation_steps", 1), draft.number("cutoff_len", 2048),
                  draft.is_true("packing") || draft.is_true("neat_packing") ||
                      (draft.text("stage") == "pt" && draft.value("packing").is_null())});
  }
};

}  // namespace

std::unique_ptr<const Importer> make_llamafactory_importer() {
  return std::make_unique<LlamaFactory>();
}

}  // namespace smidgen
