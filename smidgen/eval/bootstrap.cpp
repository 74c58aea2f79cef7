#include "smidgen/eval/bootstrap.h"

#include <algorithm>
#include <vector>

#include "smidgen/base/error.h"
#include "smidgen/base/rng.h"

namespace smidgen {

Interval paired_bootstrap(std::span<const SampleLoss> a, std::span<const SampleLoss> b,
                          uint64_t seed, int64_t draws) {
  if (a.size() != b.size() || a.empty()) {
    throw Error(ErrorKind::mismatch, str("cannot pair ", a.size(), " samples with ", b.size()));
  }
  std::vector<double> difference(a.size());
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i].tokens != b[i].tokens)
      throw Error(ErrorKind::mismatch, str("sample ", i, " has different answers in the two runs"));
    difference[i] = (b[i].loss_sum - a[i].loss_sum) / static_cast<double>(a[i].tokens);
  }
  std::vector<double> means(static_cast<size_t>(draws));
  for (int64_t draw = 0; draw < draws; ++draw) {
    const Rng rng(seed, "bootstrap", static_cast<uint64_t>(draw));
    double sum = 0;
    for (size_t i = 0; i < difference.size(); ++i)
      sum += difference[rng.below(i, difference.size())];
    means[static_cast<size_t>(draw)] = sum / static_cast<double>(difference.size());
  }
  std::sort(means.begin(), means.end());
  const auto at = [&](double share) {
    return means[static_cast<size_t>(share * static_cast<double>(draws - 1))];
  };
  return {at(0.025), at(0.975)};
}

}  // namespace smidgen
