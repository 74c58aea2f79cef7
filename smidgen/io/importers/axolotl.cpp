// axolotl's YAML. Keys, defaults and their meaning: axolotl 0.19.0, src/axolotl/utils/schemas, and
// for what it hands on transformers' TrainingArguments.
#include <algorithm>

#include "smidgen/base/fs.h"
#include "smidgen/io/importers/registry.h"
#include "smidgen/io/importers/shared.h"

namespace smidgen {
namespace {

using namespace importing;
using F = Fate;

// What a data set's rows must become, by its `type`.
std::string row_words(const Json& set) {
  const Json type = set.value("type", Json());
  const std::string name = type.is_string() ? type.get<std::string>() : "";
  if (type.is_object())
    return "its rows go through a format of the recipe's own: write them as {\"prompt\", "
           "\"completion\"}";
  if (name == "sharegpt") return "";
  if (name.starts_with("chat_template")) {
    const Json field = set.value("field_messages", Json("messages"));
    const Json map = set.value("message_property_mappings", Json::object());
    const Json role = map.value("role", Json("role")),
               content = map.value("content", Json("content"));
    const bool ours = field == "messages" && role == "role" && content == "content";
    const bool shared = field == "conversations" && role == "from" && content == "value";
    if (ours || shared) return "";
    return str("its rows become {\"messages\": [{\"role\", \"content\"}]}: the turns are in ",
               field.dump(), ", the role in ", role.dump(), ", the words in ", content.dump());
  }
  if (name.starts_with("alpaca"))
    return "its rows are read as they are, without the frame \"### Instruction:\" that axolotl "
           "writes";
  if (name == "completion") return "its rows become {\"text\": ...}";
  if (name == "input_output")
    return "its segments with label true are what is learned: write {\"prompt\", \"completion\"}";
  return str("its type ", type.dump(),
             " has no reader here: write {\"messages\": [...]}, {\"prompt\", \"completion\"} or "
             "{\"text\"}");
}

void data_sets(Draft& draft, const Json& value, const std::string& ours) {
  if (!value.is_array()) return draft.remark(F::lost, "a list of data sets is expected");
  Json files = Json::array();
  std::string words;
  for (const Json& set : value) {
    if (!set.is_object() || !set.value("path", Json()).is_string()) {
      words += "an entry without a path; ";
      continue;
    }
    std::string path = set["path"].get<std::string>();
    const Json inner = set.value("data_files", Json());
    if (inner.is_string()) path = inner.get<std::string>();
    files.push_back(path);
    if (inner.is_array()) {
      files.erase(files.size() - 1);
      for (const Json& file : inner) files.push_back(file);
    }
    std::string row = row_words(set);
    if (!path_exists(path))
      words += str(path, " is not a file on this machine: save it as JSON lines; ");
    if (!row.empty()) words += str(path, ": ", row, "; ");
    for (const char* cut : {"split", "name", "shards", "roles_to_train", "train_on_eos",
                            "train_on_eot", "roles", "drop_system_message", "field_thinking"}) {
      if (const Json given = set.value(cut, Json()); !is_off(given) && given != "train")
        words += str(path, ": '", cut, "' is not read; ");
    }
  }
  if (!words.empty()) words.resize(words.size() - 2);
  if (files.empty()) return draft.remark(F::lost, words.empty() ? "no data set" : words);
  draft.set(ours, std::move(files), words);
}

void adapter(Draft& draft, const Json& value) {
  draft.set("method.name", "lora");
  if (value == "qlora") draft.remark(F::lost, kQuantised);
  if (value != "lora" && value != "qlora")
    draft.remark(F::lost,
                 str("the adapter ", value.dump(), " is not LoRA; what follows is LoRA's"));
}

const std::vector<ImportRule>& table() {
  static const std::vector<ImportRule> rules = {
      {"base_model", F::mapped, "model", "", nullptr, model},
      {"lora_model_dir", F::mapped, "adapter", "", nullptr,
       [](Draft& d, const Json& v) { d.set("adapter", Json::array({v})); }},
      {"output_dir", F::mapped, "out", "", "./model-out"},
      {"datasets", F::mapped, "data", "", nullptr,
       [](Draft& d, const Json& v) { data_sets(d, v, "data"); }},
      {"test_datasets", F::mapped, "eval_data", "", nullptr,
       [](Draft& d, const Json& v) { data_sets(d, v, "eval_data"); }},
      {"pretraining_dataset", F::lost, "",
       "a stream of texts: save it as JSON lines with \"text\" and name the file in data"},
      {"val_set_size", F::lost, "",
       "no share is split off: put the held-out rows into a file of their own and name it in "
       "eval_data"},
      {"shuffle_merged_datasets", F::mapped, "shuffle"},

      {"adapter", F::mapped, "method.name", "", nullptr, adapter},
      {"lora_r", F::mapped, "peft:r"},
      {"lora_alpha", F::mapped, "peft:lora_alpha"},
      {"lora_dropout", F::mapped, "peft:lora_dropout", "", nullptr,
       [](Draft& d, const Json& v) {
         is_off(v) ? d.remark(F::no_effect, "off there as well") : d.peft("lora_dropout", v);
       }},
      {"lora_target_linear", F::mapped, "", "", nullptr,
       [](Draft& d, const Json& v) {
         if (v == true) return d.peft("target_modules", "all-linear");
         d.remark(F::no_effect, "off there as well");
       }},
      {"lora_target_modules", F::mapped, "", "", nullptr,
       [](Draft& d, const Json& v) {
         if (d.is_true("lora_target_linear"))
           return d.remark(F::changed, "all-linear covers the linear modules among them");
         targets(d, v);
       }},
      {"lora_target_parameters", F::lost, "", "experts that are one big tensor are left alone"},
      {"lora_modules_to_save", F::mapped, "peft:modules_to_save"},
      {"lora_rank_pattern", F::mapped, "peft:rank_pattern"},
      {"lora_alpha_pattern", F::mapped, "peft:alpha_pattern"},
      {"lora_fan_in_fan_out", F::no_effect, "",
       "the layout of the weights is known from the model"},
      {"lora_on_cpu", F::no_effect, "", kHardware},
      {"peft_use_rslora", F::mapped, "peft:use_rslora"},
      {"peft_use_dora", F::mapped, "", "", nullptr,
       [](Draft& d, const Json& v) {
         v == true ? d.peft("use_dora", v) : d.remark(F::no_effect, "off there as well");
       }},
      {"peft_init_lora_weights", F::mapped, "peft:init_lora_weights"},
      {"peft_layers_to_transform", F::mapped, "peft:layers_to_transform"},
      {"peft_layers_pattern", F::mapped, "peft:layers_pattern"},
      {"peft_trainable_token_indices", F::mapped, "peft:trainable_token_indices"},
      {"peft_ensure_weight_tying", F::mapped, "peft:ensure_weight_tying"},
      {"peft_layer_replication", F::lost, "", "layers are not repeated: another model"},
      {"peft_autocast_adapter_dtype", F::no_effect, "", "what is trained is fp32"},
      {"peft", F::lost, "", "LoftQ's start values are not made"},
      {"loraplus_lr_ratio", F::lost, "", "A and B have the same learning rate"},
      {"loraplus_lr_embedding", F::no_effect, "", "only with loraplus_lr_ratio"},
      {"load_in_4bit", F::lost, "", kQuantised},
      {"load_in_8bit", F::lost, "", kQuantised},
      {"gptq*", F::lost, "", kQuantised},
      {"bnb_config_kwargs", F::no_effect, "", kQuantised},
      {"model_quantization_config*", F::lost, "", kQuantised},
      {"qat", F::lost, "", "the base is not quantised while it is tuned"},
      {"quantization", F::no_effect, "", "after training; smidgen export writes quantised GGUF"},

      {"sequence_len", F::mapped, "max_length", "", 512},
      {"excess_length_strategy", F::mapped, "too_long", "", "drop",
       [](Draft& d, const Json& v) {
         d.set("too_long", v == "truncate" ? "truncate" : v == "raise" ? "error" : "skip");
       }},
      {"sample_packing", F::mapped, "",
       "batches are always packed here, and samples do not see each other; see batch_tokens"},
      {"micro_batch_size", F::mapped, "", "see batch_tokens"},
      {"gradient_accumulation_steps", F::mapped, "", "see batch_tokens"},
      {"batch_size", F::mapped, "", "see batch_tokens"},
      {"train_on_inputs", F::lost, "",
       "loss is taken on answers only: for loss on all, write the rows as {\"text\": ...}"},
      {"chat_template", F::mapped, "", "", nullptr,
       [](Draft& d, const Json& v) {
         if (v == "tokenizer_default") return d.set("chat_template", "auto");
         d.remark(F::lost, str("the model's own template is used, not ", v.dump(),
                               ": put that one into the model's chat_template.jinja"));
       }},
      {"chat_template_jinja", F::lost, "",
       "the model's own template is used: put this one into the model's chat_template.jinja"},
      {"chat_template_kwargs", F::lost, "", "not handed to the template"},
      {"default_system_message", F::lost, "", "no message is added: write it into the rows"},
      {"special_tokens", F::lost, "",
       "the tokenizer is used as it is; a padding token is never needed"},
      {"tokens", F::lost, "", "no tokens are added"},
      {"added_tokens_overrides", F::lost, "", "no tokens are changed"},
      {"eot_tokens", F::lost, "", "what ends a turn is what the template writes"},
      {"resize_token_embeddings_to_32x", F::lost, "", "the vocabulary keeps its size"},

      {"num_epochs", F::mapped, "epochs", "", 1},
      {"max_steps", F::mapped, "max_steps"},
      {"learning_rate", F::mapped, "learning_rate"},
      {"lr_scheduler", F::mapped, "schedule", "", "cosine", schedule},
      {"cosine_min_lr_ratio", F::mapped, "final_ratio"},
      {"cosine_constant_lr_ratio", F::lost, "", "the rate falls to the end"},
      {"warmup_steps", F::mapped, "", "", nullptr,
       [](Draft& d, const Json& v) { steps(d, "warmup_steps", v); }},
      {"warmup_ratio", F::mapped, "", "", nullptr,
       [](Draft& d, const Json&) {
         d.leave();
         warmup_ratio(d, "warmup_ratio", d.number("warmup_ratio", 0));
       }},
      {"optimizer", F::mapped, "optimizer", "", "adamw_torch_fused", optimizer},
      {"optim_args", F::lost, "", "arguments of another optimiser"},
      {"weight_decay", F::mapped, "weight_decay", "", 0.0},
      {"adam_beta1", F::mapped, "beta1"},
      {"adam_beta2", F::mapped, "beta2"},
      {"adam_epsilon", F::mapped, "epsilon"},
      {"adam_eps", F::mapped, "epsilon"},
      {"max_grad_norm", F::mapped, "max_grad_norm", "", 1.0},
      {"embedding_lr*", F::lost, "", "one learning rate for all"},
      {"lr_groups", F::lost, "", "one learning rate for all"},
      {"neftune_noise_alpha", F::lost, "", "no noise on the embeddings"},
      {"seed", F::mapped, "seed", "", 42},

      {"eval_steps", F::mapped, "", "", nullptr,
       [](Draft& d, const Json& v) { steps(d, "eval_every", v); }},
      {"save_steps", F::mapped, "", "", nullptr,
       [](Draft& d, const Json& v) { steps(d, "save_every", v); }},
      {"evals_per_epoch", F::lost, "",
       "eval_every takes steps: smidgen tune --dry-run says how many an epoch has"},
      {"saves_per_epoch", F::lost, "",
       "save_every takes steps: smidgen tune --dry-run says how many an epoch has"},
      {"save_total_limit", F::mapped, "save_total_limit"},
      {"early_stopping_patience", F::mapped, "early_stop"},
      {"loss_watchdog_threshold", F::changed, "",
       "the watchdog here compares with the last 50 losses: see watchdog"},
      {"loss_watchdog_patience", F::no_effect, "", "see watchdog"},
      {"resume_from_checkpoint", F::no_effect, "", "smidgen tune --resume goes on with a run"},
      {"auto_resume_from_checkpoints", F::no_effect, "",
       "smidgen tune --resume goes on with a run"},

      {"rl", F::mapped, "", "", nullptr, [](Draft& d, const Json&) { d.leave(); }},
      {"rl_beta", F::mapped, "", kLossPart},
      {"dpo_*", F::lost, "", kPreference},
      {"orpo_alpha", F::mapped, "", kLossPart},
      {"simpo_gamma", F::mapped, "", kLossPart},
      {"cpo_alpha", F::mapped, "", kLossPart},
      {"kto_*", F::lost, "", kPreference},
      {"trl", F::lost, "", kPreference},
      {"ebft", F::lost, "", kPreference},
      {"reward_model", F::lost, "", kPreference},
      {"process_reward_model", F::lost, "", kPreference},
      {"kd_*", F::lost, "", "no teacher is asked"},
      {"relora*", F::lost, "", "the adapter is not merged and begun anew in between"},
      {"jagged_restart*", F::lost, "", "the learning rate does not restart"},
      {"lisa_*", F::lost, "", "see the policies of smidgen list"},
      {"unfrozen_parameters", F::lost, "", "only the adapter is trained"},
      {"freeze_mm_modules", F::lost, "", kImages},
      {"processor_*", F::lost, "", kImages},
      {"image_*", F::lost, "", kImages},
      {"diffusion", F::lost, "", "diffusion is not trained"},
      {"curriculum_sampling", F::lost, "", "the order is shuffled, or that of the file"},
      {"llama4_linearized_experts", F::lost, "", "the model's experts keep their layout"},
      {"model_config", F::lost, "", "the model's config.json is taken as it is"},
      {"overrides_of_model_config", F::lost, "", "the model's config.json is taken as it is"},
      {"lr_quadratic_warmup", F::lost, "", "the warm-up is linear"},
      {"group_by_length", F::no_effect, "", "samples are packed, nothing is padded"},
      {"remove_unused_columns", F::no_effect, "", "an unknown column is an error here"},
      {"dataset_exact_deduplication", F::lost, "", "rows are taken as they are"},
      {"min_sample_len", F::lost, "", "short rows are kept"},
      {"quantize_moe_experts", F::lost, "", kQuantised},
      {"nvfp4_*", F::no_effect, "", kHardware},
      {"fp8*", F::no_effect, "", "dtype chooses between fp32 and bf16"},

      {"bf16", F::no_effect, "", "dtype auto multiplies in bf16 where the machine does"},
      {"bfloat16", F::no_effect, "", "dtype auto multiplies in bf16 where the machine does"},
      {"fp16", F::no_effect, "", "there is no fp16 arithmetic; see dtype"},
      {"float16", F::no_effect, "", "there is no fp16 arithmetic; see dtype"},
      {"float32", F::no_effect, "", "see dtype"},
      {"torch_dtype", F::no_effect, "", "see dtype"},
      {"tf32", F::no_effect, "", kHardware},
      {"gradient_checkpointing*", F::no_effect, "", kMemory},
      {"selective_checkpointing", F::no_effect, "", kMemory},
      {"activation_offloading", F::no_effect, "", kMemory},
      {"layer_offloading", F::no_effect, "", kMemory},
      {"chunked_cross_entropy*", F::no_effect, "", kMemory},
      {"cut_cross_entropy", F::no_effect, "", kMemory},
      {"tiled_mlp*", F::no_effect, "", kMemory},
      {"low_cpu_mem_usage", F::no_effect, "", "weights are mapped from the file"},
      {"pad_to_*", F::no_effect, "", "nothing is padded"},
      {"sample_packing_*", F::no_effect, "", "how axolotl packs"},
      {"eval_sample_packing", F::no_effect, "", "batches are always packed here"},
      {"multipack_real_batches", F::no_effect, "", "how axolotl packs"},
      {"max_packed_sequence_len", F::no_effect, "", "axolotl dropped it"},
      {"eval_batch_size", F::no_effect, "", "the score does not depend on it"},
      {"type_of_model", F::no_effect, "", "the family is read from config.json"},
      {"model_type", F::no_effect, "", "the family is read from config.json"},
      {"is_falcon_derived_model", F::no_effect, "", "the family is read from config.json"},
      {"is_llama_derived_model", F::no_effect, "", "the family is read from config.json"},
      {"is_mistral_derived_model", F::no_effect, "", "the family is read from config.json"},
      {"is_qwen_derived_model", F::no_effect, "", "the family is read from config.json"},
      {"tokenizer_*", F::no_effect, "", "the tokenizer is read from tokenizer.json"},
      {"trust_remote_code", F::no_effect, "", "no code of a model is run"},
      {"revision_of_model", F::no_effect, "", kHub},
      {"hub_*", F::no_effect, "", kHub},
      {"hf_use_auth_token", F::no_effect, "", kHub},
      {"push_dataset_to_hub", F::no_effect, "", kHub},
      {"dataset_*", F::no_effect, "", "how axolotl prepares data"},
      {"dataloader_*", F::no_effect, "", "how axolotl reads data"},
      {"skip_prepare_dataset", F::no_effect, "", "how axolotl prepares data"},
      {"streaming*", F::no_effect, "", "how axolotl reads data"},
      {"save_*", F::no_effect, "", "a run writes adapter, checkpoints and report"},
      {"eval_*", F::no_effect, "", "smidgen eval scores with loss and perplexity"},
      {"do_causal_lm_eval", F::no_effect, "", "smidgen eval scores with loss and perplexity"},
      {"do_bench_eval", F::no_effect, "", "smidgen eval scores with loss and perplexity"},
      {"load_best_model_at_end", F::no_effect, "", "the best checkpoint is kept"},
      {"metric_for_best_model", F::no_effect, "", "the held-out loss decides"},
      {"logging_steps", F::no_effect, "", "every step is logged"},
      {"wandb_*", F::no_effect, "", kReport},
      {"use_wandb", F::no_effect, "", kReport},
      {"mlflow_*", F::no_effect, "", kReport},
      {"use_mlflow", F::no_effect, "", kReport},
      {"comet_*", F::no_effect, "", kReport},
      {"use_comet", F::no_effect, "", kReport},
      {"swanlab_*", F::no_effect, "", kReport},
      {"use_swanlab", F::no_effect, "", kReport},
      {"trackio_*", F::no_effect, "", kReport},
      {"use_trackio", F::no_effect, "", kReport},
      {"use_tensorboard", F::no_effect, "", kReport},
      {"otel_*", F::no_effect, "", kReport},
      {"use_otel_metrics", F::no_effect, "", kReport},
      {"include_t*", F::no_effect, "", kReport},
      {"profiler_*", F::no_effect, "", kReport},
      {"generat*", F::no_effect, "",
       "a run answers held-out prompts before and after: see samples"},
      {"num_generation_samples", F::no_effect, "", "see samples"},
      {"debug", F::no_effect, "", kReport},
      {"strict", F::no_effect, "", "unknown keys are always named"},
      {"plugins", F::no_effect, "",
       "parts of axolotl that are loaded; their own keys are looked at one by one"},
      {"attn_implementation", F::no_effect, "", kHardware},
      {"flash_*", F::no_effect, "", kHardware},
      {"xformers_attention", F::no_effect, "", kHardware},
      {"sdp_attention", F::no_effect, "", kHardware},
      {"flex_att*", F::no_effect, "", kHardware},
      {"eager_attention", F::no_effect, "", kHardware},
      {"sage_attention", F::no_effect, "", kHardware},
      {"s2_attention", F::lost, "", "attention is not shifted"},
      {"fused_attn_kernel", F::no_effect, "", kHardware},
      {"gemma4_*", F::no_effect, "", kHardware},
      {"experts_implementation", F::no_effect, "", kHardware},
      {"expert_*", F::no_effect, "", kHardware},
      {"ple_cpu_offload", F::no_effect, "", kHardware},
      {"lora_mlp_kernel", F::no_effect, "", kHardware},
      {"lora_qkv_kernel", F::no_effect, "", kHardware},
      {"lora_o_kernel", F::no_effect, "", kHardware},
      {"lora_embedding_kernel", F::no_effect, "", kHardware},
      {"liger_*", F::no_effect, "", kHardware},
      {"use_kernels", F::no_effect, "", kHardware},
      {"use_scattermoe", F::no_effect, "", kHardware},
      {"use_sonicmoe", F::no_effect, "", kHardware},
      {"use_dsv4_kernels", F::no_effect, "", kHardware},
      {"use_glm_dsa_kernels", F::no_effect, "", kHardware},
      {"dsv4_*", F::no_effect, "", kHardware},
      {"torch_compile*", F::no_effect, "", kHardware},
      {"torchdistx_path", F::no_effect, "", kHardware},
      {"deepspeed", F::no_effect, "", kHardware},
      {"deepcompile", F::no_effect, "", kHardware},
      {"fsdp*", F::no_effect, "", kHardware},
      {"ddp*", F::no_effect, "", kHardware},
      {"dp_*", F::no_effect, "", kHardware},
      {"context_para*", F::no_effect, "", kHardware},
      {"sequence_parallel_degree", F::no_effect, "", kHardware},
      {"tensor_parallel_size", F::no_effect, "", kHardware},
      {"ring_attn_func", F::no_effect, "", kHardware},
      {"heads_k_stride", F::no_effect, "", kHardware},
      {"use_ray", F::no_effect, "", kHardware},
      {"ray_*", F::no_effect, "", kHardware},
      {"vllm", F::no_effect, "", kHardware},
      {"device*", F::no_effect, "", kHardware},
      {"local_rank", F::no_effect, "", kHardware},
      {"world_size", F::no_effect, "", kHardware},
      {"max_memory", F::no_effect, "", kHardware},
      {"gpu_memory_limit", F::no_effect, "", kHardware},
      {"gc_*", F::no_effect, "", kHardware},
      {"accelerator_config", F::no_effect, "", kHardware},
      {"experimental_skip_move_to_device", F::no_effect, "", kHardware},
  };
  return rules;
}

class Axolotl : public Importer {
 public:
  std::string summary() const override { return "axolotl 0.19"; }
  const std::vector<ImportRule>& rules() const override { return table(); }
  bool recognises(const Json& theirs) const override {
    return theirs.contains("base_model") && !theirs.contains("model_name_or_path");
  }

