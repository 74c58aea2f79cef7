#include "smidgen/delta/transplant.h"

#include <algorithm>

#include "smidgen/base/error.h"
#include "smidgen/delta/merge/row_mapped.h"
#include "smidgen/delta/merge/vocabulary.h"
#include "smidgen/delta/nearest_rows.h"
#include "smidgen/text/token_match.h"
#include "smidgen/text/utf8.h"

namespace smidgen {

namespace {

using Method = TransplantOptions::Method;

constexpr size_t kTargets = 512;  // rows of a block

// Whether rows of the donor say what new rows are made of.
bool asks_donor(Method method) {
  return method == Method::nearest || method == Method::pursuit;
}

// The plans of all tensors.
class Surgery {
 public:
  Surgery(const Source& model, const Tokenizer& model_tokenizer, const Source& donor,
          const Tokenizer& donor_tokenizer, const TransplantOptions& options)
      : donor_(donor),
        model_tokenizer_(model_tokenizer),
        donor_tokenizer_(donor_tokenizer),
        options_(options),
        model_rows_(vocabulary_rows(model)),
        donor_rows_(vocabulary_rows(donor)),
        match_(match_tokens(donor_tokenizer, model_tokenizer)) {
    if (options.neighbours < 1)
      throw Error(ErrorKind::usage, str(options.neighbours, " neighbours"), "neighbours");
    if (model_rows_ == 0)
      throw Error(ErrorKind::mismatch, "the model has no embedding", model.label());
    if (donor_rows_ == 0 && asks_donor(options.method))
      throw Error(ErrorKind::mismatch, "the donor has no embedding", donor.label(),
                  "other methods need only its tokenizer");
    for (size_t id = 0; id < match_.size(); ++id) {
      if (match_[id] >= model_rows_) match_[id] = -1;
      if (donor_tokenizer.token(static_cast<int32_t>(id)).empty()) continue;
      (match_[id] >= 0 ? kept_ : new_).push_back(static_cast<int32_t>(id));
    }
    if (kept_.empty())
      throw Error(ErrorKind::mismatch, "the tokenizers have no token in common", donor.label());
    for (const int32_t id : kept_) {
      if (id < donor_rows_) shared_.push_back(id);
    }
    if (asks_donor(options.method) && shared_.empty())
      throw Error(ErrorKind::mismatch, "the donor has no row of a token that the model knows",
                  donor.label());
    for (const VocabularyTensor& each : vocabulary_tensors(model)) {
      if (!asks_donor(options.method) || each.role == VocabularyRole::head_bias ||
          counterpart(vocabulary_tensors(donor), each.tensor->name))
        continue;
      throw Error(ErrorKind::mismatch, str("the donor has nothing like ", each.tensor->name),
                  donor.label());
    }
  }

  size_t kept() const { return kept_.size(); }
  size_t made() const { return new_.size(); }
  int64_t rows() const { return std::max(options_.rows, static_cast<int64_t>(match_.size())); }
  size_t shared() const { return shared_.size(); }
  // New tokens without a recipe; after the plans are made.
  int64_t unmade() const { return unmade_; }

  std::shared_ptr<const RowPlan> plan(const VocabularyTensor& tensor, int64_t& done,
                                      int64_t total) {
    std::vector<std::vector<RowShare>> made(match_.size());
    std::vector<bool> mean(match_.size());
    if (options_.dry || tensor.role == VocabularyRole::head_bias ||
        options_.method == Method::zero) {
      // No shares: zeros.
    } else if (options_.method == Method::mean) {
      for (const int32_t id : new_) mean[static_cast<size_t>(id)] = true;
    } else if (options_.method == Method::subword) {
      unmade_ = 0;
      for (const int32_t id : new_) {
        auto& shares = made[static_cast<size_t>(id)];
        shares = pieces(id);
        if (!shares.empty()) continue;
        mean[static_cast<size_t>(id)] = true;
        ++unmade_;
      }
    } else {
      from_donor(tensor, made, mean, done, total);
    }
    auto plan = std::make_shared<RowPlan>();
    for (size_t id = 0; id < match_.size(); ++id) {
      plan->first.push_back(static_cast<uint32_t>(plan->shares.size()));
      const bool hole = donor_tokenizer_.token(static_cast<int32_t>(id)).empty();
      plan->rows.push_back(match_[id] >= 0    ? match_[id]
                           : hole || mean[id] ? RowPlan::kMean
                                              : RowPlan::kShares);
      plan->shares.insert(plan->shares.end(), made[id].begin(), made[id].end());
    }
    plan->rows.resize(static_cast<size_t>(rows()), RowPlan::kMean);
    plan->first.resize(plan->rows.size() + 1, static_cast<uint32_t>(plan->shares.size()));
    return plan;
  }

