#include "smidgen/delta/subspace/selectivity.h"

#include <cmath>

#include "smidgen/base/error.h"

namespace smidgen {

namespace {

// The share of the way back from `full` to `aligned`.
double share(const char* what, double aligned, double full, double projected) {
  const double way = full - aligned;
  if (!std::isfinite(way) || !std::isfinite(projected) || way == 0)
    throw Error(ErrorKind::data,
                str("the fine-tune's ", what, " is ", full, ", the aligned model's ", aligned,
                    " and the projected copy's ", projected, ": selectivity is not defined"));
  return (full - projected) / way;
}

Json scores(const Scores& s) {
  return {{"utility", s.utility}, {"harm", s.harm}};
}

}  // namespace

double selectivity(const Scores& aligned, const Scores& full, const Scores& projected) {
  return share("harm", aligned.harm, full.harm, projected.harm) -
         share("utility", aligned.utility, full.utility, projected.utility);
}

Verdict judge(std::shared_ptr<const Update> update, std::shared_ptr<const Update> alignment,
              const Evaluator& evaluate, const std::vector<double>& fractions, uint64_t seed) {
  SMIDGEN_ASSERT(!fractions.empty());
  Verdict verdict{.aligned = evaluate(nullptr), .full = evaluate(update.get())};
  for (const Directions kind : {Directions::top, Directions::random_k, Directions::random}) {
    for (const double fraction : fractions) {
      SelectivityRow row{.subspace = {kind, fraction, seed}};
      const auto copy = projected(update, alignment, row.subspace, ProjectionMode::orth);
      row.scores = evaluate(copy.get());
      row.index = selectivity(verdict.aligned, verdict.full, row.scores);
      verdict.rows.push_back(row);
    }
  }
  for (size_t i = 0; i < fractions.size(); ++i) {
    const double difference = verdict.rows[i].index - verdict.rows[2 * fractions.size() + i].index;
    if (i == 0 || difference > verdict.difference) {
      verdict.difference = difference;
      verdict.fraction = fractions[i];
    }
  }
  verdict.selective = verdict.difference >= kSelective;
  return verdict;
}

std::string Verdict::line() const {
  double top = 0, drawn = 0, random = 0;
  for (const SelectivityRow& row : rows) {
    if (row.subspace.fraction != fraction) continue;
    (row.subspace.directions == Directions::top        ? top
     : row.subspace.directions == Directions::random_k ? drawn
                                                       : random) = row.index;
  }
  return str(selective ? "selective" : "not selective", ": S is ", top,
             " for the alignment's directions and ", random, " for random ones at fraction ",
             fraction, " (", drawn, " for some of the alignment's drawn at random)");
}

Json Verdict::to_json() const {
  Json out = {{"selective", selective}, {"difference", difference},   {"fraction", fraction},
              {"line", line()},         {"aligned", scores(aligned)}, {"full", scores(full)},
              {"rows", Json::array()}};
  for (const SelectivityRow& row : rows) {
    Json one = scores(row.scores);
    one["directions"] = std::string(to_string(row.subspace.directions));
    one["fraction"] = row.subspace.fraction;
    one["selectivity"] = row.index;
    out["rows"].push_back(std::move(one));
  }
  return out;
}

}  // namespace smidgen
