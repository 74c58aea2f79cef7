// The tokenizer inside a GGUF file, and the doors from a model's files.
#include <algorithm>
#include <set>

#include "smidgen/base/error.h"
#include "smidgen/io/gguf.h"
#include "smidgen/io/json_file.h"
#include "smidgen/io/model_files.h"
#include "smidgen/text/chat_template.h"
#include "smidgen/text/tokenizer.h"

namespace smidgen {
namespace {

constexpr int64_t kControl = 3, kUser = 4;  // tokenizer.ggml.token_type

std::optional<std::string> special(const GgufFile& file, const std::string& key,
                                   const BpeVocabulary& bpe, const std::string& where) {
  if (!file.find(key)) return {};
  const int64_t id = file.get_int(key);
  if (id < 0 || id >= static_cast<int64_t>(bpe.tokens.size()))
    throw Error(ErrorKind::format,
                str(key, " is ", id, ", but there are ", bpe.tokens.size(), " tokens"), where);
  return bpe.tokens[static_cast<size_t>(id)];
}

void read_merges(const GgufFile& file, BpeVocabulary& bpe, const std::string& where) {
  size_t rank = 0;
  for (const std::string_view both : file.get_strings("tokenizer.ggml.merges")) {
    const size_t space = both.find(' ');
    if (space == std::string_view::npos || space == 0 ||
        both.find(' ', space + 1) != std::string_view::npos)
      throw Error(ErrorKind::format,
                  str("tokenizer.ggml.merges[", rank, "] is not two tokens: '", both, "'"), where);
    bpe.merges.emplace_back(both.substr(0, space), both.substr(space + 1));
    ++rank;
  }
}

void collect_ids(const Json& config, std::set<int32_t>& out, const std::string& where) {
  if (!config.is_object() || !config.contains("eos_token_id")) return;
  const Json& value = config["eos_token_id"];
  for (const Json& id : value.is_array() ? value : Json::array({value})) {
    if (id.is_null()) continue;
    if (!id.is_number_integer())
      throw Error(ErrorKind::format,
                  str("eos_token_id should be an id or a list of them, not ", value.dump()), where);
    // A configuration may name an id beyond the tokenizer; such a token can come up and must stop
    // too.
    if (id.get<int64_t>() >= 0 && id.get<int64_t>() <= INT32_MAX) out.insert(id.get<int32_t>());
  }
}

}  // namespace

TokenizerSpec read_tokenizer_gguf(const GgufFile& file) {
  TokenizerSpec spec;
  spec.where = file.where();
  const std::string model = file.get_string("tokenizer.ggml.model");
  if (model != "gpt2")
    throw Error(ErrorKind::unsupported, str("the GGUF tokenizer model '", model, "'"), spec.where,
                "known: gpt2 (byte-level BPE)");
  const std::string pre = file.get_string("tokenizer.ggml.pre", "");
  PreTokenizerStep digits, bytes;
  digits.kind = PreTokenizerStep::Kind::digits;
  digits.individual_digits = true;
  if (pre == "smollm") {
    spec.pre_tokenizer = {digits, bytes};
  } else if (pre == "gpt-2") {
    spec.pre_tokenizer = {bytes};
  } else {
    throw Error(ErrorKind::unsupported,
                pre.empty()
                    ? "a GGUF tokenizer that does not name its pre-tokeniser (tokenizer.ggml.pre)"
                    : str("the GGUF pre-tokeniser '", pre, "'"),
                spec.where, did_you_mean(pre, {"smollm", "gpt-2"}, "known: smollm, gpt-2"));
  }
  // transformers reads the same file with add_prefix_space true when this is set.
  spec.pre_tokenizer.back().add_prefix_space =
      file.get_bool("tokenizer.ggml.add_space_prefix", false);
  for (const std::string_view token : file.get_strings("tokenizer.ggml.tokens"))
    spec.bpe.tokens.emplace_back(token);
  read_merges(file, spec.bpe, spec.where);
  if (file.find("tokenizer.ggml.token_type")) {
    const std::vector<int64_t> types = file.get_ints("tokenizer.ggml.token_type");
    if (types.size() != spec.bpe.tokens.size())
      throw Error(ErrorKind::mismatch,
                  str(types.size(), " token types for ", spec.bpe.tokens.size(), " tokens"),
                  spec.where);
    for (size_t id = 0; id < types.size(); ++id) {
      if (types[id] != kControl && types[id] != kUser) continue;
      AddedToken token;
      token.id = static_cast<int32_t>(id);
      token.content = spec.bpe.tokens[id];
      token.special = types[id] == kControl;
      spec.added.push_back(std::move(token));
    }
  }
  const std::string prefix = "tokenizer.ggml.";
  spec.special.bos = special(file, prefix + "bos_token_id", spec.bpe, spec.where);
  spec.special.eos = special(file, prefix + "eos_token_id", spec.bpe, spec.where);
  spec.special.pad = special(file, prefix + "padding_token_id", spec.bpe, spec.where);
  spec.special.unk = special(file, prefix + "unknown_token_id", spec.bpe, spec.where);
  const bool bos = file.get_bool(prefix + "add_bos_token", false) && spec.special.bos;
  const bool eos = file.get_bool(prefix + "add_eos_token", false) && spec.special.eos;
  const auto fixed = [&](const std::string& key, const std::string& name) {
    spec.single.push_back({false, name, {static_cast<int32_t>(file.get_int(prefix + key))}});
  };
  if (bos) fixed("bos_token_id", *spec.special.bos);
  if (bos || eos) spec.single.push_back({true, "", {}});
  if (eos) fixed("eos_token_id", *spec.special.eos);
  return spec;
}

std::shared_ptr<const Tokenizer> load_tokenizer(const ModelFiles& files) {
  if (files.kind == ModelFiles::Kind::gguf)
    return std::make_shared<const Tokenizer>(read_tokenizer_gguf(*files.gguf));
  if (!files.tokenizer_json)
    throw Error(ErrorKind::not_found, "the model has no tokenizer.json", files.path.string(),
                "a tokenizer in another form can be converted with transformers: save_pretrained "
                "of a fast tokenizer");
  return std::make_shared<const Tokenizer>(
      read_tokenizer_json(read_json(*files.tokenizer_json), files.tokenizer_config,
                          files.special_tokens_map, files.tokenizer_json->string()));
}

std::shared_ptr<const ChatTemplate> load_chat_template(const ModelFiles& files,
                                                       const std::string& name) {
  const auto made = [&](const std::string& source, const std::string& which) {
    return std::make_shared<ChatTemplate>(
        source,
        str("chat template", which.empty() ? "" : " '" + which + "'", " of ", files.path.string()));
  };
  std::vector<std::string> names;
  for (const auto& [key, source] : files.chat_templates) {
    if (!name.empty() && key == name) return made(source, key);
    names.push_back(key);
  }
  if (!name.empty() && !(name == "default" && !files.chat_template.empty()))
    throw Error(ErrorKind::usage, str("the model has no chat template '", name, "'"),
                files.path.string(),
                names.empty() ? "it has none, or only one, which needs no name"
                              : did_you_mean(name, names, str("it has: ", join(names))));
  std::shared_ptr<ChatTemplate> chosen;
  if (!files.chat_template.empty()) chosen = made(files.chat_template, "");
  if (!name.empty()) return chosen;
  for (const auto& [key, source] : files.chat_templates) {
    if (key != "tool_use") continue;
    // A model with that one alone has none for talks without tools.
    if (chosen) chosen->use_with_tools(made(source, key));
  }
  return chosen;
}

std::vector<int32_t> stop_tokens(const ModelFiles& files, const Tokenizer& tokenizer) {
  std::set<int32_t> ids;
  collect_ids(files.generation_config, ids, str(files.path.string(), "/generation_config.json"));
  collect_ids(files.config, ids, str(files.path.string(), "/config.json"));
  if (files.gguf) {
    for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                            "tokenizer.ggml.eom_token_id"}) {
      if (files.gguf->find(key)) ids.insert(static_cast<int32_t>(files.gguf->get_int(key)));
    }
  }
  if (tokenizer.eos()) ids.insert(*tokenizer.eos());
  return {ids.begin(), ids.end()};
}

}  // namespace smidgen
