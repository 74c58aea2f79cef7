#include "smidgen/methods/merge.h"

#include <torch/torch.h>

#include "smidgen/kernels/formats/registry.h"

namespace smidgen {

Combined combine(const Model& model, const std::vector<const Adapter*>& adapters,
                 const std::vector<double>& weights) {
  SMIDGEN_ASSERT(adapters.size() == weights.size());
  struct Terms {
    std::vector<Delta> deltas;
    std::vector<double> weights;
  };
  std::map<std::string, Terms> terms;
  Combined sums;
  for (size_t i = 0; i < adapters.size(); ++i) {
    const Adapter& a = *adapters[i];
    a.check_scalable(weights[i]);
    for (const SitePlan& site : a.plan().sites) {
      const HostSite at = model.find(site.site.name);
      const BaseView base{at.host, at.index};
      const Tensors values = a.values(site);
      const auto delta = a.part(site).delta(site, values, base);
      const at::Tensor bias = a.part(site).bias_delta(site, values, base);
      if (!delta && !bias.defined())
        throw Error(ErrorKind::unsupported,
                    str("a ", a.method_name(), " adapter cannot be merged: ",
                        a.method().why_not_merged().empty() ? "it has no difference to merge"
                                                            : a.method().why_not_merged()),
                    site.site.name, "use the adapter beside its base: --adapter PATH");
      if (delta) {
        terms[site.site.name].deltas.push_back(*delta);
        terms[site.site.name].weights.push_back(weights[i]);
      }
      if (bias.defined()) {
        at::Tensor& sum = sums.biases[site.site.name];
        sum = sum.defined() ? sum + bias * weights[i] : bias * weights[i];
      }
    }
  }
  for (const auto& [site, term] : terms)
    sums.weights.emplace(site, combine(term.deltas, term.weights));
  return sums;
}

namespace {

struct Piece {
  int64_t begin, end;
  Delta delta;
};

// In the base's own format, or as its arithmetic reads it where the base is packed. One that keeps
// its source adds again for each tile that is asked for, so the source owns what it adds.
std::shared_ptr<const BaseWeight> moved(std::shared_ptr<const BaseWeight> base,
                                        const std::string& name, std::vector<Piece> pieces) {
  WeightSource source;
  source.rows = base->out_features();
  source.columns = base->in_features();
  source.name = name;
  source.read = [base, pieces = std::move(pieces)](int64_t row0, int64_t row1, float* out) {
    torch::NoGradGuard no_grad;
    at::Tensor rows = base->tile(row0, row1);
    for (const Piece& piece : pieces) {
      const int64_t begin = std::max(row0, piece.begin), end = std::min(row1, piece.end);
      if (begin >= end) continue;
      at::Tensor part = rows.narrow(0, begin - row0, end - begin);
      add_to(piece.delta, begin - piece.begin, part);
    }
    std::copy_n(rows.contiguous().const_data_ptr<float>(), rows.numel(), out);
  };
  return find_weight_format(std::string(base->changed_format())).pack(source, base->arithmetic());
}

bool equal(const BaseWeight& a, const BaseWeight& b) {
  constexpr int64_t kRows = 1024;
  for (int64_t row = 0; row < a.out_features(); row += kRows) {
    const int64_t end = std::min(a.out_features(), row + kRows);
    if (!at::equal(a.tile(row, end), b.tile(row, end))) return false;
  }
  return true;
}

void merge_biases(WeightHost& host, const std::map<std::string, at::Tensor>& biases) {
  at::Tensor sum;
  for (size_t i = 0; i < host.sites().size(); ++i) {
    const auto found = biases.find(host.sites()[i].name);
    if (found == biases.end()) continue;
    if (!host.bias()) {
      throw Error(ErrorKind::unsupported,
                  str("the adapter adds a bias to ", host.sites()[i].name,
                      ", which has none, so it cannot be merged"),
                  host.sites()[i].name, "use the adapter beside its base");
    }
    if (!sum.defined()) sum = host.bias()->clone();
    const auto [row0, row1] = host.weight_rows(i);
    sum.narrow(0, row0, row1 - row0).add_(found->second);
  }
  if (sum.defined()) host.merge_bias(sum);
}

}  // namespace

namespace {

std::pair<std::vector<const Adapter*>, std::vector<double>> members(const AdapterSet& adapters,
                                                                    const Mix& mix) {
  std::vector<const Adapter*> pointers;
  std::vector<double> weights;
  for (const Share& share : mix) {
    pointers.push_back(&adapters.find(share.name));
    weights.push_back(share.scale);
  }
  return {std::move(pointers), std::move(weights)};
}

}  // namespace

Combined combine(const Model& model, const AdapterSet& adapters, const Mix& mix) {
  const auto [pointers, weights] = members(adapters, mix);
  return combine(model, pointers, weights);
}

void merge(Model& model, const std::vector<const Adapter*>& adapters,
           const std::vector<double>& weights) {
  for (const auto& host : model.hosts()) {
    if (host->weight().merged())
      throw Error(ErrorKind::usage, "an adapter is merged already", host->sites().front().name);
  }
  const Combined sums = combine(model, adapters, weights);
  for (const auto& host : model.hosts()) {
    std::vector<Piece> pieces;
    for (size_t i = 0; i < host->sites().size(); ++i) {
      const auto found = sums.weights.find(host->sites()[i].name);
      if (found == sums.weights.end()) continue;
      const auto [begin, end] = host->weight_rows(i);
      pieces.push_back({begin, end, found->second});
    }
    merge_biases(*host, sums.biases);
    if (pieces.empty()) continue;
    const Site& site = host->sites().front();
    auto made = moved(host->weight().shared_original(), site.name, std::move(pieces));
    if (!site.tied_to.empty()) {
      const HostedWeight& owner = model.find(site.tied_to).host->weight();
      if (owner.merged() && equal(owner.current(), *made)) made = owner.shared_merged();
    }
    host->weight().merge(std::move(made));
  }
}

void merge(Model& model, const Adapter& adapter) {
  merge(model, {&adapter}, {1.0});
}

void merge(Model& model, const AdapterSet& adapters, const Mix& mix) {
  const auto [pointers, weights] = members(adapters, mix);
  merge(model, pointers, weights);
}

void unmerge(Model& model) {
  for (const auto& host : model.hosts()) {
    host->weight().unmerge();
    host->unmerge_bias();
  }
}

}  // namespace smidgen
