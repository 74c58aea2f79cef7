#include "smidgen/nn/config_reader.h"

#include <algorithm>

#include "smidgen/base/error.h"
#include "smidgen/base/log.h"

namespace smidgen {

ConfigReader::ConfigReader(const Json& config, std::string where, KeyTable keys)
    : config_(config), where_(std::move(where)), keys_(std::move(keys)) {
  if (!config.is_object())
    throw Error(ErrorKind::format, "the configuration is not a JSON object", where_);
}

const ConfigKey* ConfigReader::row(const std::string& key) const {
  const auto found =
      std::find_if(keys_.begin(), keys_.end(), [&](const ConfigKey& k) { return k.name() == key; });
  return found == keys_.end() ? nullptr : &*found;
}

const Json* ConfigReader::fallback(const std::string& key) const {
  const ConfigKey* k = row(key);
  if (!k || !k->missing) return nullptr;
  return config_.contains(k->config) || config_.contains(key) ? nullptr : &*k->missing;
}

const Json* ConfigReader::find(const std::string& key) {
  for (const ConfigKey& k : keys_) {
    if (k.name() != key || k.config == key) continue;
    used_.insert(k.config);
    const auto item = config_.find(k.config);
    if (item != config_.end() && !item->is_null()) return &*item;
  }
  used_.insert(key);
  const auto item = config_.find(key);
  return item == config_.end() || item->is_null() ? nullptr : &*item;
}

std::string ConfigReader::at(const std::string& key) const {
  const ConfigKey* k = row(key);
  return str(where_, ", ", k ? k->config : key);
}

void ConfigReader::wrong(const std::string& key, const Json& value, const char* wanted) const {
  throw Error(ErrorKind::format, str(key, " is ", value.dump(), ", not ", wanted), at(key));
}

int64_t ConfigReader::integer(const std::string& key) {
  if (find(key)) return integer(key, 0);
  const ConfigKey* k = row(key);
  SMIDGEN_ASSERT(k);
  if (k->missing) return k->missing->get<int64_t>();
  std::vector<std::string> known;
  for (const auto& item : config_.items()) known.push_back(item.key());
  throw Error(ErrorKind::format, str("the configuration has no ", k->config), where_,
              did_you_mean(k->config, known));
}

double ConfigReader::number(const std::string& key) {
  return number(key, row(key)->missing.value().get<double>());
}

bool ConfigReader::boolean(const std::string& key) {
  return boolean(key, row(key)->missing.value().get<bool>());
}

std::string ConfigReader::word(const std::string& key, const std::vector<std::string>& known) {
  return word(key, known, row(key)->missing.value().get<std::string>());
}

int64_t ConfigReader::integer(const std::string& key, int64_t absent) {
  const Json* value = find(key);
  if (!value) value = fallback(key);
  if (!value) return absent;
  if (!value->is_number_integer()) wrong(key, *value, "an integer");
  return value->get<int64_t>();
}

double ConfigReader::number(const std::string& key, double absent) {
  const Json* value = find(key);
  if (!value) value = fallback(key);
  if (!value) return absent;
  if (!value->is_number()) wrong(key, *value, "a number");
  return value->get<double>();
}

bool ConfigReader::boolean(const std::string& key, bool absent) {
  const Json* value = find(key);
  if (!value) return absent;
  if (!value->is_boolean()) wrong(key, *value, "true or false");
  return value->get<bool>();
}

int64_t ConfigReader::integer_or_none(const std::string& key) {
  const int64_t value = integer(key, 0);
  if (value < 0 || (value == 0 && find(key))) wrong(key, value, "above zero");
  return value;
}

double ConfigReader::number_or_none(const std::string& key) {
  const double value = number(key, 0);
  if (!(value >= 0) || (value == 0 && find(key))) wrong(key, value, "above zero");
  return value;
}

template <class T>
std::vector<T> ConfigReader::list(const std::string& key, bool (*fits)(const Json&),
                                  const char* wanted) {
  const Json* value = find(key);
  if (!value) return {};
  if (!value->is_array() || !std::all_of(value->begin(), value->end(), fits))
    wrong(key, *value, wanted);
  return value->get<std::vector<T>>();
}

std::vector<int64_t> ConfigReader::integers(const std::string& key) {
  return list<int64_t>(
      key, [](const Json& j) { return j.is_number_integer(); }, "a list of integers");
}

std::vector<double> ConfigReader::numbers(const std::string& key) {
  return list<double>(key, [](const Json& j) { return j.is_number(); }, "a list of numbers");
}

std::vector<std::string> ConfigReader::words(const std::string& key) {
  return list<std::string>(key, [](const Json& j) { return j.is_string(); }, "a list of words");
}

const Json* ConfigReader::group(const std::string& key) {
  const Json* value = find(key);
  if (value && !value->is_object()) wrong(key, *value, "an object");
  return value;
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
