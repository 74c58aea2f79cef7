#include "smidgen/nn/config_reader.h"

#include <algorithm>

#include "smidgen/base/error.h"
#include "smidgen/base/log.h"

namespace smidgen {

ConfigReader::ConfigReader(const Json& config, std::string where)
    : config_(config), where_(std::move(where)) {
  if (!config.is_object())
    throw Error(ErrorKind::format, "the configuration is not a JSON object", where_);
}

const Json* ConfigReader::find(const std::string& key) {
  used_.insert(key);
  const auto item = config_.find(key);
  return item == config_.end() || item->is_null() ? nullptr : &*item;
}

std::string ConfigReader::at(const std::string& key) const {
  return str(where_, ", ", key);
}

int64_t ConfigReader::integer(const std::string& key) {
  if (const Json* value = find(key)) {
    if (value->is_number_integer()) return value->get<int64_t>();
    throw Error(ErrorKind::format, str(key, " is ", value->dump(), ", not an integer"), at(key));
  }
  std::vector<std::string> keys;
  for (const auto& item : config_.items()) keys.push_back(item.key());
  throw Error(ErrorKind::format, str("the configuration has no ", key), where_,
              did_you_mean(key, keys));
}

int64_t ConfigReader::integer(const std::string& key, int64_t absent) {
  return find(key) ? integer(key) : absent;
}

double ConfigReader::number(const std::string& key, double absent) {
  const Json* value = find(key);
  if (!value) return absent;
  if (!value->is_number())
    throw Error(ErrorKind::format, str(key, " is ", value->dump(), ", not a number"), at(key));
  return value->get<double>();
}

bool ConfigReader::boolean(const std::string& key, bool absent) {
  const Json* value = find(key);
  if (!value) return absent;
  if (!value->is_boolean())
    throw Error(ErrorKind::format, str(key, " is ", value->dump(), ", not true or false"), at(key));
  return value->get<bool>();
}

std::string ConfigReader::word(const std::string& key, const std::vector<std::string>& known,
                               const std::string& absent) {
  const Json* value = find(key);
  const std::string text = value && value->is_string() ? value->get<std::string>()
                           : value                     ? value->dump()
                                                       : absent;
  if (std::find(known.begin(), known.end(), text) == known.end()) {
    throw Error(ErrorKind::unsupported,
                str(key, " '", text, "' is not one that this family can run"), at(key),
                str("known: ", join(known)));
  }
  return text;
}

double ConfigReader::rope_theta(double absent, const std::vector<std::string>& known) {
  double theta = number("rope_theta", absent);
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    const Json* group = find(key);
    if (!group) continue;
    if (!group->is_object()) throw Error(ErrorKind::format, str(key, " is not an object"), at(key));
    ConfigReader inner(*group, at(key));
    inner.word(group->contains("rope_type") ? "rope_type" : "type", known, "default");
    theta = inner.number("rope_theta", theta);
  }
  return theta;
}

void ConfigReader::finish(const std::vector<std::string>& ignorable) {
  if (const Json* quantised = find("quantization_config"); quantised && !quantised->empty()) {
    throw Error(ErrorKind::unsupported,
                "weights quantised by another library (quantization_config) cannot be read yet",
                at("quantization_config"));
  }
  // Fields that every transformers configuration may carry and that do not change the forward pass
  // of a decoder.
  static const std::set<std::string> kInert = {"_name_or_path",
                                               "architectures",
                                               "model_type",
                                               "dtype",
                                               "torch_dtype",
                                               "transformers_version",
                                               "use_cache",
                                               "bos_token_id",
                                               "eos_token_id",
                                               "pad_token_id",
                                               "sep_token_id",
                                               "decoder_start_token_id",
                                               "initializer_range",
                                               "attention_dropout",
                                               "id2label",
                                               "label2id",
                                               "problem_type",
                                               "return_dict",
                                               "output_attentions",
                                               "output_hidden_states",
                                               "is_encoder_decoder",
                                               "is_decoder",
                                               "chunk_size_feed_forward",
                                               "tokenizer_class",
                                               "task_specific_params",
                                               "transformers.js_config",
                                               "auto_map",
                                               "unsloth_version",
                                               "unsloth_fixed",
                                               "finetuning_task",
                                               "prefix"};
  std::vector<std::string> unknown;
  for (const auto& item : config_.items()) {
    const bool empty = item.value().is_null() || item.value() == false || item.value().empty();
    if (used_.contains(item.key()) || kInert.contains(item.key()) || empty) continue;
    if (std::find(ignorable.begin(), ignorable.end(), item.key()) == ignorable.end())
      unknown.push_back(item.key());
  }
  if (!unknown.empty()) {
    log_warning(str("config.json: this family does not use ", join(unknown),
                    "; if one of them changes the model's values, "
                    "the results will differ (",
                    where_, ")"));
  }
}

}  // namespace smidgen
