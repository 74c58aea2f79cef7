#include "smidgen/methods/merge.h"

#include <torch/torch.h>

#include "smidgen/kernels/formats/registry.h"

namespace smidgen {

std::map<std::string, Delta> combine(const Model& model,
                                     const std::vector<const Adapter*>& adapters,
                                     const std::vector<double>& weights) {
  SMIDGEN_ASSERT(adapters.size() == weights.size());
  struct Terms {
    std::vector<Delta> deltas;
    std::vector<double> weights;
  };
  std::map<std::string, Terms> terms;
  for (size_t i = 0; i < adapters.size(); ++i) {
    const Adapter& a = *adapters[i];
    if (!a.method().capabilities().linear && weights[i] != 1) {
      throw Error(ErrorKind::unsupported,
                  str("a ", a.method_name(), " adapter cannot be scaled by ", weights[i]));
    }
    for (const SitePlan& site : a.plan().sites) {
      const HostSite at = model.find(site.site.name);
      const auto delta = a.method().delta(site, a.values(site), {at.host, at.index});
      if (!delta)
        throw Error(ErrorKind::unsupported,
                    str("a ", a.method_name(), " adapter has no difference to merge"));
      terms[site.site.name].deltas.push_back(*delta);
      terms[site.site.name].weights.push_back(weights[i]);
    }
  }
  std::map<std::string, Delta> sums;
  for (const auto& [site, term] : terms) sums.emplace(site, combine(term.deltas, term.weights));
  return sums;
}

void merge(Model& model, const std::vector<const Adapter*>& adapters,
           const std::vector<double>& weights) {
  for (const auto& host : model.hosts()) {
    if (host->weight().merged())
      throw Error(ErrorKind::usage, "an adapter is merged already", host->sites().front().name);
  }
  const auto deltas = combine(model, adapters, weights);
  for (const auto& host : model.hosts()) {
    struct Piece {
      int64_t begin, end;
      const Delta* delta;
    };
    std::vector<Piece> pieces;
    for (size_t i = 0; i < host->sites().size(); ++i) {
      const Site& site = host->sites()[i];
      const auto found = deltas.find(site.name);
      if (found == deltas.end()) continue;
      if (!site.tied_to.empty()) {
        // The owner's own delta covers both places when it is there (full tuning); otherwise
        // merging would move the owner too.
        if (deltas.contains(site.tied_to)) continue;
        throw Error(ErrorKind::unsupported, str("cannot merge into ", site.name,
                                                ": its weight is also that of ", site.tied_to));
      }
      const auto [begin, end] = host->weight_rows(i);
      pieces.push_back({begin, end, &found->second});
    }
    if (pieces.empty()) continue;
    const BaseWeight& base = host->weight().original();
    WeightSource source;
    source.rows = base.out_features();
    source.columns = base.in_features();
    source.name = host->sites().front().name;
    source.read = [&](int64_t row0, int64_t row1, float* out) {
      torch::NoGradGuard no_grad;
      at::Tensor rows = base.tile(row0, row1);
      for (const Piece& piece : pieces) {
        const int64_t begin = std::max(row0, piece.begin), end = std::min(row1, piece.end);
        if (begin >= end) continue;
        at::Tensor part = rows.narrow(0, begin - row0, end - begin);
        add_to(*piece.delta, begin - piece.begin, part);
      }
      std::copy_n(rows.contiguous().const_data_ptr<float>(), rows.numel(), out);
    };
    host->weight().merge(
        find_weight_format(std::string(base.format())).pack(source, base.arithmetic()));
  }
}

void merge(Model& model, const Adapter& adapter) {
  merge(model, {&adapter}, {1.0});
}

void unmerge(Model& model) {
  for (const auto& host : model.hosts()) host->weight().unmerge();
}

}  // namespace smidgen
