#include "smidgen/delta/merge/vocabulary.h"

#include <algorithm>
#include <numeric>
#include <set>

#include "smidgen/base/error.h"
#include "smidgen/delta/merge/layers.h"
#include "smidgen/delta/merge/row_mapped.h"

namespace smidgen {

namespace {

std::string rows_of_all(const Models& models) {
  std::vector<std::string> parts;
  for (const auto& model : models) {
    if (const int64_t rows = common_vocabulary_rows(*model))
      parts.push_back(str(model->label(), " ", rows));
  }
  return join(parts);
}

// Shares of the rows that not every model has.
class Filler {
 public:
  Filler(const std::vector<size_t>& inputs, const MergedVocabulary& merged,
         std::optional<size_t> base, std::vector<int32_t> part_of)
      : inputs_(inputs), merged_(merged), base_(base), part_of_(std::move(part_of)) {}

  // The plan for model `m`, whose own tensor is part 0 and the others' follow.
  std::shared_ptr<const RowPlan> plan(size_t m) const {
    auto plan = std::make_shared<RowPlan>();
    plan->rows.assign(static_cast<size_t>(merged_.rows), RowPlan::kMean);
    plan->first.reserve(static_cast<size_t>(merged_.rows) + 1);
    size_t at = 0;
    const auto& configured = merged_.configured;
    for (int64_t id = 0; id < merged_.rows; ++id) {
      plan->first.push_back(static_cast<uint32_t>(plan->shares.size()));
      if (id >= merged_.ids || merged_.tokenizer->token(static_cast<int32_t>(id)).empty()) continue;
      while (at < configured.size() && configured[at].id < id) ++at;
      const bool is_set = at < configured.size() && configured[at].id == id;
      const int32_t own = old_id(m, id);
      int32_t& row = plan->rows[static_cast<size_t>(id)];
      if (own >= 0 && !(is_set && configured[at].force)) {
        row = own;
        continue;
      }
      row = RowPlan::kShares;
      if (is_set) {
        fill_as_set(configured[at], *plan);
      } else {
        fill(id, *plan);
      }
    }
    plan->first.push_back(static_cast<uint32_t>(plan->shares.size()));
    if (plan->shares.empty()) plan->first.clear();
    return plan;
  }

 private:
  int32_t old_id(size_t model, int64_t id) const {
    return merged_.old_ids[inputs_[model]][static_cast<size_t>(id)];
  }
  bool has_tensor(size_t model) const { return part_of_[model] >= 0; }
  RowShare share(size_t model, int32_t row, float weight) const {
    return {static_cast<uint32_t>(part_of_[model]), row, weight};
  }

  void fill_as_set(const MergedVocabulary::Row& row, RowPlan& plan) const {
    if (row.kind == TokenFill::Kind::zeros) return;
    for (size_t model = 0; model < inputs_.size(); ++model) {
      if (inputs_[model] != row.model || !has_tensor(model)) continue;
      plan.shares.push_back(share(model, row.old_id, 1));
      return;
    }
    throw Error(
        ErrorKind::mismatch,
        "a token's row is to come from a model that is not merged here, or has no such tensor",
        str("tokenizer: tokens: ", merged_.tokenizer->token(row.id)),
        "name one of the models that the recipe merges");
  }

  void fill(int64_t id, RowPlan& plan) const {
    std::vector<size_t> owners;
    for (size_t model = 0; model < inputs_.size(); ++model) {
      if (has_tensor(model) && old_id(model, id) >= 0) owners.push_back(model);
    }
    if (base_ && std::find(owners.begin(), owners.end(), *base_) != owners.end()) owners = {*base_};
    for (const size_t model : owners)
      plan.shares.push_back(
          share(model, old_id(model, id), 1.f / static_cast<float>(owners.size())));
  }

