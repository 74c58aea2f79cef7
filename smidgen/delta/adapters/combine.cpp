#include "smidgen/delta/adapters/combine.h"

#include <algorithm>
#include <cmath>
#include <map>

#include <torch/torch.h>

#include "smidgen/base/log.h"
#include "smidgen/base/version.h"
#include "smidgen/delta/adapters/combine_checks.h"
#include "smidgen/delta/adapters/truncate.h"

namespace smidgen {

namespace {

using Over = Combination::Over;
using Rule = Combination::Rule;

// One adapter's part in one module.
struct Term {
  const LoraFile* file;
  const LoraPlace* place;
  double weight;  // w
};

struct Combined {
  LoraValues values;
  double sum2 = 0;   // squared norm of what the factors should amount to
  double miss2 = 0;  // and of what they miss of it
};

double square(double x) {
  return x * x;
}

class Combiner {
 public:
  Combiner(const Combination& type, const CombineOptions& options) : type_(type), o_(options) {}

  Combined combine(const std::vector<Term>& terms) const {
    std::vector<LoraValues> values;
    for (const Term& term : terms) values.push_back(term.file->read(*term.place));
    Combined result = type_.over == Over::stack     ? stack(terms, values)
                      : type_.over == Over::factors ? by_factor(terms, values)
                                                    : by_product(terms, values);
    result.values.bias = bias(terms, values);
    return result;
  }

 private:
  // sum w s B A, as factors.
  static LowRankDelta sum(const std::vector<Term>& terms, const std::vector<LoraValues>& values) {
    std::vector<at::Tensor> a, b;
    for (size_t i = 0; i < terms.size(); ++i) {
      a.push_back(values[i].a * (terms[i].weight * terms[i].place->scale));
      b.push_back(values[i].b);
    }
    return {at::cat(a, 0), at::cat(b, 1), 1};
  }

  MixSettings settings(const Term& term, const char* part) const {
    return {.density = o_.density.value_or(1),
            .by_count = o_.sign == "frequency",
            .seed = o_.seed.value_or(0),
            .stream = str(term.place->module, " ", part)};
  }

  Combined stack(const std::vector<Term>& terms, const std::vector<LoraValues>& values) const {
    const LowRankDelta joined = sum(terms, values);
    return {.values = {joined.a, joined.b, {}}, .sum2 = square(norm(joined))};
  }

  Combined by_factor(const std::vector<Term>& terms, const std::vector<LoraValues>& values) const {
    std::vector<at::Tensor> a, b;
    std::vector<double> on_a, on_b;
    for (size_t i = 0; i < terms.size(); ++i) {
      const LoraPlace& place = *terms[i].place;
      if (place.rank != terms[0].place->rank) {
        throw Error(ErrorKind::usage,
                    str("'", type_.name, "' adds factors up, and those of ", place.module,
                        " have rank ", terms[0].place->rank, " in ", terms[0].file->label(),
                        " and ", place.rank, " in ", terms[i].file->label()),
                    "type", "cat and the types that end in svd take different ranks");
      }
      const double weight = terms[i].weight * place.scale;
      on_b.push_back(std::sqrt(std::abs(weight)));
      on_a.push_back(weight < 0 ? -on_b.back() : on_b.back());
      a.push_back(values[i].a);
      b.push_back(values[i].b);
    }
    Combined result;
    result.values = {mix(type_.rule, a, on_a, settings(terms[0], "A")),
                     mix(type_.rule, b, on_b, settings(terms[0], "B")),
                     {}};
    if (type_.rule == Rule::sum) {
      const LowRankDelta wanted = sum(terms, values);
      result.sum2 = square(norm(wanted));
      result.miss2 = miss(wanted, {result.values.a, result.values.b, 1});
    }
    return result;
  }

  Combined by_product(const std::vector<Term>& terms, const std::vector<LoraValues>& values) const {
    int64_t rank = 0;
    for (const Term& term : terms) rank = std::max(rank, term.place->rank);
    rank = o_.rank.value_or(rank);
    if (type_.rule == Rule::sum) return approximate(sum(terms, values), rank);
    std::vector<at::Tensor> dense;
    std::vector<double> weights;
    for (size_t i = 0; i < terms.size(); ++i) {
      dense.push_back(at::matmul(values[i].b, values[i].a).mul_(terms[i].place->scale));
      weights.push_back(terms[i].weight);
    }
    return approximate(mix(type_.rule, dense, weights, settings(terms[0], "BA")), rank);
  }

