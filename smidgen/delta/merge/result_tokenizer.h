// The tokenizer that the result of a merge has, and the models brought to its vocabulary.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "smidgen/base/fs.h"
#include "smidgen/delta/merge/plan.h"
#include "smidgen/delta/merge/vocabulary.h"

namespace smidgen {

struct ResultTokenizer {
  Models models;                               // to be merged, in the place of those given
  std::shared_ptr<const Source> donor;         // whose tokenizer files are written
  std::optional<MergedVocabulary> vocabulary;  // how they change; nothing: not at all
  std::optional<std::string> chat_template;    // in the place of the donor's
  // What the base's configurations name ids of; null where these ids stay what they are.
  std::shared_ptr<const Tokenizer> configured;
  int64_t base_rows = 0;  // of the base as it was given; 0: none, or several vocabularies
  std::vector<std::string> notes;
};

struct ResultTokenizerOptions {
  // For a model that only the recipe's `tokenizer` names.
  std::function<std::shared_ptr<const Source>(const ModelRef&)> open;
  bool truncate = false;  // cut all vocabularies to the shortest, for recipes without `tokenizer`
  bool dry = false;       // rows that take long to make are left out
};

// `models` are those of models_of(recipe). Without `tokenizer` the result has the base's (the first
// model's where there is none) and rows are merged by their numbers: a note tells of models that
// have other tokens there. Throws mismatch, naming models and rows, where the vocabularies of whole
// models differ in size, and whatever merge_tokenizers, with_merged_rows and transplant_tokenizer
// refuse.
ResultTokenizer choose_tokenizer(const MergeRecipe& recipe, const Models& models,
                                 const ResultTokenizerOptions& options);

// Rows of the vocabulary tensors of the plan; 0 where there are none, or several vocabularies.
// Throws mismatch where slices of models with different vocabularies would make a result whose
// embedding and head differ.
int64_t vocabulary_rows(const MergePlan& plan, const ResultTokenizer& tokenizer);

// vocab_size and the ids of special tokens, in config.json or generation_config.json of the base.
void set_vocabulary(Json& config, int64_t rows, const ResultTokenizer& tokenizer,
                    std::vector<std::string>& notes);

void write_tokenizer(const ResultTokenizer& tokenizer, const fs::path& folder);

}  // namespace smidgen
