// torchtune's YAML. Keys, defaults and their meaning: torchtune 0.6.1, recipes/lora_finetune_*.py
// and the builders that
// `_component_` names.
#include <algorithm>

#include "smidgen/io/importers/registry.h"
#include "smidgen/io/importers/shared.h"

namespace smidgen {
namespace {

using namespace importing;
using F = Fate;

// ${output_dir} and the like, as OmegaConf fills them in.
std::string filled(const Draft& draft, std::string text) {
  for (int turn = 0; turn < 16; ++turn) {
    const size_t begin = text.find("${");
    const size_t end = text.find('}', begin);
    if (begin == std::string::npos || end == std::string::npos) break;
    const std::string inner = draft.text(text.substr(begin + 2, end - begin - 2));
    if (inner.empty() || inner.find("${") != std::string::npos) break;
    text = text.substr(0, begin) + inner + text.substr(end + 1);
  }
  return text;
}

void path(Draft& draft, const std::string& ours, const Json& value) {
  if (!value.is_string()) return draft.remark(F::lost, "a path is expected");
  const Json text = filled(draft, value.get<std::string>());
  ours == "model" ? model(draft, text) : draft.set(ours, text);
}

bool ends_with_name(const std::string& component, const char* name) {
  return component.find(name) != std::string::npos;
}

void data_set(Draft& draft, const Json& value) {
  const std::string component = value.is_string() ? value.get<std::string>() : value.dump();
  const std::string source = draft.text("dataset.source"), files = draft.text("dataset.data_files");
  std::string row =
      "its rows become {\"messages\": [...]}, {\"prompt\", \"completion\"} or {\"text\"}";
  if (ends_with_name(component, "alpaca"))
    row =
        "its rows are read as they are, without the frame \"### Instruction:\" that torchtune "
        "writes";
  if (ends_with_name(component, "preference") || ends_with_name(component, "paired"))
    row = "its rows become {\"prompt\", \"chosen\", \"rejected\"}";
  if (ends_with_name(component, "multimodal")) row = kImages;
  if (ends_with_name(component, "text_completion")) row = "its rows become {\"text\": ...}";
  const std::string known = ends_with_name(component, "alpaca_cleaned") ? "yahma/alpaca-cleaned"
                            : ends_with_name(component, "alpaca")       ? "tatsu-lab/alpaca"
                                                                        : component;
  const std::string name = !files.empty()                        ? files
                           : !source.empty() && source != "json" ? source
                                                                 : known;
  draft.set("data", Json::array({name}),
            str("save ", name, " as JSON lines and name the file: ", row));
}

const std::vector<ImportRule>& table() {
  static const std::vector<ImportRule> rules = {
      {"checkpointer.checkpoint_dir", F::mapped, "model", "", nullptr,
       [](Draft& d, const Json& v) { path(d, "model", v); }},
      {"checkpointer.adapter_checkpoint", F::no_effect, "",
       "smidgen tune --resume goes on with a run"},
      {"checkpointer.*", F::no_effect, "",
       "weights and their names are read from the model's folder"},
      {"output_dir", F::mapped, "out", "", nullptr,
       [](Draft& d, const Json& v) { path(d, "out", v); }},
      {"dataset._component_", F::mapped, "data", "", nullptr, data_set},
      {"dataset.source", F::mapped, "", "see data"},
      {"dataset.data_files", F::mapped, "", "see data"},
      {"dataset.packed", F::mapped, "",
       "batches are always packed here, and samples do not see each other; see batch_tokens"},
      {"dataset.train_on_input", F::lost, "",
       "loss is taken on answers only: for loss on all, write the rows as {\"text\": ...}"},
      {"dataset.*", F::lost, "",
       "how rows are read is not settable: rows become what smidgen data names"},
      {"datasets", F::lost, "", "several data sets: name one file for each in data"},
      {"dataset_val*", F::lost, "", "name a file with held-out rows in eval_data"},
      {"run_val_every_n_steps", F::mapped, "", "", nullptr,
       [](Draft& d, const Json& v) { steps(d, "eval_every", v); }},
      {"dataloader.shuffle", F::mapped, "shuffle"},
      {"dataloader.*", F::no_effect, "", "how torchtune reads data"},
      {"shuffle", F::mapped, "shuffle"},
      {"collate_fn", F::no_effect, "", "samples are packed, nothing is padded"},

      {"model._component_", F::mapped, "method.name", "", nullptr,
       [](Draft& d, const Json& v) {
         d.set("method.name", "lora");
         const std::string name = v.is_string() ? v.get<std::string>() : "";
         if (name.find("qlora") != std::string::npos) d.remark(F::lost, kQuantised);
         if (name.find("lora") == std::string::npos)
           d.remark(F::lost, str(name, " trains all weights; what follows is LoRA's"));
         if (name.find("vision") != std::string::npos) d.remark(F::lost, kImages);
       }},
      {"model.lora_rank", F::mapped, "peft:r", "", 8},
      {"model.lora_alpha", F::mapped, "peft:lora_alpha", "", 16},
      {"model.lora_dropout", F::mapped, "", "", nullptr,
       [](Draft& d, const Json& v) {
         is_off(v) ? d.remark(F::no_effect, "off there as well") : d.peft("lora_dropout", v);
       }},
      {"model.lora_attn_modules", F::mapped, "", "see target"},
      {"model.apply_lora_to_mlp", F::mapped, "", "see target"},
      {"model.apply_lora_to_output", F::mapped, "", "see target"},
      {"model.use_dora", F::mapped, "", "", nullptr,
       [](Draft& d, const Json& v) {
         v == true ? d.peft("use_dora", v) : d.remark(F::no_effect, "off there as well");
       }},
      {"model.quantize_base", F::lost, "", kQuantised},
      {"model.decoder_trainable", F::lost, "", kImages},
      {"model.encoder_trainable", F::lost, "", kImages},
      {"model.fusion_trainable", F::lost, "", kImages},
      {"model.image_size", F::lost, "", kImages},
      {"tokenizer.max_seq_len", F::mapped, "max_length", "", nullptr,
       [](Draft& d, const Json& v) {
         d.set("max_length", v);
         d.set_from("tokenizer.max_seq_len", "too_long", "truncate",
                    "longer samples are cut there");
       }},
      {"tokenizer.image_size", F::lost, "", kImages},
      {"tokenizer.prompt_template", F::lost, "", "the model's own chat template is used"},
      {"tokenizer.*", F::no_effect, "", "the tokenizer is read from the model's folder"},

      {"optimizer._component_", F::mapped, "optimizer", "", "torch.optim.AdamW", optimizer},
      {"optimizer.lr", F::mapped, "learning_rate", "", 1e-3},
      {"optimizer.weight_decay", F::mapped, "weight_decay", "", 0.01},
      {"optimizer.eps", F::mapped, "epsilon"},
      {"optimizer.betas", F::mapped, "", "", nullptr,
       [](Draft& d, const Json& v) {
         if (!v.is_array() || v.size() != 2) return d.remark(F::lost, "two numbers are expected");
         d.set("beta1", v[0]);
         d.set("beta2", v[1]);
       }},
      {"optimizer.momentum", F::mapped, "momentum"},
      {"optimizer.fused", F::no_effect, "", kHardware},
      {"optimizer_in_bwd", F::no_effect, "", kMemory},
      {"lr_scheduler._component_", F::mapped, "", "", "constant",
       [](Draft& d, const Json& v) {
         const std::string name = v.is_string() ? v.get<std::string>() : "";
         if (name == "constant") return d.set("schedule", "constant");
         if (name.find("cosine") != std::string::npos) return d.set("schedule", "cosine");
         d.set("schedule", "cosine", str("'", name, "' does not exist here"));
       }},
      {"lr_scheduler.num_warmup_steps", F::mapped, "", "", nullptr,
       [](Draft& d, const Json& v) { steps(d, "warmup_steps", v); }},
      {"lr_scheduler.num_cycles", F::lost, "", "the rate falls once"},
      {"loss._component_", F::mapped, "", "", nullptr,
       [](Draft& d, const Json& v) {
         const std::string name = v.is_string() ? v.get<std::string>() : "";
         const bool plain =
             name.find("CE") != std::string::npos || name.find("CrossEntropy") != std::string::npos;
         name.find("DPOLoss") != std::string::npos ? d.leave()
         : plain                                   ? d.remark(F::mapped, "cross-entropy, as here")
                                                   : d.remark(F::lost, kPreference);
       }},
      {"loss.beta", F::mapped, "", kLossPart},
      {"loss.label_smoothing", F::lost, "", "no label smoothing of the loss"},
      {"loss.*", F::lost, "", "the loss has no such part"},
      {"teacher_*", F::lost, "", "no teacher is asked"},
      {"kd_*", F::lost, "", "no teacher is asked"},
      {"quantizer*", F::lost, "", "the base is not quantised while it is tuned"},
      {"epochs", F::mapped, "epochs", "", 1},
      {"max_steps_per_epoch", F::mapped, "", "", nullptr,
       [](Draft& d, const Json& v) {
         if (!v.is_number()) return d.remark(F::lost, "not a number of steps");
         d.set("max_steps", static_cast<int64_t>(v.get<double>() * d.number("epochs", 1)),
               str(v.dump(), " in each of ", d.number("epochs", 1), " epochs"));
       }},
      {"batch_size", F::mapped, "", "see batch_tokens"},
      {"gradient_accumulation_steps", F::mapped, "", "see batch_tokens"},
      {"clip_grad_norm", F::mapped, "max_grad_norm", "", 0},
      {"seed", F::mapped, "seed"},
      {"resume_from_checkpoint", F::no_effect, "", "smidgen tune --resume goes on with a run"},
      {"save_*", F::no_effect, "", "a run writes adapter, checkpoints and report"},

      {"compile*", F::no_effect, "", kHardware},
      {"device", F::no_effect, "", kHardware},
      {"dtype", F::no_effect, "", "dtype auto multiplies in bf16 where the machine does"},
      {"fsdp*", F::no_effect, "", kHardware},
      {"tensor_parallel*", F::no_effect, "", kHardware},
      {"custom_sharded_layers", F::no_effect, "", kHardware},
      {"low_cpu_ram", F::no_effect, "", "weights are mapped from the file"},
      {"enable_activation_*", F::no_effect, "", kMemory},
      {"enable_async_checkpointing", F::no_effect, "", kHardware},
      {"metric_logger*", F::no_effect, "", kReport},
      {"log_*", F::no_effect, "", kReport},
      {"profiler*", F::no_effect, "", kReport},
      {"cudnn_deterministic_mode", F::no_effect, "", "runs are reproducible"},
  };
  return rules;
}

class Torchtune : public Importer {
 public:
  std::string summary() const override { return "torchtune 0.6"; }
  const std::vector<ImportRule>& rules() const override { return table(); }
  bool recognises(const Json& theirs) const override {
    const auto model = theirs.find("model");
    return model != theirs.end() && model->is_object() && model->contains("_component_");
  }