  template <class Matrix>
  Combined approximate(const Matrix& matrix, int64_t rank) const {
    const Decomposition parts = decompose(matrix, rank);
    LowRankDelta low = factors(parts, ScaleOn::b);
    if (parts.s.size(0) == 0) {  // nothing is left of it, and rank 0 is no adapter
      low.a = at::zeros({1, low.a.size(1)}, at::kFloat);
      low.b = at::zeros({low.b.size(0), 1}, at::kFloat);
    }
    Combined result{.values = {low.a, low.b, {}}, .sum2 = parts.norm2, .miss2 = parts.left2};
    if (o_.clamp && parts.s.size(0) > 0) {
      clamp(result.values.a, result.values.b);
      result.miss2 = miss(matrix, {result.values.a, result.values.b, 1});
    }
    return result;
  }

  static double miss(const LowRankDelta& wanted, const LowRankDelta& got) {
    return square(norm(smidgen::combine({got, wanted}, {1, -1})));
  }
  static double miss(const at::Tensor& wanted, const LowRankDelta& got) {
    return square(norm(DenseDelta{wanted - at::matmul(got.b, got.a)}));
  }

  // Both factors to +- a quantile of all their elements.
  void clamp(at::Tensor& a, at::Tensor& b) const {
    std::vector<float> all(static_cast<size_t>(a.numel() + b.numel()));
    std::copy_n(b.const_data_ptr<float>(), b.numel(), all.begin());
    std::copy_n(a.const_data_ptr<float>(), a.numel(), all.begin() + b.numel());
    // Between the two nearest elements, as torch.quantile does by default.
    const double position = *o_.clamp * static_cast<double>(all.size() - 1);
    const auto below = all.begin() + static_cast<int64_t>(position);
    std::nth_element(all.begin(), below, all.end());
    const double low = *below;
    const double high = below + 1 == all.end() ? low : *std::min_element(below + 1, all.end());
    const double bound = low + (high - low) * (position - std::floor(position));
    if (!(bound > 0)) {
      throw Error(
          ErrorKind::usage,
          str("the quantile ", *o_.clamp, " of the factors is ", bound, ", which is no bound"),
          "clamp", "take one well above 0.5, for example 0.99");
    }
    a = a.clamp(-bound, bound);
    b = b.clamp(-bound, bound);
  }

  at::Tensor bias(const std::vector<Term>& terms, const std::vector<LoraValues>& values) const {
    std::vector<at::Tensor> own;
    std::vector<double> weights;
    bool any = false;
    for (size_t i = 0; i < terms.size(); ++i) {
      const at::Tensor& b = values[i].bias;
      any = any || b.defined();
      own.push_back(b.defined() ? b * terms[i].place->scale
                                : at::zeros({terms[i].place->out}, at::kFloat));
      weights.push_back(terms[i].weight);
    }
    return any ? mix(type_.rule, own, weights, settings(terms[0], "bias")) : at::Tensor();
  }

