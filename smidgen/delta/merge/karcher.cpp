// Mean of directions on the sphere that has the least sum of squared angles (Karcher mean), times
// the mean length. With u_i = v_i / |v_i| of the k models that are longer than tol:
//   m = sum_i u_i / |sum_i u_i|, the first u_i where that sum / k is shorter than tol
//   repeat max_iter times:  c_i = u_i . m,  th_i = acos(c_i),
//     h = 1/k sum_i th_i / sin(th_i) (u_i - c_i m), without models where th_i < tol
//     stop where |h| < tol;  m = cos|h| m + sin|h| h/|h|
//   result = m mean_i |v_i|, over all models
// A base is averaged in like any model; zero where no model is longer than tol. As mergekit 0.1.5
// (arXiv:2603.04972), which iterates over tensors in fp32, where models closer than 1e-3 have no
// angle left. Differs: a model opposite to m (th_i > pi - 1e-7), to which no way is the shortest,
// is left out of a step; mergekit multiplies what rounding leaves by up to 1e16.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "smidgen/delta/merge/gram.h"

namespace smidgen {

namespace {

constexpr double kOpposite = std::numbers::pi - 1e-7;

struct Karcher {
  int64_t most = 0;
  double tol = 0;

  void operator()(const Gram& gram, std::span<double> weights) const;

 private:
  // Moves `mean` a step; false where it stands still. unit[i] v_i is u_i, and 0 where left out.
  bool step(const Gram& gram, std::span<const double> unit, double share,
            std::span<double> mean) const;
};

bool Karcher::step(const Gram& gram, std::span<const double> unit, double share,
                   std::span<double> mean) const {
  std::vector<double> tangent(gram.size());
  double along = 0;
  for (size_t i = 0; i < gram.size(); ++i) {
    if (unit[i] == 0) continue;
    const double cosine = std::clamp(unit[i] * gram.dot(i, mean), -1.0, 1.0);
    const double angle = std::acos(cosine);
    if (angle < tol || angle > kOpposite) continue;
    const double pull = share * angle / std::sin(angle);
    tangent[i] = pull * unit[i];
    along += pull * cosine;
  }
  for (size_t i = 0; i < gram.size(); ++i) tangent[i] -= along * mean[i];
  const double length = gram.norm(tangent);
  if (length < tol) return false;
  for (size_t i = 0; i < gram.size(); ++i)
    mean[i] = std::cos(length) * mean[i] + std::sin(length) / length * tangent[i];
  const double norm = gram.norm(mean);
  if (norm > tol)
    for (double& m : mean) m /= norm;
  return true;
}

void Karcher::operator()(const Gram& gram, std::span<double> weights) const {
  const size_t n = gram.size();
  std::fill(weights.begin(), weights.end(), 0);
  if (n == 1) {
    weights[0] = 1;
    return;
  }
  std::vector<double> unit(n);
  double length = 0;
  size_t taken = 0;
  for (size_t i = 0; i < n; ++i) {
    length += gram.norm(i) / static_cast<double>(n);
    if (gram.norm(i) <= tol) continue;
    unit[i] = 1 / gram.norm(i);
    ++taken;
  }
  if (taken == 0) return;
  const double share = 1.0 / static_cast<double>(taken);
  for (size_t i = 0; i < n; ++i) weights[i] = share * unit[i];
  const double norm = gram.norm(weights);
  if (norm < tol) {
    const size_t first =
        std::find_if(unit.begin(), unit.end(), [](double u) { return u != 0; }) - unit.begin();
    std::fill(weights.begin(), weights.end(), 0);
    weights[first] = unit[first];
  } else {
    for (double& m : weights) m /= norm;
  }
  for (int64_t i = 0; i < most && step(gram, unit, share, weights); ++i) {
  }
  for (double& m : weights) m *= length;
}

class KarcherMethod : public MergeMethod {
 public:
  std::string summary() const override { return "Mean on the sphere by angles (Karcher)"; }
  std::string source() const override { return "arXiv:2603.04972"; }
  MergeTraits traits() const override { return {}; }
  std::vector<MergeField> fields() const override {
    using enum MergeField::Kind;
    using enum MergeField::Scope;
    return {{"max_iter", integer, shared, 10, "Most steps"},
            {"tol", number, shared, 1e-5, "Shorter steps, angles and models count as none"}};
  }
  std::unique_ptr<TensorMerge> start(const MergeTask& task) const override {
    return std::make_unique<GramMerge>(
        task, GramPlan{},
        Karcher{.most = static_cast<int64_t>(task.value("max_iter")), .tol = task.value("tol")});
  }
};

}  // namespace

std::unique_ptr<const MergeMethod> make_karcher_merge_method() {
  return std::make_unique<KarcherMethod>();
}

}  // namespace smidgen
