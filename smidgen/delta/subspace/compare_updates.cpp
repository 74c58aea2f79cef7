#include "smidgen/delta/subspace/compare_updates.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>
#include <unordered_map>

#include <torch/torch.h>

#include "smidgen/base/error.h"
#include "smidgen/base/threads.h"
#include "smidgen/delta/subspace/delta_sums.h"

namespace smidgen {

namespace {

using Updates = std::vector<std::shared_ptr<const Update>>;

struct Member {
  std::string name;
  int64_t rows = 0;
};

// What one row of the result is of.
struct UnitPlan {
  std::string name, block;
  std::vector<Member> members;
  int64_t rows = 0, columns = 0;
};

// Every tensor of any update, in the order in which they first come.
std::vector<UnitPlan> tensor_units(const Updates& updates) {
  std::vector<UnitPlan> units;
  std::unordered_map<std::string, size_t> place;
  for (const auto& update : updates) {
    for (const UpdateTensor& tensor : update->tensors()) {
      const auto [found, fresh] = place.emplace(tensor.name, units.size());
      if (fresh) {
        units.push_back({tensor.name,
                         block_of(tensor.name),
                         {{tensor.name, tensor.rows()}},
                         tensor.rows(),
                         tensor.columns()});
        continue;
      }
      const UnitPlan& unit = units[found->second];
      if (unit.rows != tensor.rows() || unit.columns != tensor.columns())
        throw Error(ErrorKind::mismatch,
                    str("the shape is [", join(tensor.shape), "] in ", update->label(), " and [",
                        unit.rows, ", ", unit.columns, "] in another"),
                    tensor.name, "only updates of one base can be compared");
    }
  }
  return units;
}

std::vector<UnitPlan> block_units(const std::vector<UnitPlan>& tensors) {
  std::vector<UnitPlan> units;
  std::map<std::pair<std::string, int64_t>, size_t> place;
  for (const UnitPlan& tensor : tensors) {
    if (tensor.block.empty()) {
      units.push_back(tensor);
      continue;
    }
    const auto [found, fresh] =
        place.emplace(std::pair{tensor.block, tensor.columns}, units.size());
    if (fresh)
      units.push_back({str(tensor.block, " [", tensor.columns, " columns]"),
                       tensor.block,
                       {},
                       0,
                       tensor.columns});
    UnitPlan& unit = units[found->second];
    unit.members.push_back(tensor.members.front());
    unit.rows += tensor.rows;
  }
  return units;
}

std::optional<Delta> read_unit(const Update& update, const UnitPlan& unit) {
  if (unit.members.size() == 1) return update.read(unit.members.front().name);
  std::vector<std::optional<Delta>> deltas;
  for (const Member& member : unit.members) deltas.push_back(update.read(member.name));
  std::vector<StackPart> parts;
  bool any = false;
  for (size_t i = 0; i < deltas.size(); ++i) {
    parts.push_back({unit.members[i].rows, deltas[i] ? &*deltas[i] : nullptr});
    any = any || deltas[i];
  }
  if (!any) return std::nullopt;
  return stack(parts, unit.columns);
}

// What is known of one update at one unit.
struct Side {
  std::optional<Delta> delta;
  LeftBasis basis;
  double square = 0;
};

// The tensor of a stack that holds it, to be named.
std::string not_finite(const Update& update, const UnitPlan& unit) {
  for (const Member& member : unit.members) {
    const auto delta = update.read(member.name);
    if (delta && !std::isfinite(dot(*delta, *delta))) return member.name;
  }
  return unit.name;
}

Side read_side(const Update& update, const UnitPlan& unit) {
  Side side{.delta = read_unit(update, unit)};
  if (!side.delta) return side;
  try {
    if (unit.columns > 1) {
      side.basis = left_basis(*side.delta);
      side.square = side.basis.energy;
    } else {
      side.square = dot(*side.delta, *side.delta);
    }
  } catch (const Error& error) {
    throw Error(error.kind(), str(error.message(), " in ", update.label()),
                not_finite(update, unit), error.hint());
  }
  if (!std::isfinite(side.square))
    throw Error(ErrorKind::data, str("the difference holds NaN or infinity in ", update.label()),
                unit.name, "look at both models with smidgen diff");
  return side;
}

CompareRow compare_unit(const Updates& updates, const UnitPlan& unit,
                        const Comparison& comparison) {
  const torch::NoGradGuard no_grad;
  CompareRow row{
      .name = unit.name, .block = unit.block, .rows = unit.rows, .columns = unit.columns};
  std::vector<Side> sides;
  for (const auto& update : updates) {
    sides.push_back(read_side(*update, unit));
    row.squares.push_back(sides.back().square);
    std::vector<int64_t> ranks;
    for (const double eta : comparison.energies)
      ranks.push_back(sides.back().basis.rank() ? energy_rank(sides.back().basis, eta) : 0);
    row.ranks.push_back(std::move(ranks));
  }
  for (const auto& [a, b] : comparison.pairs) {
    PairSums sums;
    if (sides[a].square > 0 && sides[b].square > 0) {
      sums.dot = dot(*sides[a].delta, *sides[b].delta);
      const SignCount signs = compare_signs(*sides[a].delta, *sides[b].delta);
      sums.both = signs.both, sums.agree = signs.agree;
      if (unit.columns > 1) {
        const OverlapTable table(sides[a].basis, sides[b].basis);
        for (const double eta : comparison.energies) sums.overlaps.push_back(table.at(eta));
      }
    }
    row.pairs.push_back(std::move(sums));
  }
  return row;
}

void add(CompareTotal& total, const CompareRow& row, const Comparison& comparison) {
  total.squares.resize(row.squares.size());
  total.pairs.resize(row.pairs.size());
  for (size_t i = 0; i < row.squares.size(); ++i) total.squares[i] += row.squares[i];
  for (size_t i = 0; i < row.pairs.size(); ++i) {
    const PairSums& sums = row.pairs[i];
    CompareTotal::Pair& pair = total.pairs[i];
    pair.overlap.resize(comparison.energies.size());
    pair.random.resize(comparison.energies.size());
    pair.dot += sums.dot;
    pair.both += sums.both;
    pair.agree += sums.agree;
    if (sums.overlaps.empty()) continue;
    ++pair.counted;
    for (size_t k = 0; k < sums.overlaps.size(); ++k) {
      pair.overlap[k] += sums.overlaps[k].value;
      pair.random[k] += sums.overlaps[k].random;
    }
  }
}

void divide(CompareTotal& total) {
  for (CompareTotal::Pair& pair : total.pairs) {
    for (double& value : pair.overlap)
      value /= static_cast<double>(std::max<int64_t>(1, pair.counted));
    for (double& value : pair.random)
      value /= static_cast<double>(std::max<int64_t>(1, pair.counted));
  }
}

void total_up(Comparison& comparison) {
  std::unordered_map<std::string, size_t> place;
  comparison.all.name = "all";
  for (const CompareRow& row : comparison.rows) {
    add(comparison.all, row, comparison);
    if (row.block.empty()) continue;
    const auto [found, fresh] = place.emplace(row.block, comparison.blocks.size());
    if (fresh) comparison.blocks.push_back({.name = row.block});
    add(comparison.blocks[found->second], row, comparison);
  }
  divide(comparison.all);
  for (CompareTotal& block : comparison.blocks) divide(block);
}

void check(const Comparison& comparison) {
  for (size_t i = 0; i < comparison.labels.size(); ++i) {
    if (comparison.all.squares[i] == 0)
      throw Error(ErrorKind::data, "it does not differ from the base: there is nothing to compare",
                  comparison.labels[i]);
  }
  for (const auto& [a, b] : comparison.pairs) {
    const bool common = std::any_of(comparison.rows.begin(), comparison.rows.end(),
                                    [&, a = a, b = b](const CompareRow& row) {
                                      return row.squares[a] > 0 && row.squares[b] > 0;
                                    });
    if (!common)
      throw Error(
          ErrorKind::mismatch,
          str(comparison.labels[a], " and ", comparison.labels[b], " change no tensor in common"),
          "", "smidgen inspect lists the tensors of each");
  }
}

Json number(const std::optional<double>& value) {
  return value ? Json(*value) : Json();
}
Json share(int64_t part, int64_t whole) {
  return whole ? Json(static_cast<double>(part) / static_cast<double>(whole)) : Json();
}
Json norms(const std::vector<double>& squares) {
  Json out = Json::array();
  for (const double square : squares) out.push_back(std::sqrt(square));
  return out;
}

Json total_json(const Comparison& c, const CompareTotal& total) {
  Json out = {{"name", total.name}, {"norms", norms(total.squares)}, {"pairs", Json::array()}};
  for (size_t i = 0; i < c.pairs.size(); ++i) {
    const auto& [a, b] = c.pairs[i];
    const CompareTotal::Pair& pair = total.pairs[i];
    Json one = {{"cosine", number(cosine(pair.dot, total.squares[a], total.squares[b]))},
                {"same_sign", share(pair.agree, pair.both)},
                {"counted", pair.counted}};
    one["overlap"] = pair.counted ? Json(pair.overlap) : Json();
    one["random"] = pair.counted ? Json(pair.random) : Json();
    out["pairs"].push_back(std::move(one));
  }
  return out;
}

}  // namespace

std::optional<double> cosine(double dot, double square_a, double square_b) {
  if (!(square_a > 0) || !(square_b > 0)) return std::nullopt;
  return std::clamp(dot / (std::sqrt(square_a) * std::sqrt(square_b)), -1.0, 1.0);
}

Json Comparison::to_json() const {
  Json out = {{"updates", labels}, {"energies", energies}, {"pairs", Json::array()}};
  for (const auto& [a, b] : pairs) out["pairs"].push_back({labels[a], labels[b]});
  out["all"] = total_json(*this, all);
  out["blocks"] = Json::array();
  for (const CompareTotal& block : blocks) out["blocks"].push_back(total_json(*this, block));
  out["tensors"] = Json::array();
  for (const CompareRow& row : rows) {
    Json one = {{"name", row.name},       {"rows", row.rows},
                {"columns", row.columns}, {"norms", norms(row.squares)},
                {"ranks", row.ranks},     {"pairs", Json::array()}};
    for (size_t i = 0; i < pairs.size(); ++i) {
      const auto& [a, b] = pairs[i];
      const PairSums& sums = row.pairs[i];
      Json pair = {{"cosine", number(cosine(sums.dot, row.squares[a], row.squares[b]))},
                   {"same_sign", share(sums.agree, sums.both)},
                   {"overlap", Json()},
                   {"random", Json()}};
      if (!sums.overlaps.empty()) {
        pair["overlap"] = pair["random"] = Json::array();
        for (const Overlap& overlap : sums.overlaps) {
          pair["overlap"].push_back(overlap.value);
          pair["random"].push_back(overlap.random);
        }
      }
      one["pairs"].push_back(std::move(pair));
    }
    out["tensors"].push_back(std::move(one));
  }
  return out;
}

Comparison compare_updates(const Updates& updates, const CompareOptions& options) {
  SMIDGEN_ASSERT(updates.size() >= 2 && !options.energies.empty());
  Comparison comparison{.energies = options.energies};
  for (const auto& update : updates) comparison.labels.push_back(update->label());
  for (size_t a = 0; a < updates.size(); ++a) {
    for (size_t b = a + 1; b < updates.size(); ++b) comparison.pairs.emplace_back(a, b);
  }
  std::vector<UnitPlan> units = tensor_units(updates);
  if (options.unit == CompareOptions::Unit::block) units = block_units(units);
  comparison.rows.resize(units.size());
  std::mutex together;
  int64_t done = 0;
  const auto run = [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      const auto at = static_cast<size_t>(i);
      comparison.rows[at] = compare_unit(updates, units[at], comparison);
      const std::lock_guard<std::mutex> lock(together);
      if (options.progress) options.progress(++done, static_cast<int64_t>(units.size()));
    }
  };
  // Factors are small and many: a tensor a thread. Whole matrices are large: all threads on one.
  const bool low = std::all_of(updates.begin(), updates.end(),
                               [](const auto& update) { return update->low_rank(); });
  const auto count = static_cast<int64_t>(units.size());
  if (low) {
    parallel_claims(count, 1, 1, run);
  } else {
    run(0, count);
  }
  total_up(comparison);
  check(comparison);
  return comparison;
}

}  // namespace smidgen