  const std::vector<size_t>& inputs_;
  const MergedVocabulary& merged_;
  const std::optional<size_t> base_;
  const std::vector<int32_t> part_of_;  // of each model; -1: it has no such tensor
};

}  // namespace

VocabularyRole vocabulary_role(const std::string& name) {
  if (!is_vocabulary(name)) return VocabularyRole::none;
  if (name.ends_with("bias")) return VocabularyRole::head_bias;
  return is_before_layers(name) ? VocabularyRole::embedding : VocabularyRole::head;
}

std::vector<VocabularyTensor> vocabulary_tensors(const Source& model) {
  std::vector<VocabularyTensor> found;
  for (const SourceTensor& tensor : model.tensors()) {
    const VocabularyRole role = vocabulary_role(tensor.name);
    if (role != VocabularyRole::none && !tensor.shape.empty()) found.push_back({&tensor, role});
  }
  return found;
}

const SourceTensor* counterpart(const std::vector<VocabularyTensor>& tensors,
                                const std::string& name) {
  const VocabularyRole role = vocabulary_role(name);
  for (const VocabularyTensor& each : tensors) {
    if (each.tensor->name == name) return each.tensor;
  }
  for (const VocabularyRole wanted : {role, VocabularyRole::embedding}) {
    if (wanted != role && role != VocabularyRole::head) break;
    const SourceTensor* only = nullptr;
    int count = 0;
    for (const VocabularyTensor& each : tensors) {
      if (each.role != wanted) continue;
      only = each.tensor;
      ++count;
    }
    if (count == 1) return only;
  }
  return nullptr;
}

int64_t vocabulary_rows(const Source& model) {
  const std::vector<VocabularyTensor> tensors = vocabulary_tensors(model);
  if (tensors.empty()) return 0;
  const SourceTensor& first = *tensors.front().tensor;
  for (const VocabularyTensor& each : tensors) {
    if (each.tensor->shape[0] != first.shape[0])
      throw Error(ErrorKind::mismatch,
                  str(first.name, " has ", first.shape[0], " rows and ", each.tensor->name, " has ",
                      each.tensor->shape[0], ": a vocabulary has one size"),
                  model.label());
  }
  return first.shape[0];
}

int64_t common_vocabulary_rows(const Source& model) {
  const std::vector<VocabularyTensor> tensors = vocabulary_tensors(model);
  if (tensors.empty()) return 0;
  const int64_t rows = tensors.front().tensor->shape[0];
  const bool same = std::all_of(tensors.begin(), tensors.end(), [&](const VocabularyTensor& each) {
    return each.tensor->shape[0] == rows;
  });
  return same ? rows : 0;
}

void check_vocabulary_rows(const Models& models) {
  std::set<int64_t> sizes;
  for (const auto& model : models) {
    if (const int64_t rows = common_vocabulary_rows(*model)) sizes.insert(rows);
  }
  if (sizes.size() < 2) return;
  throw Error(
      ErrorKind::mismatch,
      str("the models have vocabularies of different sizes: ", rows_of_all(models)), "tokenizer",
      "write in the recipe  tokenizer: {source: union}  to keep all tokens, or  source: base  "
      "for the base's; --unsafe-truncate-embeddings cuts all to the shortest");
}

Models with_truncated_rows(const Models& models, std::vector<std::string>& notes) {
  int64_t least = INT64_MAX, most = 0;
  for (const auto& model : models) {
    const int64_t rows = vocabulary_rows(*model);
    if (rows == 0) continue;
    least = std::min(least, rows);
    most = std::max(most, rows);
  }
  if (least >= most) return models;
  notes.push_back(str("vocabularies are cut to ", least, " rows (", rows_of_all(models),
                      "); nothing checks that an id means the same token in all of them"));
  auto plan = std::make_shared<RowPlan>();
  plan->rows.resize(static_cast<size_t>(least));
  std::iota(plan->rows.begin(), plan->rows.end(), 0);
  Models out;
  for (const auto& model : models) {
    std::vector<MappedTensor> mapped;
    for (const VocabularyTensor& each : vocabulary_tensors(*model)) {
      SourceTensor shown = *each.tensor;
      shown.shape[0] = least;
      mapped.push_back({.shown = shown, .parts = {{model, each.tensor}}, .plan = plan});
    }
    out.push_back(std::make_shared<RowMapped>(model, std::move(mapped)));
  }
  return out;
}

Models with_merged_rows(const Models& models, const std::vector<size_t>& inputs,
                        const MergedVocabulary& merged, std::optional<size_t> base) {
  SMIDGEN_ASSERT(models.size() == inputs.size() && (!base || *base < models.size()));
  std::vector<std::vector<VocabularyTensor>> tensors;
  bool any_head = false;
  for (const auto& model : models) {
    vocabulary_rows(*model);
    tensors.push_back(vocabulary_tensors(*model));
    for (const VocabularyTensor& each : tensors.back())
      any_head = any_head || each.role == VocabularyRole::head;
  }
  Models out;
  for (size_t m = 0; m < models.size(); ++m) {
    std::vector<std::string> names;
    bool head = false;
    for (const VocabularyTensor& each : tensors[m]) {
      names.push_back(each.tensor->name);
      head = head || each.role == VocabularyRole::head;
    }
    if (any_head && !head) {
      for (const auto& others : tensors) {
        const auto at = std::find_if(
            others.begin(), others.end(),
            [](const VocabularyTensor& each) { return each.role == VocabularyRole::head; });
        if (at == others.end()) continue;
        if (counterpart(tensors[m], at->tensor->name)) names.push_back(at->tensor->name);
        break;
      }
    }
    std::vector<MappedTensor> mapped;
    for (const std::string& name : names) {
      MappedTensor each;
      std::vector<int32_t> part_of(models.size(), -1);
      const SourceTensor* own = counterpart(tensors[m], name);
      each.parts.push_back({models[m], own});
      part_of[m] = 0;
      for (size_t other = 0; other < models.size(); ++other) {
        if (other == m) continue;
        const SourceTensor* tensor = counterpart(tensors[other], name);
        if (!tensor) continue;
        part_of[other] = static_cast<int32_t>(each.parts.size());
        each.parts.push_back({models[other], tensor});
      }
      each.shown = *own;
      each.shown.name = name;
      each.shown.shape[0] = merged.rows;
      each.plan = Filler(inputs, merged, base, std::move(part_of)).plan(m);
      mapped.push_back(std::move(each));
    }
    out.push_back(std::make_shared<RowMapped>(models[m], std::move(mapped)));
  }
  return out;
}

}  // namespace smidgen
