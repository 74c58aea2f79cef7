// Merges the vocabularies of small models, for the comparison with mergekit: a request per line of
// standard input, {"models": [FOLDER], "base"?, "setting", "out"?, "template"?}, and an answer per
// line of standard output: {"notes", "rows", "ids", "old_ids", "models": [{TENSOR: rows}]} or
// {"error", "kind", "where", "hint"}. Models are named by their folders. With "donor" in the
// request the first model gets that one's tokenizer by "method", "neighbours" and "cosine".
#include <algorithm>
#include <iostream>

#include "smidgen/delta/merge/tokenizer_files.h"
#include "smidgen/delta/merge/vocabulary.h"
#include "smidgen/delta/transplant.h"
#include "smidgen/text/chat_template_choice.h"

namespace smidgen {
namespace {

Json rows_of(const Source& model, const SourceTensor& tensor) {
  std::vector<float> values(static_cast<size_t>(tensor.elements()));
  model.read(tensor, 0, values);
  if (tensor.shape.size() == 1) return values;
  Json rows = Json::array();
  for (int64_t at = 0; at < tensor.elements(); at += tensor.columns())
    rows.push_back(std::vector<float>(values.begin() + at, values.begin() + at + tensor.columns()));
  return rows;
}

Json all_rows(const Source& model) {
  Json tensors = Json::object();
  for (const SourceTensor& tensor : model.tensors()) tensors[tensor.name] = rows_of(model, tensor);
  return tensors;
}

// The map `tokenizer` of a recipe, which delta/merge/recipe.h reads for users.
TokenizerSetting setting_of(const Json& json, const std::vector<std::string>& labels) {
  const auto place = [&](const Json& model) {
    return static_cast<size_t>(std::find(labels.begin(), labels.end(), model.get<std::string>()) -
                               labels.begin());
  };
  TokenizerSetting setting;
  setting.pad_to_multiple_of = json.value("pad_to_multiple_of", 0);
  const Json source = json.value("source", Json("union"));
  if (source == "base") {
    setting.from = TokenizerSetting::From::base;
  } else if (source != "union") {
    setting.from = TokenizerSetting::From::model;
    setting.model = place(source);
  }
  const Json tokens = json.value("tokens", Json::object());
  for (const auto& [token, entry] : tokens.items()) {
    TokenFill fill{.force = entry.value("force", false)};
    const Json from = entry.value("source", Json());
    if (from.is_string()) {
      fill.kind = TokenFill::Kind::same_token;
      fill.model = place(from);
    } else if (from.is_object() && from["kind"] == "zero") {
      fill.kind = TokenFill::Kind::zeros;
    } else if (from.is_object()) {
      fill.kind = TokenFill::Kind::other_token;
      fill.model = place(from["model"]);
      fill.token = from.value("token", "");
      fill.id = from.value("token_id", -1);
    }
    setting.tokens.emplace_back(token, fill);
  }
  return setting;
}

Json merge(const Json& request) {
  std::vector<ModelFiles> files;
  std::vector<std::string> labels, templates;
  std::vector<TokenizerInput> inputs;
  std::vector<size_t> places;
  Models models;
  for (const Json& folder : request.at("models")) {
    files.push_back(open_model(folder.get<std::string>()));
    labels.push_back(folder.get<std::string>());
    templates.push_back(files.back().chat_template);
    models.push_back(open_source(labels.back()));
    places.push_back(places.size());
    inputs.push_back(
        {.label = labels.back(),
         .tokenizer = has_tokenizer(files.back()) ? load_tokenizer(files.back()) : nullptr,
         .rows = vocabulary_rows(*models.back())});
  }
  const bool has_base = request.contains("base") && !request["base"].is_null();
  const size_t base = has_base ? request["base"].get<size_t>() : 0;
  const TokenizerSetting setting = setting_of(request.at("setting"), labels);
  const MergedVocabulary merged = merge_tokenizers(inputs, base, setting);
  std::optional<std::string> chosen;
  if (request.contains("template"))
    chosen = choose_chat_template(request["template"].get<std::string>(), templates);
  if (request.contains("out")) {
    const fs::path out = request["out"].get<std::string>();
    make_folder(out);
    write_merged_tokenizer(out, merged, files[merged.donor], chosen);
  }
  Json answer = {{"notes", merged.notes},     {"rows", merged.rows},
                 {"ids", merged.ids},         {"unchanged", merged.unchanged},
                 {"old_ids", merged.old_ids}, {"models", Json::array()}};
  for (const auto& model :
       with_merged_rows(models, places, merged, has_base ? std::optional(base) : std::nullopt)) {
    answer["models"].push_back(all_rows(*model));
  }
  return answer;
}

Json transplant(const Json& request) {
  const auto model = open_source(request.at("models")[0].get<std::string>());
  const auto donor = open_source(request.at("donor").get<std::string>());
  using enum TransplantOptions::Method;
  TransplantOptions options;
  const std::string method = request.value("method", "nearest");
  options.method = method == "zero"      ? zero
                   : method == "mean"    ? mean
                   : method == "pursuit" ? pursuit
                   : method == "subword" ? subword
                                         : nearest;
  options.neighbours = request.value("neighbours", options.neighbours);
  options.cosine = request.value("cosine", false);
  const Transplant made = transplant_tokenizer(model, *load_tokenizer(*model->files()), donor,
                                               *load_tokenizer(*donor->files()), options);
  return {
      {"notes", made.notes}, {"rows", made.rows}, {"models", Json::array({all_rows(*made.model)})}};
}

Json answer(const Json& request) {
  try {
    return request.contains("donor") ? transplant(request) : merge(request);
  } catch (const Error& error) {
    return {{"error", error.message()},
            {"kind", std::string(to_string(error.kind()))},
            {"where", error.where()},
            {"hint", error.hint()}};
  }
}

}  // namespace
}  // namespace smidgen

int main() {
  std::ios::sync_with_stdio(false);
  for (std::string line; std::getline(std::cin, line);)
    std::cout << smidgen::answer(smidgen::Json::parse(line))
                     .dump(-1, ' ', false, smidgen::Json::error_handler_t::replace)
              << '\n'
              << std::flush;
}
