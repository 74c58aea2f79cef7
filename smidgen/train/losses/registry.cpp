#include "smidgen/train/losses/registry.h"

#include <algorithm>
#include <numeric>

#include <torch/torch.h>

#include "smidgen/base/error.h"

namespace smidgen {

void Tally::add(const std::string& metric, double sum, int64_t count) {
  auto& [total, counted] = sums[metric];
  total += sum;
  counted += count;
}

void Tally::add(const std::string& metric, const at::Tensor& values) {
  add(metric, values.detach().sum(at::kDouble).item<double>(), values.numel());
}

void Tally::add_each(const at::Tensor& losses) {
  const at::Tensor values = losses.detach().contiguous();
  for (int64_t i = 0; i < values.numel(); ++i)
    each.push_back({values.const_data_ptr<double>()[i], 1});
}

std::map<std::string, double> Tally::means() const {
  std::map<std::string, double> out;
  for (const auto& [name, sum] : sums) {
    if (sum.second > 0) out[name] = sum.first / static_cast<double>(sum.second);
  }
  if (out.contains("rewards/chosen") && out.contains("rewards/rejected"))
    out.try_emplace("rewards/margins", out["rewards/chosen"] - out["rewards/rejected"]);
  return out;
}

EvalResult Objective::evaluate(const LossScene& scene, const EvalOptions& options) {
  torch::NoGradGuard no_grad;
  const std::vector<int32_t> lengths = scene.data.unit_lengths();
  std::vector<int64_t> order(lengths.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return lengths[static_cast<size_t>(a)] > lengths[static_cast<size_t>(b)];
  });
  MicroBatches batches;
  int64_t room = 0;
  for (const int64_t unit : order) {
    const int64_t length = lengths[static_cast<size_t>(unit)];
    if (batches.empty() || length > room) {
      batches.emplace_back();
      room = options.micro_tokens;
    }
    batches.back().push_back(unit);
    room -= length;
  }
  begin(scene, batches);
  Tally tally;
  EvalResult result;
  int64_t done = 0;
  for (const auto& units : batches) {
    if (options.stop && options.stop())
      throw Error(ErrorKind::interrupted,
                  str("stopped after ", done, " of ", scene.data.tokens(), " tokens"));
    result.loss_sum += sum(scene, units, tally).item<double>();
    for (const int64_t unit : units) done += lengths[static_cast<size_t>(unit)];
    if (options.progress) options.progress(done, scene.data.tokens());
  }
  result.samples = tally.units;
  result.tokens = static_cast<int64_t>(divisor(tally));
  result.metrics = tally.means();
  if (options.per_sample) {
    SMIDGEN_ASSERT(tally.each.size() == order.size());
    result.per_sample.resize(order.size());
    for (size_t k = 0; k < order.size(); ++k)
      result.per_sample[static_cast<size_t>(order[k])] = tally.each[k];
  }
  return result;
}

const Registry<Loss>& losses() {
  static const Registry<Loss> registry = [] {
    Registry<Loss> r("loss");
    register_all(r);
    return r;
  }();
  return registry;
}

}  // namespace smidgen