  const Combination& type_;
  const CombineOptions& o_;
};

// Of one adapter that passes as it is.
bool unchanged(const std::vector<WeightedAdapter>& adapters, const Combination& type,
               const CombineOptions& o) {
  if (adapters.size() != 1 || adapters[0].weight != 1 || o.clamp) return false;
  if (type.sparse() && o.density != 1) return false;
  int64_t rank = 0;
  for (const LoraPlace& place : adapters[0].file->places()) rank = std::max(rank, place.rank);
  return !o.rank || *o.rank >= rank;
}

void write_unchanged(const LoraFile& file, const Json& sidecar, const fs::path& out) {
  std::vector<NamedTensor> tensors;
  for (const std::string& name : file.files().tensors->names())
    tensors.push_back({name, file.files().tensors->view(name)});
  for (const LoraPlace& place : file.places()) file.read(place);  // refuses what is not finite
  write_adapter(out, file.config(), tensors, sidecar);
}

std::map<std::string, std::vector<Term>> by_module(const std::vector<WeightedAdapter>& adapters) {
  std::map<std::string, std::vector<Term>> modules;
  for (const WeightedAdapter& adapter : adapters) {
    for (const LoraPlace& place : adapter.file->places())
      modules[place.module].push_back({adapter.file, &place, adapter.weight});
  }
  return modules;
}

// Where an embedding and its head share one update (ensure_weight_tying), PEFT's file holds the
// head's as the transpose of the embedding's. The embedding that `module` repeats, or null.
const LoraPlace* tied_embedding(const std::vector<WeightedAdapter>& adapters,
                                const std::string& module) {
  const LoraPlace* found = nullptr;
  for (const WeightedAdapter& adapter : adapters) {
    const LoraFile& file = *adapter.file;
    const LoraPlace* head = file.find(module);
    const auto tying = file.config().find("ensure_weight_tying");
    if (!head || head->embedding || tying == file.config().end() || *tying != true) return nullptr;
    const auto same = [&](const LoraPlace& e) {
      if (!e.embedding || e.in != head->out || e.out != head->in || e.rank != head->rank)
        return false;
      const LoraValues x = file.read(e), y = file.read(*head);
      return at::equal(x.a.t(), y.b) && at::equal(x.b.t(), y.a);
    };
    const auto own = std::find_if(file.places().begin(), file.places().end(), same);
    if (own == file.places().end() || (found && found->module != own->module)) return nullptr;
    found = &*own;
  }
  return found;
}

double relative(double miss2, double sum2) {
  return sum2 > 0 ? std::sqrt(std::max(0.0, miss2) / sum2) : 0;
}

void warn_of_factors(const Combination& type, const std::vector<WeightedAdapter>& adapters,
                     double error) {
  if (type.over != Over::factors || adapters.size() < 2) return;
  const bool signs = std::any_of(adapters.begin(), adapters.end(),
                                 [](const WeightedAdapter& a) { return a.weight < 0; });
  if (type.rule == Rule::sum ? error < 0.01 : !signs) return;
  std::string off;
  if (type.rule == Rule::sum)
    off = str(": the result is off by ", std::round(error * 1000) / 10, " % of the weighted sum");
  log_note("'", type.name, "' adds factors up, so that B of one adapter meets A of another", off,
           signs ? ", and subtracting an adapter this way does not take it away" : "",
           "; cat is exact, and ", type.rule == Rule::sum ? "svd" : str(type.name, "_svd"),
           " combines the updates themselves");
}

}  // namespace

Json combine_adapters(const std::vector<WeightedAdapter>& given, const CombineOptions& options,
                      const fs::path& out) {
  const Combination& type = find_combination(options.type);
  check_settings(type, options);
  if (given.empty()) throw Error(ErrorKind::usage, "there is no adapter to combine", "adapter");
  check_same_base(given, options.allow_other_base);
  // In what is linear in the weights, 0 leaves nothing. Elections count adapters, whatever they
  // weigh.
  std::vector<WeightedAdapter> adapters = given;
  if (!type.elects())
    std::erase_if(adapters, [](const WeightedAdapter& a) { return a.weight == 0; });
  if (adapters.empty())
    throw Error(ErrorKind::usage, "all weights are 0, and nothing is left to combine", "adapter");

  Json report = {{"type", type.name}, {"adapters", Json::array()}};
  for (const WeightedAdapter& adapter : given)
    report["adapters"].push_back({{"path", adapter.file->label()}, {"weight", adapter.weight}});
  for (const auto& [key, value] :
       {std::pair<const char*, Json>{"density", options.density ? Json(*options.density) : Json()},
        {"majority_sign", options.sign ? Json(*options.sign) : Json()},
        {"clamp", options.clamp ? Json(*options.clamp) : Json()},
        {"seed", options.seed ? Json(*options.seed) : Json()}}) {
    if (!value.is_null()) report[key] = value;
  }
  Json sidecar = common_sidecar(adapters);
  sidecar["smidgen"] = version();

  LoraFolder folder(joined_config(adapters));
  const bool whole = unchanged(adapters, type, options);
  const Combiner combiner(type, options);
  const bool measured = type.over == Over::product || type.rule == Rule::sum;
  double sum2 = 0, miss2 = 0;
  Json modules = Json::object();
  int64_t rank = 0;
  std::map<std::string, LoraValues> embeddings;
  std::vector<std::pair<const LoraPlace*, std::string>> heads;
  for (const auto& [module, terms] : by_module(adapters)) {
    const LoraPlace& place = *terms.front().place;
    if (whole) {
      rank = std::max(rank, place.rank);
      modules[module] = {{"rank", place.rank}, {"error", 0.0}};
      continue;
    }
    if (const LoraPlace* embedding = tied_embedding(adapters, module)) {
      heads.emplace_back(&place, embedding->module);
      continue;
    }
    const Combined result = combiner.combine(terms);
    sum2 += result.sum2;
    miss2 += result.miss2;
    folder.add(place, result.values);
    if (place.embedding) embeddings[module] = result.values;
    modules[module] = {{"rank", result.values.a.size(0)},
                       {"error", measured ? Json(relative(result.miss2, result.sum2)) : Json()}};
  }
  for (const auto& [place, embedding] : heads) {
    const LoraValues& own = embeddings.at(embedding);
    folder.add(*place, {own.b.t(), own.a.t(), {}});
    const Json same = modules.at(embedding);
    modules[place->module] = same;
  }
  report["modules"] = modules.size();
  report["rank"] = whole ? rank : folder.rank();
  report["error"] = measured || whole ? Json(relative(miss2, sum2)) : Json();
  report["by_module"] = modules;
  sidecar["combined"] = report;
  if (whole) {
    write_unchanged(*adapters[0].file, sidecar, out);
    return report;
  }
  keep_others(adapters, folder);
  folder.finish();
  const Json targets = joined_targets(adapters);
  for (const auto& [key, value] : targets.items()) folder.config()[key] = value;
  folder.write(out, sidecar);
  warn_of_factors(type, adapters, relative(miss2, sum2));
  return report;
}

}  // namespace smidgen
