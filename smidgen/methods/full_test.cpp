#include <gtest/gtest.h>
#include <torch/torch.h>

#include "smidgen/methods/registry.h"

namespace smidgen {
namespace {

TEST(Full, TrainsEverySiteAndATiedWeightOnce) {
  const Method& full = methods().find("full");
  const Plan plan =
      full.plan({{.name = "model.embed_tokens", .kind = SiteKind::embedding, .out = 9, .in = 4},
                 {.name = "model.norm", .kind = SiteKind::norm, .out = 4, .in = 1},
                 {.name = "lm_head",
                  .out = 9,
                  .in = 4,
                  .output_head = true,
                  .tied_to = "model.embed_tokens"}},
                Json::object(), false);
  ASSERT_EQ(plan.sites.size(), 3u);
  EXPECT_EQ(plan.sites[2].parameters[0].path(), plan.sites[0].parameters[0].path());
  EXPECT_EQ(full.capabilities().artefact, Artefact::model);
}

TEST(Full, ExcludesWhatItIsTold) {
  const Plan plan =
      methods().find("full").plan({{.name = "a.q_proj", .out = 2, .in = 2},
                                   {.name = "a.norm", .kind = SiteKind::norm, .out = 2, .in = 1}},
                                  {{"exclude", {"norm"}}}, false);
  ASSERT_EQ(plan.sites.size(), 1u);
  EXPECT_EQ(plan.sites[0].site.name, "a.q_proj");
}

}  // namespace
}  // namespace smidgen
