#include <gtest/gtest.h>

#include "smidgen/nn/families/registry.h"
#include "smidgen/nn/tiny_model.h"

namespace smidgen {
namespace {

std::string message_of(const Json& change) {
  ModelFiles files = tiny_llama_files({});
  files.config.update(change);
  try {
    load_model(files, {.dtype = "fp32"});
  } catch (const Error& e) {
    return str(to_string(e.kind()), ": ", e.what(), " ", e.hint());
  }
  return "loaded";
}

TEST(Llama, IsFoundByModelType) {
  EXPECT_EQ(&family_of(tiny_llama_files({})), &families().find("llama"));
  ModelFiles other = tiny_llama_files({});
  other.config["model_type"] = "llamma";
  EXPECT_THROW(family_of(other), Error);
}

TEST(Llama, RefusesConfigurationsItCannotRunByFieldAndValue) {
  EXPECT_EQ(message_of(Json::object()), "loaded");
  EXPECT_NE(message_of({{"hidden_act", "mish"}}).find("unsupported: hidden_act 'mish'"),
            std::string::npos);
  EXPECT_NE(
      message_of({{"rope_scaling", {{"rope_type", "spiral"}, {"factor", 4}}}}).find("'spiral'"),
      std::string::npos);
  EXPECT_NE(message_of({{"quantization_config", {{"bits", 4}}}}).find("quantization_config"),
            std::string::npos);
  EXPECT_NE(message_of({{"hidden_size", "64"}}).find("not an integer"), std::string::npos);
  EXPECT_NE(message_of({{"num_attention_heads", 0}}).find("num_attention_heads"),
            std::string::npos);
  EXPECT_NE(message_of({{"num_hidden_layers", -3}}).find("num_hidden_layers"), std::string::npos);
}

TEST(Llama, ShowsBothShapesWhenATensorDoesNotFit) {
  const std::string message = message_of({{"intermediate_size", 24}});
  EXPECT_NE(message.find("has shape ["), std::string::npos) << message;
  EXPECT_NE(message.find("asks for [24, "), std::string::npos) << message;
}

TEST(Llama, NamesTensorsThatAreLeftOver) {
  const std::string message = message_of({{"num_hidden_layers", 1}});
  EXPECT_NE(message.find("model.layers.1."), std::string::npos) << message;
}

}  // namespace
}  // namespace smidgen