  void finish(Draft& draft) const override {
    if (draft.value("adapter").is_null())
      draft.remark_on("adapter", Fate::lost,
                      "no adapter is named: the recipe trains all weights, what follows is LoRA's");
    const double accumulate = draft.number("gradient_accumulation_steps", 1);
    const double micro = std::max(1.0, draft.number("micro_batch_size", 1));
    std::string from = "micro_batch_size x gradient_accumulation_steps";
    if (draft.value("gradient_accumulation_steps").is_null() &&
        !draft.value("batch_size").is_null()) {
      from = "batch_size";
      batch(draft, {from, micro, draft.number("batch_size", 1) / micro,
                    draft.number("sequence_len", 512), draft.is_true("sample_packing")});
    } else {
      batch(draft, {from, micro, accumulate, draft.number("sequence_len", 512),
                    draft.is_true("sample_packing")});
    }
    if (const std::string rl = draft.text("rl"); !rl.empty()) {
      const double beta = draft.number("rl_beta", 0.1);
      preference(draft, "rl", rl, rl == "orpo" ? draft.number("orpo_alpha", beta) : beta);
      if (rl == "simpo") {
        draft.set_from("simpo_gamma", "loss.gamma", draft.number("simpo_gamma", 0.5));
        draft.set_from("cpo_alpha", "loss.nll_weight", draft.number("cpo_alpha", 1));
      }
    }
    if (draft.value("warmup_steps").is_null() && draft.value("warmup_ratio").is_null())
      warmup_ratio(draft, "warmup_ratio", 0.03);
  }
};

}  // namespace

std::unique_ptr<const Importer> make_axolotl_importer() {
  return std::make_unique<Axolotl>();
}

}  // namespace smidgen
