#include "smidgen/train/registries.h"

#include "smidgen/io/codecs/registry.h"
#include "smidgen/kernels/formats/registry.h"
#include "smidgen/methods/registry.h"
#include "smidgen/nn/families/registry.h"
#include "smidgen/train/budgets/registry.h"
#include "smidgen/train/losses/registry.h"

namespace smidgen {

Json registries() {
  Json method = Json::object(), family = Json::object(), format = Json::object(),
       policy = Json::object(), loss = Json::object(), codec = Json::object();
  for (const auto& [name, entry] : methods().entries()) {
    method[name] = {
        {"summary", entry->summary()}, {"fields", entry->fields()}, {"source", entry->source()}};
    if (!entry->peft_type().empty()) method[name]["peft_type"] = entry->peft_type();
  }
  for (const auto& [name, entry] : families().entries()) {
    family[name] = {{"summary", entry->summary()},
                    {"fields", Json::array()},
                    {"model_types", entry->model_types()}};
  }
  for (const auto& [name, entry] : weight_formats().entries()) {
    format[name] = {{"summary", std::string(entry->summary())}, {"fields", Json::array()}};
  }
  for (const auto& [name, entry] : budgets().entries()) {
    policy[name] = {
        {"summary", entry->summary()}, {"fields", entry->fields()}, {"source", entry->source()}};
  }
  for (const auto& [name, entry] : losses().entries()) {
    loss[name] = {{"summary", entry->summary()},
                  {"fields", entry->fields()},
                  {"source", entry->source()},
                  {"data", to_string(entry->form())}};
  }
  for (const auto& [name, entry] : codecs().entries()) {
    codec[name] = {
        {"summary", entry->summary()}, {"fields", Json::array()}, {"source", entry->source()}};
  }
  return {{"method", method}, {"family", family}, {"format", format},
          {"policy", policy}, {"loss", loss},     {"codec", codec}};
}

}  // namespace smidgen
