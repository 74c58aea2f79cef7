// The two tables of every family, there and back: what is written as GGUF reads as the same model.
#include "smidgen/nn/families/gguf_map.h"

#include <map>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "smidgen/nn/tiny_model.h"

namespace smidgen {
namespace {

// Keys below the architecture, each once.
std::map<std::string, Json> by_key(const Family& family, const Json& config) {
  const auto pairs = gguf_metadata(family, config);
  const std::string prefix = family.gguf_architectures().front() + ".";
  EXPECT_EQ(pairs.at(0).key, "general.architecture");
  std::map<std::string, Json> all;
  for (size_t i = 1; i < pairs.size(); ++i) {
    EXPECT_TRUE(pairs[i].key.starts_with(prefix)) << pairs[i].key;
    EXPECT_TRUE(all.emplace(pairs[i].key.substr(prefix.size()), pairs[i].value).second)
        << pairs[i].key << " twice";
  }
  return all;
}

class GgufMap : public testing::TestWithParam<std::string> {
 protected:
  const Family& family() const { return families().find(GetParam()); }
};

TEST_P(GgufMap, MetadataStandBelowTheArchitecture) {
  const auto found = by_key(family(), tiny_gguf_config(GetParam()));
  EXPECT_EQ(found.at("block_count"), 3);
  EXPECT_EQ(found.at("attention.head_count"), 4);
  if (!family().gguf_marker().empty()) {
    EXPECT_TRUE(found.contains(family().gguf_marker()));
  }
}

// Phi-3 says the original context twice, as a field and in rope_scaling; GGUF once.
TEST(GgufMap, ScalingWithAFieldOfItsOwnIsWrittenOnce) {
  Json config = tiny_gguf_config("phi3");
  config["original_max_position_embeddings"] = 32;
  config["rope_scaling"] = {{"rope_type", "longrope"},
                            {"short_factor", {1.0, 1.1, 1.2, 1.3}},
                            {"long_factor", {2.0, 3.0, 4.0, 5.0}}};
  const auto found = by_key(families().find("phi3"), config);
  EXPECT_EQ(found.at("rope.scaling.original_context_length"), 32);
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
  Json config = tiny_gguf_config("llama");
  config["hidden_act"] = "gelu";
  try {
    gguf_metadata(families().find("llama"), config);
    FAIL() << "written";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::unsupported);
    EXPECT_NE(e.message().find("hidden_act"), std::string::npos) << e.message();
  }
}

// Llama, had llama.cpp no name for it.
class Unspoken : public Family {
 public:
  std::string summary() const override { return llama_.summary(); }
  std::vector<std::string> model_types() const override { return {"unspoken"}; }
  std::vector<std::string> gguf_architectures() const override { return {}; }
  std::string model_class() const override { return llama_.model_class(); }
  const KeyTable& keys() const override { return llama_.keys(); }
  const TensorRows& tensors() const override { return llama_.tensors(); }
  int64_t head_dim(const Json& c) const override { return llama_.head_dim(c); }
  std::vector<RopeSpec> ropes(const Json& c) const override { return llama_.ropes(c); }
  std::vector<NamedShape> shapes(const Json& c) const override { return llama_.shapes(c); }
  bool same_model(const Json& a, const Json& b) const override { return llama_.same_model(a, b); }
  std::unique_ptr<Model> load(const ModelFiles& f, const LoadOptions& o) const override {
    return llama_.load(f, o);
  }

 private:
  const Family& llama_ = families().find("llama");
};

TEST(GgufMap, AFamilyWithoutAnArchitectureIsRefused) {
  try {
    gguf_metadata(Unspoken(), tiny_config("llama"));
    FAIL() << "written";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::unsupported);
    EXPECT_NE(e.message().find("unspoken"), std::string::npos) << e.message();
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
