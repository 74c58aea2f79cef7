// The vocabulary tensors of the models that are merged, brought to the same rows.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "smidgen/delta/source.h"
#include "smidgen/text/tokenizer_merge.h"

namespace smidgen {

using Models = std::vector<std::shared_ptr<const Source>>;

enum class VocabularyRole { none, embedding, head, head_bias };

// By the name, as is_vocabulary (layers.h) knows them.
VocabularyRole vocabulary_role(const std::string& name);

struct VocabularyTensor {
  const SourceTensor* tensor = nullptr;  // of the model's tensors()
  VocabularyRole role = VocabularyRole::none;
};
std::vector<VocabularyTensor> vocabulary_tensors(const Source& model);
// The tensor that stands where another model has `name`: of the same name, else the only one of the
// same role, else for a head the embedding that it is tied to. Null when there is none.
const SourceTensor* counterpart(const std::vector<VocabularyTensor>& tensors,
                                const std::string& name);

// Rows of the model's embedding; 0 where it has none. Throws mismatch where tensors that are named
// as embeddings and heads have different numbers of rows.
int64_t vocabulary_rows(const Source& model);
// The same, and 0 where they differ: there are models with several vocabularies.
int64_t common_vocabulary_rows(const Source& model);

// For a merge of whole models without a tokenizer setting: throws mismatch, naming models and rows,
// unless all have the same number. Models without an embedding, or with several of different size,
// do not count.
void check_vocabulary_rows(const Models& models);

// The models with their vocabulary tensors cut to the shortest. Ids below must mean the same in
// all of them, which nothing checks; a line that says so comes into `notes`. Unchanged where all
// have the same number.
Models with_truncated_rows(const Models& models, std::vector<std::string>& notes);

// The distinct models with vocabulary tensors of merged.rows rows each, row i of all of them being
// the same token. Model m is input inputs[m] of the merge; `base` is a place in `models`.
//
// A row that a model does not have is, in this order: as configured; the only owner's; the base's;
// the mean of the owners'; zeros where nobody has it. Owners are those of `models` that have the
// tensor. `force` fills the row even where the model has one. Rows that no token has, by padding or
// a hole in the vocabulary, are the mean of the model's other rows
// (nlp.stanford.edu/~johnhew/vocab-expansion.html), so that they are not likely in any context.
// After mergekit 0.1.5 (tokenizer/embed.py), where a hole ends the merge.
//
// A head counts as the embedding in models that have no head of their own (tied), if any other has
// one: these show their embedding under the head's name too.
Models with_merged_rows(const Models& models, const std::vector<size_t>& inputs,
                        const MergedVocabulary& merged, std::optional<size_t> base);

}  // namespace smidgen
