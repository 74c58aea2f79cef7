// What hangs on whole modules: where it acts, for which rows, and that its one node has the
// gradients of the plain composition.
#include "smidgen/nn/module_host.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "smidgen/nn/families/registry.h"
#include "smidgen/nn/ops.h"
#include "smidgen/nn/tiny_model.h"

namespace smidgen {
namespace {

constexpr int64_t kWidth = 6;

class Scaled : public Attachment {
 public:
  Scaled(Hooks hooks, at::Tensor p) : Attachment(hooks, {std::move(p)}) {}
  at::Tensor add(const at::Tensor& x, const at::Tensor& y0, const Tensors& p) const override {
    const at::Tensor y = at::tanh(x * p[0]);
    return y0.defined() ? y * y0 : y;
  }
  at::Tensor post(const at::Tensor& y, const Tensors& p) const override {
    return y + at::sin(y * p[0]);
  }
};

at::Tensor parameter() {
  return torch::randn({kWidth}, torch::requires_grad());
}

struct Setting {
  Hooks hooks;
  int64_t grad_begin;
};

class ModuleNode : public testing::TestWithParam<Setting> {};

TEST_P(ModuleNode, HasTheGradientsOfThePlainComposition) {
  torch::manual_seed(3);
  const auto [hooks, grad_begin] = GetParam();
  ModuleHost host({.name = "m", .kind = SiteKind::mlp, .out = kWidth, .in = kWidth});
  host.slots(0).attach(1, std::make_shared<Scaled>(hooks, parameter()));
  host.slots(0).attach(1, std::make_shared<Scaled>(hooks, parameter()));
  host.slots(0).attach(2, std::make_shared<Scaled>(hooks, parameter()));
  const Rows rows{
      .segments = {{0, 0, 2}, {1, 2, 5}, {2, 5, 9}}, .count = 9, .grad_begin = grad_begin};
  const at::Tensor x = torch::randn({9, kWidth}, torch::requires_grad()),
                   y = torch::randn({9, kWidth}, torch::requires_grad());
  at::Tensor weights = torch::randn({9, kWidth});
  weights.narrow(0, 0, grad_begin).zero_();  // of served rows nothing flows back
  Tensors leaves = host.parameters(rows);
  ASSERT_EQ(leaves.size(), 3u);
  leaves.insert(leaves.end(), {x, y});
  for (const double scale : {1.0, 0.3}) {
    if (scale != 1 && !host.only_adds(rows)) continue;
    const auto run = [&](KernelsMode mode) {
      const ScopedKernels scoped(mode);
      const at::Tensor out = scale == 1 ? host.forward(x, y, rows) : host.add_to(y, x, rows, scale);
      Tensors found = torch::autograd::grad({(out * weights).sum()}, leaves, {}, std::nullopt,
                                            /*create_graph=*/false, /*allow_unused=*/true);
      for (size_t i = 0; i < leaves.size(); ++i) {
        if (!found[i].defined()) found[i] = at::zeros_like(leaves[i]);
      }
      return std::pair(out.detach(), found);
    };
    const auto [plain, wanted] = run(KernelsMode::ref);
    const auto [node, got] = run(KernelsMode::fast);
    EXPECT_TRUE(at::equal(node, plain));
    EXPECT_TRUE(at::equal(node.narrow(0, 0, 2), y.detach().narrow(0, 0, 2))) << "slot 0 is bare";
    for (size_t i = 0; i < leaves.size(); ++i)
      EXPECT_TRUE(at::allclose(got[i], wanted[i], 1e-5, 1e-6)) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Hooks, ModuleNode,
                         testing::Values(Setting{{.add = true}, 0}, Setting{{.add = true}, 3},
                                         Setting{{.add = true, .add_needs_y0 = true}, 0},
                                         Setting{{.post = true}, 0}, Setting{{.post = true}, 6},
                                         Setting{{.add = true, .post = true}, 0}));

class FamilyModules : public testing::TestWithParam<std::string> {};

// Under HF's names, none of which is a weight's; what hangs there acts, on its own slot only.
TEST_P(FamilyModules, EveryBlockHasItsAttentionItsMlpAndItself) {
  const auto model = load_model(tiny_files(tiny_config(GetParam())), {.dtype = "fp32"});
  std::map<SiteKind, int64_t> count;
  for (const Site& site : model->module_sites()) {
    ++count[site.kind];
    EXPECT_EQ(model->find(site.name).host, nullptr) << site.name;
    for (const Site& weight : model->sites()) EXPECT_NE(weight.name, site.name);
  }
  int64_t layers = 0;
  for (const Site& site : model->sites()) layers = std::max(layers, site.layer + 1);
  EXPECT_EQ(count[SiteKind::attention], layers);
  EXPECT_EQ(count[SiteKind::mlp], layers);
  EXPECT_EQ(count[SiteKind::block], layers);
  EXPECT_EQ(count[SiteKind::stack], 1);
  for (const SiteKind kind : {SiteKind::attention, SiteKind::mlp, SiteKind::block}) {
    const auto site =
        std::find_if(model->module_sites().begin(), model->module_sites().end(),
                     [&](const Site& s) { return s.kind == kind && s.layer == layers - 1; });
    const std::vector<int32_t> ids = {3, 14, 15, 9, 2};
    const torch::NoGradGuard no_grad;
    const Stream stream = make_stream(ids, 1);
    const at::Tensor before = model->forward(stream);
    for (const Hooks hooks : {Hooks{.add = true}, Hooks{.post = true}}) {
      model->find(site->name)
          .slots()
          .attach(1, std::make_shared<Scaled>(hooks, torch::full({model->width()}, 0.7)));
      EXPECT_FALSE(at::allclose(model->forward(stream), before, 1e-2, 1e-2)) << site->name;
      EXPECT_TRUE(at::equal(model->forward(make_stream(ids, 0)), before));
      model->detach(1);
      EXPECT_TRUE(at::equal(model->forward(stream), before));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Families, FamilyModules, testing::ValuesIn(families().names()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace smidgen
