// The two tables of every family, there and back: what is written as GGUF reads as the same model.
#include "smidgen/nn/families/gguf_map.h"

#include <map>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "smidgen/nn/tiny_model.h"

namespace smidgen {
namespace {

// A configuration that GGUF has words for: what only config.json can say stays at its default.
Json speakable(const std::string& name) {
  Json config = tiny_config(name);
  for (const ConfigKey& key : families().find(name).keys()) {
    const bool silent = key.gguf.empty();
    if (silent && config.contains(key.config)) config.erase(key.config);
  }
  if (config.contains("head_dim")) config["query_pre_attn_scalar"] = config["head_dim"];
  if (name != "gemma2" && name != "gemma3") config.erase("query_pre_attn_scalar");
  return config;
}

class GgufMap : public testing::TestWithParam<std::string> {
 protected:
  const Family& family() const { return families().find(GetParam()); }
};

TEST_P(GgufMap, MetadataStandBelowTheArchitecture) {
  const auto pairs = gguf_metadata(family(), speakable(GetParam()));
  const std::string prefix = family().gguf_architectures().front() + ".";
  EXPECT_EQ(pairs.at(0).key, "general.architecture");
  std::map<std::string, Json> by_key;
  for (size_t i = 1; i < pairs.size(); ++i) {
    EXPECT_TRUE(pairs[i].key.starts_with(prefix)) << pairs[i].key;
    EXPECT_TRUE(by_key.emplace(pairs[i].key, pairs[i].value).second) << pairs[i].key << " twice";
  }
  EXPECT_EQ(by_key.at(prefix + "block_count"), 3);
  EXPECT_EQ(by_key.at(prefix + "attention.head_count"), 4);
  if (!family().gguf_marker().empty()) {
    EXPECT_TRUE(by_key.contains(prefix + family().gguf_marker()));
  }
}

// Every tensor of the model has a GGUF name of its own, and every value is there once.
TEST_P(GgufMap, TensorsAreAllThere) {
  const auto model = load_model(tiny_files(tiny_config(GetParam())), {.dtype = "fp32"});
  double ours = 0, theirs = 0;
  int64_t offsets = 0;
  std::map<std::string, int> names;
  for (const ModelTensor& t : model->tensors()) {
    ours += t.rows(0, t.shape[0]).to(at::kDouble).sum().item<double>();
    const auto place = find_place(family().tensors(), t.name.substr(0, t.name.rfind('.')));
    ASSERT_TRUE(place) << t.name;
    if (place->row->layout == Layout::offset) offsets += t.shape[0];
  }
  for (const ModelTensor& t : gguf_tensors(family(), *model)) {
    EXPECT_EQ(names[t.name]++, 0) << t.name;
    int64_t rows = t.shape[0];
    if (t.shape.size() == 3) rows *= t.shape[1];
    // In two pieces, as a writer would.
    const int64_t cut = std::max<int64_t>(1, rows / 3);
    const at::Tensor first = t.rows(0, cut), rest = t.rows(cut, rows);
    EXPECT_EQ(first.size(0) + rest.size(0), rows) << t.name;
    theirs += (first.to(at::kDouble).sum() + rest.to(at::kDouble).sum()).item<double>();
  }
  EXPECT_NEAR(theirs - static_cast<double>(offsets), ours, 1e-3);
}

INSTANTIATE_TEST_SUITE_P(Families, GgufMap, testing::ValuesIn(families().names()),
                         [](const auto& info) { return info.param; });

TEST(GgufMap, AFieldThatGgufCannotSayIsNamed) {
  Json config = speakable("llama");
  config["hidden_act"] = "gelu";
  try {
    gguf_metadata(families().find("llama"), config);
    FAIL() << "written";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::unsupported);
    EXPECT_NE(e.message().find("hidden_act"), std::string::npos) << e.message();
  }
}

TEST(GgufMap, RowsOfQAndKArePermutedThereAndBack) {
  const std::vector<int64_t> order = gguf_row_order(Layout::rotated, 16, 8);
  EXPECT_EQ(order, (std::vector<int64_t>{0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15}));
  // Two heads of two dimensions: q0 k0 v0 q1 k1 v1 in memory, q0 q1 k0 k1 v0 v1 in the file.
  EXPECT_EQ(gguf_row_order(Layout::interleaved, 12, 2),
            (std::vector<int64_t>{0, 1, 4, 5, 8, 9, 2, 3, 6, 7, 10, 11}));
  EXPECT_TRUE(gguf_row_order(Layout::plain, 12, 2).empty());
}

TEST(GgufMap, RopeSettingsOfBothGenerationsAreOne) {
  const Json scaling = {{"rope_type", "linear"}, {"factor", 2.0}};
  const Json old = {{"rope_theta", 7.0}, {"rope_scaling", scaling}};
  Json parameters = scaling;
  parameters["rope_theta"] = 7.0;
  EXPECT_EQ(with_flat_rope({{"rope_parameters", parameters}}), old);
  EXPECT_EQ(with_flat_rope(old), old);
  const Json nested = with_flat_rope(
      {{"rope_parameters",
        {{"full_attention", parameters}, {"sliding_attention", {{"rope_theta", 3.0}}}}}});
  EXPECT_EQ(nested["rope_theta"], 7.0);
  EXPECT_EQ(nested["rope_local_base_freq"], 3.0);
  EXPECT_EQ(nested["rope_scaling"], scaling);
}

}  // namespace
}  // namespace smidgen
