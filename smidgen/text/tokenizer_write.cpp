// A Tokenizer as the files that Hugging Face's libraries load.
#include <algorithm>

#include "smidgen/base/str.h"
#include "smidgen/text/chat_template.h"
#include "smidgen/text/tokenizer.h"

namespace smidgen {
namespace {

Json added_json(const AddedToken& token) {
  return {{"id", token.id},          {"content", token.content}, {"single_word", token.single_word},
          {"lstrip", token.lstrip},  {"rstrip", token.rstrip},   {"normalized", token.normalized},
          {"special", token.special}};
}

Json sequence(const char* key, const std::vector<Json>& items) {
  if (items.empty()) return nullptr;
  if (items.size() == 1) return items[0];
  return {{"type", "Sequence"}, {key, items}};
}

Json normalizer_json(const TokenizerSpec& spec) {
  std::vector<Json> items;
  for (const NormalizerKind kind : spec.normalizers) {
    const char* names[] = {"NFC", "NFD", "NFKC", "NFKD"};
    items.push_back({{"type", names[static_cast<int>(kind)]}});
  }
  return sequence("normalizers", items);
}

Json byte_level(bool add_prefix_space, bool trim_offsets, bool use_regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", add_prefix_space},
          {"trim_offsets", trim_offsets},
          {"use_regex", use_regex}};
}

Json step_json(const PreTokenizerStep& step) {
  switch (step.kind) {
    case PreTokenizerStep::Kind::digits:
      return {{"type", "Digits"}, {"individual_digits", step.individual_digits}};
    case PreTokenizerStep::Kind::byte_level:
      return byte_level(step.add_prefix_space, step.trim_offsets, step.use_regex);
    case PreTokenizerStep::Kind::split:
      break;
  }
  const char* names[] = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext",
                         "Contiguous"};
  return {{"type", "Split"},
          {"pattern", {{step.literal ? "String" : "Regex", step.pattern}}},
          {"behavior", names[static_cast<int>(step.behavior)]},
          {"invert", step.invert}};
}

Json template_json(const std::vector<TemplatePiece>& pieces) {
  Json single = Json::array(), pair = Json::array(), tokens = Json::object();
  for (const TemplatePiece& piece : pieces) {
    if (piece.is_text) {
      single.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
      continue;
    }
    single.push_back({{"SpecialToken", {{"id", piece.name}, {"type_id", 0}}}});
    tokens[piece.name] = {{"id", piece.name}, {"ids", piece.ids}, {"tokens", Json::array()}};
    for ([[maybe_unused]] const int32_t id : piece.ids)
      tokens[piece.name]["tokens"].push_back(piece.name);
  }
  pair = single;
  for (Json piece : single) {
    auto& inner = piece.contains("Sequence") ? piece["Sequence"] : piece["SpecialToken"];
    inner["type_id"] = 1;
    if (piece.contains("Sequence")) inner["id"] = "B";
    pair.push_back(piece);
  }
  return {{"type", "TemplateProcessing"},
          {"single", single},
          {"pair", pair},
          {"special_tokens", tokens}};
}

Json post_json(const TokenizerSpec& spec) {
  std::vector<Json> items;
  if (spec.byte_level_post) items.push_back(byte_level(true, false, true));
  if (!spec.single.empty()) items.push_back(template_json(spec.single));
  return sequence("processors", items);
}

}  // namespace

Json tokenizer_json(const Tokenizer& tokenizer) {
  const TokenizerSpec& spec = tokenizer.spec();
  std::vector<AddedToken> added = spec.added;
  std::sort(added.begin(), added.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  Json added_list = Json::array(), vocabulary = Json::object(), merges = Json::array();
  for (const AddedToken& token : added) added_list.push_back(added_json(token));
  for (size_t id = 0; id < spec.bpe.tokens.size(); ++id) {
    // ordered_json looks for the key on every insertion by name; the tokens are known to differ.
    if (!spec.bpe.tokens[id].empty())
      vocabulary.get_ref<Json::object_t&>()
          .std::vector<std::pair<const std::string, Json>>::emplace_back(spec.bpe.tokens[id], id);
  }
  for (const auto& [left, right] : spec.bpe.merges) merges.push_back(left + " " + right);
  std::vector<Json> steps;
  for (const PreTokenizerStep& step : spec.pre_tokenizer) steps.push_back(step_json(step));
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", added_list},
          {"normalizer", normalizer_json(spec)},
          {"pre_tokenizer", sequence("pretokenizers", steps)},
          {"post_processor", post_json(spec)},
          {"decoder", byte_level(true, true, true)},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"continuing_subword_prefix", nullptr},
            {"end_of_word_suffix", nullptr},
            {"fuse_unk", false},
            {"byte_fallback", false},
            {"ignore_merges", spec.bpe.ignore_merges},
            {"vocab", vocabulary},
            {"merges", merges}}}};
}

Json special_tokens_map(const Tokenizer& tokenizer) {
  const SpecialTokens& special = tokenizer.spec().special;
  Json out = Json::object();
  if (special.bos) out["bos_token"] = *special.bos;
  if (special.eos) out["eos_token"] = *special.eos;
  if (special.pad) out["pad_token"] = *special.pad;
  if (special.unk) out["unk_token"] = *special.unk;
  return out;
}

Json tokenizer_config(const Tokenizer& tokenizer, const std::string& chat_template) {
  Json out = special_tokens_map(tokenizer);
  out["tokenizer_class"] = "PreTrainedTokenizerFast";
  out["clean_up_tokenization_spaces"] = false;
  Json decoder = Json::object();
  for (const AddedToken& token : tokenizer.spec().added) {
    Json item = added_json(token);
    item.erase("id");
    decoder[str(token.id)] = item;
  }
  out["added_tokens_decoder"] = decoder;
  if (!chat_template.empty()) out["chat_template"] = chat_template;
  return out;
}

Json template_variables(const Tokenizer& tokenizer) {
  return special_tokens_map(tokenizer);
}

}  // namespace smidgen
