#include "smidgen/delta/merge/result_tokenizer.h"

#include <algorithm>
#include <numeric>

#include "smidgen/base/error.h"
#include "smidgen/base/progress.h"
#include "smidgen/convert/hf_folder.h"
#include "smidgen/delta/merge/tokenizer_files.h"
#include "smidgen/text/chat_template_choice.h"
#include "smidgen/text/token_match.h"

namespace smidgen {

namespace {

std::shared_ptr<const Tokenizer> tokenizer_of(const Source& model) {
  return has_tokenizer(*model.files()) ? load_tokenizer(*model.files()) : nullptr;
}

size_t place_of(const ModelRef& model, const std::vector<ModelRef>& among) {
  return static_cast<size_t>(std::find(among.begin(), among.end(), model) - among.begin());
}

TokenFill fill_of(const MergedTokenizer::Token& token, const std::vector<ModelRef>& merged) {
  using From = MergedTokenizer::Token::From;
  TokenFill fill{.force = token.force};
  if (token.from == From::automatic) return fill;
  if (token.from == From::zero) {
    fill.kind = TokenFill::Kind::zeros;
    return fill;
  }
  fill.model = place_of(*token.model, merged);
  if (fill.model == merged.size())
    throw Error(ErrorKind::usage,
                str("the row of '", token.token, "' is to come from '", token.model->text(),
                    "', which is not merged here"),
                token.model->place, "name one of the models that the recipe merges");
  fill.kind =
      token.from == From::same_token ? TokenFill::Kind::same_token : TokenFill::Kind::other_token;
  fill.token = token.other;
  fill.id = token.other_id.value_or(-1);
  return fill;
}

// Every model has the rows of `donor`, those of tokens that it does not know made of its own.
Models transplanted(const Models& models, const std::vector<TokenizerInput>& inputs, size_t base,
                    const MergedVocabulary& merged, const std::shared_ptr<const Source>& donor,
                    TransplantOptions options, std::vector<std::string>& notes) {
  Models out;
  options.rows = merged.rows;
  for (size_t m = 0; m < models.size(); ++m) {
    std::optional<Progress> progress;
    options.progress = [&](int64_t done, int64_t total) {
      if (!progress) progress.emplace("transplant", total);
      progress->update(done);
    };
    const auto& own = inputs[m].tokenizer      ? inputs[m].tokenizer
                      : inputs[base].tokenizer ? inputs[base].tokenizer
                                               : merged.tokenizer;
    Transplant made = transplant_tokenizer(models[m], *own, donor, *merged.tokenizer, options);
    notes.push_back(str(models[m]->label(), ": ", counted(made.kept, "token"),
                        " of the result's vocabulary have its own rows, ", made.made,
                        " are new to it"));
    for (const std::string& note : made.notes) notes.push_back(str(models[m]->label(), ": ", note));
    out.push_back(std::move(made.model));
  }
  return out;
}

// Nothing where the same bytes, or the same tokens, are under the same ids.
std::optional<std::string> other_tokens(const Source& base, const Tokenizer& known,
                                        const Source& model) {
  const std::shared_ptr<const Tokenizer> other = load_tokenizer(*model.files());
  const int64_t ids = std::min(known.vocabulary_size(), other->vocabulary_size());
  int64_t count = 0;
  int32_t first = -1;
  for (int32_t id = 0; id < ids; ++id) {
    const std::string &a = known.token(id), &b = other->token(id);
    if (a == b || a.empty() || b.empty()) continue;
    if (++count == 1) first = id;
  }
  if (count == 0) return {};
  return str(model.label(), " has other tokens than ", base.label(), " under ",
             counted(count, "id"), " (", first, ": '", other->token(first), "', not '",
             known.token(first),
             "'), and rows are merged by id;  tokenizer: {source: union}  in the recipe brings "
             "equal tokens together");
}

void note_other_tokens(const Models& models, size_t base, std::vector<std::string>& notes) {
  const auto text = [](const Source& model) {
    const auto& file = model.files()->tokenizer_json;
    return file ? read_file(*file) : std::string();
  };
  if (!has_tokenizer(*models[base]->files())) return;
  const std::string known_text = text(*models[base]);
  std::shared_ptr<const Tokenizer> known;
  for (const auto& model : models) {
    if (model == models[base] || !has_tokenizer(*model->files())) continue;
    if (const std::string own = text(*model); !own.empty() && own == known_text) continue;
    try {
      if (!known) known = load_tokenizer(*models[base]->files());
      if (auto note = other_tokens(*models[base], *known, *model)) notes.push_back(*note);
    } catch (const Error& error) {
      // A merge by id needs no tokenizer that can be read here.
      notes.push_back(str("whether ", model->label(), " has the tokens of ", models[base]->label(),
                          " is not known: ", error.what()));
    }
  }
}

void merge_vocabularies(const MergeRecipe& recipe, const std::vector<ModelRef>& refs, size_t base,
                        const ResultTokenizerOptions& options, ResultTokenizer& out) {
  const MergedTokenizer& spec = *recipe.tokenizer;
  const Models given = out.models;
  std::vector<TokenizerInput> inputs;
  for (const auto& model : given) {
    inputs.push_back({.label = model->label(),
                      .tokenizer = tokenizer_of(*model),
                      .rows = vocabulary_rows(*model)});
  }
  TokenizerSetting setting{.pad_to_multiple_of = spec.pad_to_multiple_of.value_or(0)};
  std::shared_ptr<const Source> outside;
  if (spec.source == MergedTokenizer::Source::base) setting.from = TokenizerSetting::From::base;
  if (spec.source == MergedTokenizer::Source::model) {
    setting.from = TokenizerSetting::From::model;
    setting.model = place_of(*spec.model, refs);
    if (setting.model == refs.size()) {
      outside = options.open(*spec.model);
      inputs.push_back(
          {.label = outside->label(), .tokenizer = tokenizer_of(*outside), .outside = true});
    }
  }
  for (const MergedTokenizer::Token& token : spec.tokens)
    setting.tokens.emplace_back(token.token, fill_of(token, refs));
  const MergedVocabulary merged = merge_tokenizers(inputs, base, setting);
  out.donor = merged.donor < given.size() ? given[merged.donor] : outside;
  if (merged.donor != base) out.configured = inputs[base].tokenizer;
  if (spec.transplant) {
    TransplantOptions transplant = *spec.transplant;
    transplant.dry = options.dry;
    out.models = transplanted(given, inputs, base, merged, out.donor, transplant, out.notes);
  } else {
    std::vector<size_t> places(given.size());
    std::iota(places.begin(), places.end(), size_t{0});
    out.notes.insert(out.notes.end(), merged.notes.begin(), merged.notes.end());
    out.models =
        with_merged_rows(given, places, merged, recipe.base ? std::optional(base) : std::nullopt);
  }
  out.vocabulary = merged;
}

}  // namespace

ResultTokenizer choose_tokenizer(const MergeRecipe& recipe, const Models& models,
                                 const ResultTokenizerOptions& options) {
  const std::vector<ModelRef> refs = models_of(recipe);
  SMIDGEN_ASSERT(refs.size() == models.size());
  const size_t base = recipe.base ? place_of(*recipe.base, refs) : 0;
  ResultTokenizer out{.models = models, .donor = models[base]};
  out.base_rows = common_vocabulary_rows(*models[base]);
  if (!recipe.chat_template.empty()) {
    std::vector<std::string> templates;
    for (const auto& model : models) templates.push_back(model->files()->chat_template);
    out.chat_template = choose_chat_template(recipe.chat_template, templates);
    if (!out.chat_template) out.notes.emplace_back("chat_template: auto, and no model has one");
  }
  if (recipe.tokenizer && options.truncate)
    throw Error(ErrorKind::usage,
                "the recipe says what the result's vocabulary is, and embeddings are to be cut too",
                recipe.tokenizer->place, "leave out --unsafe-truncate-embeddings");
  if (recipe.tokenizer) {
    merge_vocabularies(recipe, refs, base, options, out);
  } else if (options.truncate) {
    out.models = with_truncated_rows(models, out.notes);
  } else {
    if (!recipe.body.models.empty()) check_vocabulary_rows(models);
    note_other_tokens(models, base, out.notes);
  }
  return out;
}

int64_t vocabulary_rows(const MergePlan& plan, const ResultTokenizer& tokenizer) {
  const PlannedTensor* first = nullptr;
  for (const PlannedTensor& tensor : plan.tensors) {
    if (!tensor.vocabulary || tensor.task.shape.empty()) continue;
    if (!first) first = &tensor;
    if (tensor.task.shape[0] == first->task.shape[0]) continue;
    if (tokenizer.base_rows == 0) return 0;
    throw Error(ErrorKind::mismatch,
                str("in the result ", first->task.tensor, " would have ", first->task.shape[0],
                    " rows and ", tensor.task.tensor, " ", tensor.task.shape[0]),
                "slices",
                "first and last slice are of models with different vocabularies; "
                "tokenizer: {source: union} brings them together");
  }
  return first ? first->task.shape[0] : 0;
}

void set_vocabulary(Json& config, int64_t rows, const ResultTokenizer& tokenizer,
                    std::vector<std::string>& notes) {
  if (!config.is_object()) return;
  std::vector<Json*> parts = {&config};
  for (auto& [key, value] : config.items()) {
    // A model of several parts has its text's configuration one level down.
    if (value.is_object() && value.contains("vocab_size")) parts.push_back(&value);
  }
  const bool changed = rows != 0 && rows != tokenizer.base_rows;
  bool set = false;
  for (Json* part : parts) {
    const auto size = part->find("vocab_size");
    if (changed && size != part->end() && *size == tokenizer.base_rows) {
      *size = rows;
      set = true;
    }
    if (tokenizer.configured && tokenizer.vocabulary)
      move_token_ids(*part, *tokenizer.configured, *tokenizer.vocabulary->tokenizer, notes);
  }
  if (changed && !set) config["vocab_size"] = rows;
}

void write_tokenizer(const ResultTokenizer& tokenizer, const fs::path& folder) {
  const ModelFiles& files = *tokenizer.donor->files();
  if (tokenizer.vocabulary)
    return write_merged_tokenizer(folder, *tokenizer.vocabulary, files, tokenizer.chat_template);
  write_tokenizer_files(files, folder);
  if (tokenizer.chat_template) write_chat_template(folder, *tokenizer.chat_template);
}

}  // namespace smidgen