 private:
  // Equal shares of what the model's tokenizer makes of the token's text; none where it is no text.
  std::vector<RowShare> pieces(int32_t id) const {
    const std::string text(donor_tokenizer_.bytes(id));
    if (!is_utf8(text)) return {};
    std::vector<int32_t> ids;
    try {
      ids = model_tokenizer_.encode(text, {.add_special = false, .parse_special = false});
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::data) throw;  // a character that the model has no piece for
    }
    std::erase_if(ids, [&](int32_t piece) { return piece >= model_rows_; });
    std::vector<RowShare> shares;
    for (const int32_t piece : ids)
      shares.push_back({0, piece, 1.f / static_cast<float>(ids.size())});
    return shares;
  }

  void from_donor(const VocabularyTensor& tensor, std::vector<std::vector<RowShare>>& made,
                  std::vector<bool>& mean, int64_t& done, int64_t total) {
    const SourceTensor& theirs = *counterpart(vocabulary_tensors(donor_), tensor.tensor->name);
    std::vector<int32_t> targets;
    unmade_ = 0;
    for (const int32_t id : new_) {
      if (id < donor_rows_) {
        targets.push_back(id);
      } else {
        mean[static_cast<size_t>(id)] = true;
        ++unmade_;
      }
    }
    for (size_t first = 0; first < targets.size(); first += kTargets) {
      const auto part = std::span<const int32_t>(targets).subspan(
          first, std::min(kTargets, targets.size() - first));
      const auto near =
          options_.method == Method::pursuit
              ? pursued_rows(donor_, theirs, part, shared_, options_.neighbours)
              : nearest_rows(donor_, theirs, part, shared_, options_.neighbours, options_.cosine);
      for (size_t i = 0; i < part.size(); ++i) {
        for (const auto& [row, weight] : near[i])
          made[static_cast<size_t>(part[i])].push_back(
              {0, match_[static_cast<size_t>(row)], weight});
      }
      done += static_cast<int64_t>(part.size());
      if (options_.progress) options_.progress(done, total);
    }
  }

  const Source& donor_;
  const Tokenizer &model_tokenizer_, &donor_tokenizer_;
  const TransplantOptions& options_;
  const int64_t model_rows_, donor_rows_;
  std::vector<int32_t> match_;                // [donor's ids] the model's row, or -1
  std::vector<int32_t> kept_, new_, shared_;  // donor's ids; shared: kept, with a row in the donor
  int64_t unmade_ = 0;
};

}  // namespace

Transplant transplant_tokenizer(std::shared_ptr<const Source> model,
                                const Tokenizer& model_tokenizer,
                                std::shared_ptr<const Source> donor,
                                const Tokenizer& donor_tokenizer,
                                const TransplantOptions& options) {
  Surgery surgery(*model, model_tokenizer, *donor, donor_tokenizer, options);
  Transplant out;
  out.rows = surgery.rows();
  out.kept = static_cast<int64_t>(surgery.kept());
  out.made = static_cast<int64_t>(surgery.made());
  const std::vector<VocabularyTensor> tensors = vocabulary_tensors(*model);
  int64_t done = 0, total = 0;
  for (const VocabularyTensor& each : tensors)
    total += each.role == VocabularyRole::head_bias ? 0 : out.made;
  std::vector<MappedTensor> mapped;
  for (const VocabularyTensor& each : tensors) {
    MappedTensor to;
    to.shown = *each.tensor;
    to.shown.shape[0] = out.rows;
    to.parts.push_back({model, each.tensor});
    to.plan = surgery.plan(each, done, total);
    mapped.push_back(std::move(to));
  }
  if (asks_donor(options.method) && static_cast<int64_t>(surgery.shared()) < options.neighbours)
    out.notes.push_back(str("only ", surgery.shared(), " tokens are shared, fewer than the ",
                            options.neighbours, " neighbours asked for"));
  if (surgery.unmade())
    out.notes.push_back(str(surgery.unmade(),
                            " new tokens have no row in the donor, or no text: they "
                            "are the mean"));
  out.model = std::make_shared<RowMapped>(std::move(model), std::move(mapped));
  return out;
}

}  // namespace smidgen
