#include "smidgen/delta/subspace/projection.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <torch/torch.h>

#include "smidgen/base/error.h"
#include "smidgen/base/rng.h"

namespace smidgen {

namespace {

constexpr int64_t kPiece = 1024;  // columns that are turned into fp64 at a time

// Column j of the Gaussian matrix does not depend on k, and the first k columns of Q on no later
// one.
at::Tensor random_basis(int64_t m, int64_t k, uint64_t seed, const std::string& tensor) {
  const Rng rng(seed, "subspace", 0, tensor);
  at::Tensor normal = at::empty({k, m}, at::kDouble);
  double* value = normal.mutable_data_ptr<double>();
  for (int64_t i = 0; i < k * m; ++i) value[i] = rng.normal(static_cast<uint64_t>(i));
  return std::get<0>(at::linalg_qr(normal.t(), "reduced"));
}

// Places of the basis that random_k takes: the first k of a keyed shuffle, so nested in k too.
std::vector<int64_t> drawn(int64_t p, int64_t k, uint64_t seed, const std::string& tensor) {
  if (k == 0) return {};
  const Permutation order(static_cast<uint64_t>(p), seed, str("subspace ", tensor), 0);
  std::vector<int64_t> places;
  for (int64_t i = 0; i < k; ++i)
    places.push_back(static_cast<int64_t>(order(static_cast<uint64_t>(i))));
  return places;
}

void check_fraction(double fraction) {
  if (!(fraction > 0 && fraction < 1))
    throw Error(ErrorKind::usage, str("a fraction of ", fraction, " is not between 0 and 1"));
}

void check_shapes(const std::string& name, const Delta& u, const Delta& v) {
  if (rows(u) != rows(v) || columns(u) != columns(v))
    throw Error(ErrorKind::mismatch,
                str("the shape is [", rows(u), ", ", columns(u), "] in the update and [", rows(v),
                    ", ", columns(v), "] in the alignment"),
                name);
}

// The basis of V; without directions where V does not have the tensor.
LeftBasis alignment_basis(const std::string& name, const Delta& u, const std::optional<Delta>& v) {
  if (!v) return {.vectors = at::empty({rows(u), 0}, at::kDouble)};
  check_shapes(name, u, *v);
  try {
    return left_basis(*v);
  } catch (const Error& error) {
    throw Error(error.kind(), error.message() + " in the alignment", name, error.hint());
  }
}

// ||q_i^T U||^2 of every column of Q.
std::vector<double> energies(const at::Tensor& q, const Delta& u) {
  at::Tensor sums = at::zeros({q.size(1)}, at::kDouble);
  if (const auto* low = std::get_if<LowRankDelta>(&u)) {
    const at::Tensor a = low->a.to(at::kDouble);
    const at::Tensor left = at::mm(q.t(), low->b.to(at::kDouble)) * low->scale;
    sums = at::mm(left, at::mm(a, a.t())).mul(left).sum(1);
  } else {
    const at::Tensor dense = tile(u, 0, rows(u));
    for (int64_t at = 0; at < dense.size(1); at += kPiece) {
      const int64_t count = std::min(kPiece, dense.size(1) - at);
      sums += at::mm(q.t(), dense.narrow(1, at, count).to(at::kDouble)).square_().sum(1);
    }
  }
  const double* value = sums.const_data_ptr<double>();
  return {value, value + sums.numel()};
}

class Projected : public Update {
 public:
  Projected(std::shared_ptr<const Update> update, std::shared_ptr<const Update> alignment,
            const Subspace& subspace, ProjectionMode mode)
      : update_(std::move(update)),
        alignment_(std::move(alignment)),
        subspace_(subspace),
        mode_(mode) {}
  std::string label() const override { return update_->label(); }
  const std::vector<UpdateTensor>& tensors() const override { return update_->tensors(); }
  const std::vector<std::string>& left_out() const override { return update_->left_out(); }
  bool low_rank() const override { return false; }
  std::optional<Delta> read(const std::string& name) const override {
    const auto u = update_->read(name);
    if (!u) return std::nullopt;
    if (!std::isfinite(dot(*u, *u)))
      throw Error(ErrorKind::data, str("the update holds NaN or infinity in ", update_->label()),
                  name);
    const LeftBasis basis = alignment_basis(name, *u, alignment_->read(name));
    return project(directions(basis, columns(*u), subspace_, name), *u, mode_);
  }

