#include "smidgen/io/importers/shared.h"

#include <algorithm>
#include <cmath>

#include "smidgen/base/error.h"
#include "smidgen/base/fs.h"

namespace smidgen::importing {
namespace {

Json whole(double value) {
  return static_cast<int64_t>(std::llround(std::clamp(value, 0.0, 9e15)));
}

std::string shown(double value) {
  return whole(value).dump();
}

}  // namespace

void model(Draft& draft, const Json& value) {
  const std::string name = value.is_string() ? value.get<std::string>() : value.dump();
  if (path_exists(name)) return draft.set("model", name);
  draft.set("model", name,
            "not a path on this machine; nothing is downloaded, so name the folder that holds it");
}

void optimizer(Draft& draft, const Json& value) {
  const std::string name = value.is_string() ? value.get<std::string>() : value.dump();
  for (const char* same : {"adamw_torch", "adamw_torch_fused", "adamw_hf", "adamw",
                           "adamw_apex_fused", "torch.optim.AdamW"}) {
    if (name == same) return draft.set("optimizer", "adamw");
  }
  if (name.find("adamw") != std::string::npos || name.find("AdamW") != std::string::npos) {
    if (name.find("8bit") != std::string::npos || name.find("4bit") != std::string::npos ||
        name.find("paged") != std::string::npos || name.find("fp8") != std::string::npos)
      return draft.set("optimizer", "adamw",
                       str(name, " there; the moments are fp32 here, a few MB for an adapter"));
  }
  if (name == "sgd" || name == "torch.optim.SGD") return draft.set("optimizer", "sgd");
  draft.set(
      "optimizer", "adamw",
      str("'", name, "' does not exist here; a learning rate that fits it may not fit adamw"));
}

void schedule(Draft& draft, const Json& value) {
  const std::string name = value.is_string() ? value.get<std::string>() : value.dump();
  if (name == "linear" || name == "cosine" || name == "constant")
    return draft.set("schedule", name);
  if (name == "constant_with_warmup") return draft.set("schedule", "constant");
  if (name == "cosine_with_min_lr")
    return draft.set("schedule", "cosine", "see final_ratio for the least rate");
  if (name == "warmup_stable_decay")
    return draft.set("schedule", "wsd",
                     "the fall is a tenth of the run unless decay_steps says otherwise");
  draft.set("schedule", "cosine", str("'", name, "' does not exist here"));
}

void steps(Draft& draft, const std::string& ours, const Json& value) {
  if (!value.is_number()) return draft.remark(Fate::lost, "not a number of steps");
  const double count = value.get<double>();
  if (count > 0 && count < 1)
    return draft.remark(Fate::lost,
                        str("a share of the run; ", ours,
                            " takes steps: smidgen tune --dry-run says how many there are"));
  draft.set(ours, whole(count));
}

void warmup_ratio(Draft& draft, const std::string& key, double ratio) {
  if (ratio <= 0) return draft.remark_on(key, Fate::no_effect, "off there as well");
  if (!draft.value("warmup_steps").is_null())
    return draft.remark_on(key, Fate::no_effect, "warmup_steps wins");
  const double all = draft.number("max_steps", 0);
  if (all > 0) {
    const double count = std::ceil(ratio * all);
    const std::string words = str(ratio, " of ", shown(all), " steps");
    draft.set_from(key, "warmup_steps", whole(count), words);
    return draft.remark_on(key, Fate::changed, str("warmup_steps: ", shown(count), ", ", words));
  }
  draft.remark_on(key, Fate::lost,
                  str("the warm-up is ", ratio,
                      " of all steps there, and warmup_steps here; smidgen tune --dry-run says how "
                      "many steps the run has"));
}

void targets(Draft& draft, const Json& value) {
  if (value.is_string()) {
    const std::string text = value.get<std::string>();
    if (text == "all-linear" || text == "all" || text == "all_linear")
      return draft.peft("target_modules", "all-linear");
    const bool pattern = text.find_first_of("[](){}|*+?\\^$") != std::string::npos;
    if (pattern) return draft.peft("target_modules", "re:" + text);
    Json list = Json::array();
    for (size_t begin = 0; begin <= text.size();) {
      const size_t end = std::min(text.find(',', begin), text.size());
      const size_t first = text.find_first_not_of(' ', begin);
      if (first < end) list.push_back(text.substr(first, end - first));
      begin = end + 1;
    }
    return draft.peft("target_modules", std::move(list));
  }
  Json list = Json::array();
  for (const Json& item : value) {
    if (item.is_string()) list.push_back(item);
  }
  if (list.empty() || list.size() != value.size())
    return draft.remark(Fate::lost, "a list of module names is expected");
  draft.peft("target_modules", std::move(list));
}

void preference(Draft& draft, const std::string& key, const std::string& name, double beta) {
  const bool variant = name == "ipo" || name == "hinge";
  const std::string loss = variant || name == "sigmoid" ? "dpo" : name;
  if (loss != "dpo" && loss != "orpo" && loss != "simpo" && loss != "kto")
    return draft.remark_on(key, Fate::lost, kPreference);
  draft.set_from(key, "loss.name", loss);
  draft.remark_on(key, Fate::mapped, str("loss.name: ", loss));
  if (variant) draft.set_from(key, "loss.variant", name);
  draft.set_from(key, "loss.beta", beta);
}

void batch(Draft& draft, const Batch& b) {
  const double length = b.length > 0 ? b.length : 512;
  const double sequences = b.micro * b.accumulate;
  std::string words = str(shown(b.micro), " x ", shown(b.accumulate), " sequences of ",
                          b.packed ? "" : "at most ", shown(length), " tokens");
  if (!b.packed)
    words +=
        "; samples are counted by tokens here: where they are shorter, a step holds more of them; "
        "for steps of the same size take the number of sequences times the mean length";
  if (b.length <= 0) words += "; the recipe sets no longest sequence, 512 is assumed";
  draft.set_from(b.from, "batch_tokens", whole(sequences * length), words);
  draft.remark_on(b.from, Fate::changed,
                  str("batch_tokens: ", shown(sequences * length), ", ", words));
  if (b.accumulate > 1)
    draft.set_from(
        b.from, "micro_tokens", whole(b.micro * length),
        str("one forward pass holds ", counted(static_cast<int64_t>(b.micro), "sequence")));
}

}  // namespace smidgen::importing
