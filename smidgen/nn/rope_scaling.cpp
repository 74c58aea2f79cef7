#include "smidgen/nn/rope_scaling.h"

#include <cmath>
#include <numbers>

#include <torch/torch.h>

#include "smidgen/base/error.h"

namespace smidgen {

namespace {

double positive(ConfigReader& group, const std::string& key, double absent) {
  const double value = group.number(key, absent);
  if (!(value > 0) || !std::isfinite(value)) {
    throw Error(ErrorKind::format, str(key, " is ", value, ", and must be above zero"),
                group.at(key));
  }
  return value;
}

std::vector<double> factors(ConfigReader& group, const std::string& key, int64_t pairs) {
  std::vector<double> values = group.numbers(key);
  if (static_cast<int64_t>(values.size()) != pairs) {
    throw Error(ErrorKind::format,
                str(key, " has ", values.size(), " numbers where ", pairs, " pairs turn"),
                group.at(key));
  }
  for (const double value : values) {
    if (!(value > 0)) throw Error(ErrorKind::format, str(key, " holds ", value), group.at(key));
  }
  return values;
}

double yarn_scale(double factor, double mscale) {
  return factor <= 1 ? 1 : 0.1 * mscale * std::log(factor) + 1;
}

}  // namespace

RopeSpec read_rope(ConfigReader& config, const RopeWords& words, int64_t head_dim,
                   int64_t context) {
  RopeSpec s;
  s.theta = words.theta;
  if (!(s.theta > 1) || !std::isfinite(s.theta))
    throw Error(ErrorKind::format, str("rope_theta is ", s.theta), config.at("rope_theta"));
  const double share =
      config.number("partial_rotary_factor", words.partial == 0 ? 1 : words.partial);
  if (words.partial == 0 && share != 1) {
    throw Error(ErrorKind::unsupported,
                str("partial_rotary_factor is ", share, ": this family turns whole heads"),
                config.at("partial_rotary_factor"));
  }
  s.rotary = static_cast<int64_t>(static_cast<double>(head_dim) * share);
  if (s.rotary < 2 || s.rotary > head_dim || s.rotary % 2 != 0) {
    throw Error(ErrorKind::format,
                str("head_dim is ", head_dim, " and ", s.rotary,
                    " dimensions of a head are to turn: rotary embedding turns pairs"),
                config.at("partial_rotary_factor"));
  }
  s.original = context;
  const Json* scaling = config.group(words.scaling);
  if (!scaling) return s;
  ConfigReader group(*scaling, config.at(words.scaling));
  const std::string key = group.has("rope_type") ? "rope_type" : "type";
  group.has("type");  // the older name may stand beside the newer
  s.type = group.word(key, {"default", "linear", "dynamic", "llama3", "yarn", "longrope", "su"},
                      "default");
  if (s.type == "su") s.type = "longrope";
  if (s.type == "default") return s;
  const bool stretched = s.type == "llama3" || s.type == "yarn" || s.type == "longrope";
  if (stretched) {
    // Phi-3 writes the length before scaling beside the group, and that one wins.
    s.original = config.integer("original_max_position_embeddings",
                                group.integer("original_max_position_embeddings", context));
    group.has("original_max_position_embeddings");
    if (s.original < 1 || s.original > (int64_t{1} << 40))
      throw Error(ErrorKind::format, str("original_max_position_embeddings is ", s.original),
                  group.at("original_max_position_embeddings"));
  }
  const double implied = static_cast<double>(context) / static_cast<double>(s.original);
  if (s.type == "longrope" || s.type == "yarn") {
    s.factor = positive(group, "factor", implied);
  } else {
    if (!group.has("factor"))
      throw Error(ErrorKind::format, str("rope scaling '", s.type, "' has no factor"),
                  group.at("factor"));
    s.factor = positive(group, "factor", 1);
  }
  if (s.type == "llama3") {
    s.low_freq_factor = positive(group, "low_freq_factor", 1);
    s.high_freq_factor = positive(group, "high_freq_factor", 4);
    if (s.high_freq_factor <= s.low_freq_factor)
      throw Error(ErrorKind::format, "high_freq_factor is not above low_freq_factor",
                  group.at("high_freq_factor"));
  } else if (s.type == "yarn") {
    s.beta_fast = positive(group, "beta_fast", 32);
    s.beta_slow = positive(group, "beta_slow", 1);
    s.truncate = group.boolean("truncate", true);
    const double mscale = group.number("mscale", 0), all = group.number("mscale_all_dim", 0);
    const double plain = mscale != 0 && all != 0
                             ? yarn_scale(s.factor, mscale) / yarn_scale(s.factor, all)
                             : yarn_scale(s.factor, 1);
    s.attention_factor = positive(group, "attention_factor", plain);
  } else if (s.type == "longrope") {
    s.short_factor = factors(group, "short_factor", s.rotary / 2);
    s.long_factor = factors(group, "long_factor", s.rotary / 2);
    const double plain =
        s.factor <= 1
            ? 1
            : std::sqrt(1 + std::log(s.factor) / std::log(static_cast<double>(s.original)));
    s.attention_factor = positive(group, "attention_factor", plain);
  } else if (s.type == "dynamic" && s.rotary < 4) {
    throw Error(ErrorKind::format, "dynamic rope scaling needs more than one pair",
                config.at("head_dim"));
  }
  group.finish({"finetuned"});
  return s;
}

at::Tensor inverse_frequencies(const RopeSpec& s, int64_t length) {
  const double rotary = static_cast<double>(s.rotary);
  if (s.type == "dynamic" && length > s.original) {
    const double grown = s.factor * static_cast<double>(length) / static_cast<double>(s.original);
    return rope_frequencies(s.rotary,
                            s.theta * std::pow(grown - (s.factor - 1), rotary / (rotary - 2)));
  }
  const at::Tensor f = rope_frequencies(s.rotary, s.theta);
  if (s.type == "linear") return f / s.factor;
  if (s.type == "longrope") {
    return f / torch::tensor(length > s.original ? s.long_factor : s.short_factor, at::kFloat);
  }
  if (s.type == "llama3") {
    const double original = static_cast<double>(s.original);
    const at::Tensor turns = original * f / (2 * std::numbers::pi);  // within the old context
    const at::Tensor blend = (turns - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
    return f / s.factor * (1 - blend).clamp(0, 1) + f * blend.clamp(0, 1);
  }
  if (s.type == "yarn") {
    // The pair whose wave turns `count` times within the old context.
    const auto pair = [&](double count) {
      return rotary * std::log(static_cast<double>(s.original) / (count * 2 * std::numbers::pi)) /
             (2 * std::log(s.theta));
    };
    double low = pair(s.beta_fast), high = pair(s.beta_slow);
    if (s.truncate) low = std::floor(low), high = std::ceil(high);
    low = std::max(low, 0.0), high = std::min(high, rotary - 1);
    if (low == high) high += 0.001;
    const at::Tensor ramp =
        ((torch::arange(s.rotary / 2, at::kFloat) - low) / (high - low)).clamp(0, 1);
    return f / s.factor * ramp + f * (1 - ramp);
  }
  return f;
}

bool same_rotation(const RopeSpec& a, const RopeSpec& b) {
  if (a.rotary != b.rotary || std::abs(a.attention_factor - b.attention_factor) > 1e-6)
    return false;
  for (const int64_t length : {int64_t{1}, a.original, a.original + 1, 2 * a.original}) {
    const at::Tensor f = inverse_frequencies(a, length), g = inverse_frequencies(b, length);
    if (!torch::allclose(f, g, 1e-5, 1e-12)) return false;
  }
  return true;
}

const RopeTable& RopeTables::table(int64_t positions, int64_t length) {
  // Longrope has two sets of frequencies, dynamic one per length beyond the original.
  const bool beyond = spec_.by_length() && length > spec_.original;
  const int64_t key = !beyond ? 0 : spec_.type == "dynamic" ? length : 1;
  Kept& kept = kept_[beyond];
  if (kept.key != key || kept.table.cos.size(0) < positions) {
    // It outlives this pass, after which one with gradients may read it.
    const c10::InferenceMode ordinary(false);
    const int64_t rows = key > 1 ? positions : std::max<int64_t>(1024, 2 * positions);
    kept = {key, rope_table(inverse_frequencies(spec_, length), rows, spec_.attention_factor)};
  }
  return kept.table;
}

}  // namespace smidgen
