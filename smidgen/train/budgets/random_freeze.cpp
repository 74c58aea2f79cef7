// Uniform freezing: every `period` steps a fresh random share of the layers trains and the others
// rest. The control that papers on layer selection compare themselves with (RST in
// arXiv:2410.11772).
//
// A frozen layer takes part in the forward pass with its values; its moments and step counts rest
// with it.
#include <algorithm>
#include <cmath>
#include <set>

#include "smidgen/base/rng.h"
#include "smidgen/base/schema.h"
#include "smidgen/train/budgets/registry.h"

namespace smidgen {

namespace {

struct RandomFreezeConfig {
  double keep = 0.25;
  int64_t period = 1;
};

template <class V>
void fields(V& v, RandomFreezeConfig& c) {
  v("keep", c.keep,
    {.help = "Share of the layers that trains at a time, at least one layer", .min = 0, .max = 1});
  v("period", c.period, {.help = "Draw anew every so many steps", .min = 1, .unit = "steps"});
}

class RandomFreeze : public Policy {
 public:
  explicit RandomFreeze(RandomFreezeConfig config) : config_(config) {}

  std::vector<Edit> before_step(const LoopView& loop) override {
    if ((loop.step - 1) % config_.period != 0) return {};
    std::set<int64_t> layers;
    for (const SitePlan& site : loop.adapter.plan().sites) {
      if (site.site.layer >= 0) layers.insert(site.site.layer);
    }
    // The draw depends on seed and step alone, so nothing but the edits must be remembered.
    const Rng rng(loop.seed, "random_freeze", static_cast<uint64_t>(loop.step));
    std::vector<std::pair<double, int64_t>> order;
    for (const int64_t layer : layers)
      order.emplace_back(rng.uniform(static_cast<uint64_t>(layer)), layer);
    std::sort(order.begin(), order.end());
    const auto count = static_cast<size_t>(
        std::max(1.0, std::floor(config_.keep * static_cast<double>(layers.size()))));
    std::set<int64_t> training;
    for (size_t i = 0; i < std::min(count, order.size()); ++i) training.insert(order[i].second);

    std::vector<Edit> edits;
    for (const SitePlan& site : loop.adapter.plan().sites) {
      if (site.site.layer < 0) continue;
      const bool freeze = !training.contains(site.site.layer);
      for (const ParamSpec& spec : site.parameters) {
        if (loop.adapter.store().find(spec.path()).frozen() == freeze) continue;
        edits.push_back(
            {.kind = freeze ? Edit::Kind::freeze : Edit::Kind::thaw, .parameter = spec.path()});
      }
    }
    return edits;
  }

 private:
  RandomFreezeConfig config_;
};

class RandomFreezeBudget : public Budget {
 public:
  std::string summary() const override {
    return "A random share of the layers trains, drawn anew every few steps";
  }
  std::string source() const override { return "uniform baseline of arXiv:2410.11772"; }
  Json fields() const override { return describe<RandomFreezeConfig>(); }
  std::unique_ptr<Policy> start(const Json& config) const override {
    return std::make_unique<RandomFreeze>(read_config<RandomFreezeConfig>(config, "policy"));
  }
};

}  // namespace

std::unique_ptr<const Budget> make_random_freeze_budget() {
  return std::make_unique<RandomFreezeBudget>();
}

}  // namespace smidgen
