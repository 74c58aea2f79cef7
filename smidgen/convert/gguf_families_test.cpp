// Every family as a GGUF file, there and back, over the registry: a new entry is tested by being
// listed.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "smidgen/base/temporary_folder.h"
#include "smidgen/convert/gguf_file.h"
#include "smidgen/nn/families/registry.h"
#include "smidgen/nn/tiny_model.h"

namespace smidgen {
namespace {

const LoadOptions kPlain{.dtype = "fp32"}, kStored{.dtype = "fp32", .base_format = "stored"};

at::Tensor logits(const Model& model) {
  torch::NoGradGuard no_grad;
  const std::vector<int32_t> ids = {3, 14, 15, 9, 2, 6, 5, 35, 8, 46, 11};
  const Stream stream = make_stream(ids);
  return model.logits(model.forward(stream), *stream.rows);
}

class GgufFamilies : public testing::TestWithParam<std::string> {
 protected:
  const Family& family() const { return families().find(GetParam()); }

  // Throws what writing a model of this config.json throws.
  fs::path write(const Json& config, const LoadOptions& options) {
    const ModelFiles files = tiny_files(config);
    const fs::path out = folder_ / str(options.base_format, ".gguf");
    write_gguf_file(*load_model(files, options), files, out, {.dtype = "fp32"});
    return out;
  }

  void expect_refused(const Json& config) {
    try {
      write(config, kPlain);
      FAIL() << config.dump() << " was written";
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::unsupported) << e.what();
    }
    EXPECT_TRUE(fs::is_empty(folder_.path()));
  }

  TemporaryFolder folder_;
};

TEST_P(GgufFamilies, WhatIsWrittenIsTheSameModel) {
  if (family().gguf_architectures().empty()) return expect_refused(tiny_gguf_config(GetParam()));
  const Json config = tiny_gguf_config(GetParam());
  const at::Tensor wanted = logits(*load_model(tiny_files(config), kPlain));
  const fs::path path = write(config, kPlain);
  const ModelFiles files = open_model(path.string());
  EXPECT_EQ(&family_of(files), &family());
  EXPECT_TRUE(logits(*load_model(files, kPlain)).equal(wanted));
  EXPECT_TRUE(logits(*load_model(files, kStored)).allclose(wanted, 1e-5, 1e-5));
  // Written out of the file itself, the bytes are the same.
  EXPECT_EQ(read_file(write(config, kStored)), read_file(path));
}

TEST_P(GgufFamilies, WhatGgufCannotSayIsRefused) {
  Json config = tiny_gguf_config(GetParam());
  if (const Json whole = tiny_config(GetParam()); !family().same_model(whole, config))
    expect_refused(whole);
  for (const ConfigKey& key : family().keys()) {
    if (key.name() != "hidden_act") continue;
    config[key.config] = "relu";
    expect_refused(config);
  }
}

INSTANTIATE_TEST_SUITE_P(Registry, GgufFamilies, testing::ValuesIn(families().names()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace smidgen