 private:
  std::shared_ptr<const Update> update_, alignment_;
  Subspace subspace_;
  ProjectionMode mode_;
};

// Of one tensor: how much of U each number of directions holds.
struct TensorSweep {
  std::string block;
  double square = 0;
  std::vector<double> top, random_k, random;  // by fraction: ||U_par||^2
  std::vector<double> chance;                 // by fraction: k / m
};

double first(const std::vector<double>& values, int64_t k) {
  return std::accumulate(values.begin(),
                         values.begin() + std::min<int64_t>(k, static_cast<int64_t>(values.size())),
                         0.0);
}

TensorSweep sweep_tensor(const std::string& label, const std::string& name, const Delta& u,
                         const std::optional<Delta>& v, const std::vector<double>& fractions,
                         uint64_t seed) {
  TensorSweep out{.block = block_of(name), .square = dot(u, u)};
  if (!std::isfinite(out.square))
    throw Error(ErrorKind::data, str("the update holds NaN or infinity in ", label), name);
  const int64_t m = rows(u), n = columns(u);
  const LeftBasis basis = alignment_basis(name, u, v);
  int64_t most = 0;
  for (const double fraction : fractions) most = std::max(most, fraction_rank(m, n, fraction));
  const std::vector<double> along = energies(basis.vectors, u);
  const std::vector<double> chance = energies(random_basis(m, most, seed, name), u);
  for (const double fraction : fractions) {
    const int64_t k = fraction_rank(m, n, fraction);
    out.top.push_back(first(along, k));
    double sum = 0;
    for (const int64_t place : drawn(basis.rank(), std::min(k, basis.rank()), seed, name))
      sum += along[static_cast<size_t>(place)];
    out.random_k.push_back(sum);
    out.random.push_back(first(chance, k));
    out.chance.push_back(static_cast<double>(k) / static_cast<double>(m));
  }
  return out;
}

}  // namespace

std::string_view to_string(Directions directions) {
  return directions == Directions::top        ? "top"
         : directions == Directions::random_k ? "random_k"
                                              : "random";
}

at::Tensor directions(const LeftBasis& alignment, int64_t n, const Subspace& subspace,
                      const std::string& tensor) {
  const torch::NoGradGuard no_grad;
  check_fraction(subspace.fraction);
  const int64_t k = fraction_rank(alignment.rows(), n, subspace.fraction);
  if (subspace.directions == Directions::random)
    return random_basis(alignment.rows(), k, subspace.seed, tensor);
  const int64_t most = std::min(k, alignment.rank());
  if (subspace.directions == Directions::top) return alignment.vectors.narrow(1, 0, most);
  const std::vector<int64_t> places = drawn(alignment.rank(), most, subspace.seed, tensor);
  return alignment.vectors.index_select(1, at::tensor(places, at::kLong));
}

Delta project(const at::Tensor& q, const Delta& update, ProjectionMode mode) {
  const torch::NoGradGuard no_grad;
  const auto side = [&](const at::Tensor& whole) {
    at::Tensor out = at::empty_like(whole);
    for (int64_t at = 0; at < whole.size(1); at += kPiece) {
      const int64_t count = std::min(kPiece, whole.size(1) - at);
      const at::Tensor u = whole.narrow(1, at, count).to(at::kDouble);
      const at::Tensor parallel = at::mm(q, at::mm(q.t(), u));
      out.narrow(1, at, count)
          .copy_(mode == ProjectionMode::same   ? parallel
                 : mode == ProjectionMode::orth ? u - parallel
                                                : -parallel);
    }
    return out;
  };
  if (const auto* low = std::get_if<LowRankDelta>(&update))
    return LowRankDelta{low->a, side(low->b), low->scale};
  return DenseDelta{side(tile(update, 0, rows(update)))};
}

std::shared_ptr<const Update> projected(std::shared_ptr<const Update> update,
                                        std::shared_ptr<const Update> alignment,
                                        const Subspace& subspace, ProjectionMode mode) {
  check_fraction(subspace.fraction);
  return std::make_shared<Projected>(std::move(update), std::move(alignment), subspace, mode);
}

Sweep sweep(const Update& update, const Update& alignment, const std::vector<double>& fractions,
            uint64_t seed, const std::function<void(int64_t done, int64_t total)>& progress) {
  const torch::NoGradGuard no_grad;
  for (const double fraction : fractions) check_fraction(fraction);
  Sweep out;
  double uu = 0, vv = 0, uv = 0;
  int64_t done = 0;
  for (const Directions kind : {Directions::top, Directions::random_k, Directions::random}) {
    for (const double fraction : fractions) out.rows.push_back({{kind, fraction, seed}});
  }
  for (const UpdateTensor& tensor : update.tensors()) {
    const auto u = update.read(tensor.name), v = alignment.read(tensor.name);
    if (!v) out.without_alignment.push_back(tensor.name);
    const TensorSweep one = sweep_tensor(update.label(), tensor.name, *u, v, fractions, seed);
    uu += one.square;
    if (v) vv += dot(*v, *v), uv += dot(*u, *v);
    for (size_t i = 0; i < out.rows.size(); ++i) {
      const size_t f = i % fractions.size(), kind = i / fractions.size();
      const double kept = (kind == 0 ? one.top : kind == 1 ? one.random_k : one.random)[f];
      out.rows[i].parallel += kept;
      out.rows[i].expected += one.chance[f] * one.square;
      out.rows[i].removed_by_block[one.block] += one.square - kept;
    }
    if (progress) progress(++done, static_cast<int64_t>(update.tensors().size()));
  }
  if (uu == 0) throw Error(ErrorKind::data, "the update is zero everywhere", update.label());
  if (vv == 0)
    throw Error(ErrorKind::data, "the alignment is zero wherever the update is", alignment.label());
  for (SweepRow& row : out.rows) {
    row.parallel /= uu + 1e-12;
    row.expected /= uu + 1e-12;
  }
  out.update = std::sqrt(uu);
  out.alignment = std::sqrt(vv);
  out.cosine = uv / (out.update * out.alignment);
  return out;
}

Json Sweep::to_json() const {
  Json out = {{"norm_update", update},
              {"norm_alignment", alignment},
              {"cosine", cosine},
              {"without_alignment", without_alignment},
              {"rows", Json::array()}};
  for (const SweepRow& row : rows) {
    Json one = {{"directions", std::string(to_string(row.subspace.directions))},
                {"fraction", row.subspace.fraction},
                {"parallel", row.parallel},
                {"orthogonal", 1 - row.parallel},
                {"expected_random", row.expected},
                {"removed_by_block", Json::object()}};
    for (const auto& [block, square] : row.removed_by_block)
      one["removed_by_block"][block.empty() ? "other" : block] = square;
    out["rows"].push_back(std::move(one));
  }
  return out;
}

const std::vector<double>& standard_fractions() {
  static const std::vector<double> fractions = {0.01, 0.25, 0.5, 0.75, 0.99};
  return fractions;
}

}  // namespace smidgen