  void finish(Draft& draft) const override {
    Json names = Json::array();
    for (const Json& item : draft.value("model.lora_attn_modules"))
      names.push_back(item == "output_proj" ? Json("o_proj") : item);
    if (draft.is_true("model.apply_lora_to_mlp"))
      for (const char* name : {"gate_proj", "down_proj", "up_proj"}) names.push_back(name);
    if (draft.is_true("model.apply_lora_to_output")) names.push_back("lm_head");
    if (!names.empty())
      draft.set_from("model.lora_attn_modules, apply_lora_to_*", "peft:target_modules",
                     std::move(names));
    if (draft.text("loss._component_").find("DPOLoss") != std::string::npos)
      preference(draft, "loss._component_", "dpo", draft.number("loss.beta", 0.1));
    const bool packed = draft.is_true("dataset.packed") || draft.is_true("dataloader.packed");
    batch(draft,
          {"batch_size x gradient_accumulation_steps", std::max(1.0, draft.number("batch_size", 1)),
           draft.number("gradient_accumulation_steps", 1), draft.number("tokenizer.max_seq_len", 0),
           packed});
    if (draft.value("dataset").is_object() && draft.value("dataset.train_on_input").is_null() &&
        draft.text("dataset._component_").find("alpaca") != std::string::npos)
      draft.remark_on("dataset.train_on_input", F::lost,
                      "torchtune's alpaca data sets take loss on the prompt too unless told "
                      "otherwise; here it is taken on answers only");
  }
};

}  // namespace

std::unique_ptr<const Importer> make_torchtune_importer() {
  return std::make_unique<Torchtune>();
}

}  // namespace smidgen
