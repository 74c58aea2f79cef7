// The doors from a model's files: whichever of them hold its tokenizer.
#include <algorithm>
#include <set>

#include "smidgen/base/error.h"
#include "smidgen/base/fs.h"
#include "smidgen/io/gguf.h"
#include "smidgen/io/json_file.h"
#include "smidgen/io/model_files.h"
#include "smidgen/text/chat_template.h"
#include "smidgen/text/json_node.h"
#include "smidgen/text/tokenizer.h"

namespace smidgen {
namespace {

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

// GPT-2's own files: vocab.json, and merges.txt with a pair a line after a line of "#version".
TokenizerSpec read_vocabulary_files(const ModelFiles& files, const fs::path& vocabulary,
                                    const fs::path& merges) {
  TokenizerSpec spec;
  spec.where = vocabulary.string();
  const Json json = read_json(vocabulary);
  read_vocabulary(JsonNode(json, "", spec.where), spec.model);
  const std::string text = read_file(merges);
  size_t line_number = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    std::string_view line(text.data() + at, end - at);
    at = end + 1;
    ++line_number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || line.starts_with("#version")) continue;
    spec.model.merges.push_back(
        split_merge(line, spec.model.merges.size(), str(merges.string(), ":", line_number)));
  }
  const Json& config = files.tokenizer_config;
  const bool prefix = config.is_object() &&
                      JsonNode(config, "", "tokenizer_config.json").flag("add_prefix_space", false);
  spec.pre_tokenizer = {{"type", "ByteLevel"},
                        {"add_prefix_space", prefix},
                        {"trim_offsets", true},
                        {"use_regex", true}};
  spec.decoder = spec.pre_tokenizer;
  spec.special = read_special_tokens(config, files.special_tokens_map, spec.where);
  // transformers' default for this family, where the vocabulary has it.
  std::set<std::string> names = {"<|endoftext|>"};
  const auto& tokens = spec.model.tokens;
  if (!spec.special.eos && std::find(tokens.begin(), tokens.end(), *names.begin()) != tokens.end())
    spec.special.eos = *names.begin();
  for (const auto& role :
       {spec.special.bos, spec.special.eos, spec.special.pad, spec.special.unk}) {
    if (role) names.insert(*role);
  }
  for (size_t id = 0; id < spec.model.tokens.size(); ++id) {
    if (!names.count(spec.model.tokens[id])) continue;
    AddedToken token;
    token.id = static_cast<int32_t>(id);
    token.content = spec.model.tokens[id];
    spec.added.push_back(token);
  }
  return spec;
}

TokenizerSpec sentence_piece(const ModelFiles& files) {
  constexpr uint64_t kMost = uint64_t{64} << 20;  // Gemma's, with 256000 pieces, has 4 MB
  SentencePieceCompanions beside{.config = files.tokenizer_config,
                                 .special_tokens_map = files.special_tokens_map};
  const fs::path added = files.path / "added_tokens.json";
  if (path_exists(added)) beside.added_tokens = read_json(added);
  const fs::path& model = *files.tokenizer_model;
  return read_sentence_piece(read_file(model, kMost), beside, model.string());
}

}  // namespace

bool has_tokenizer(const ModelFiles& files) {
  if (files.gguf) return files.gguf->find("tokenizer.ggml.model") != nullptr;
  return files.tokenizer_json || files.tokenizer_model ||
         (path_exists(files.path / "vocab.json") && path_exists(files.path / "merges.txt"));
}

std::shared_ptr<const Tokenizer> load_tokenizer(const ModelFiles& files) {
  if (files.kind == ModelFiles::Kind::gguf)
    return std::make_shared<const Tokenizer>(read_tokenizer_gguf(*files.gguf));
  if (files.tokenizer_json)
    return std::make_shared<const Tokenizer>(
        read_tokenizer_json(read_json(*files.tokenizer_json), files.tokenizer_config,
                            files.special_tokens_map, files.tokenizer_json->string()));
  if (files.tokenizer_model) return std::make_shared<const Tokenizer>(sentence_piece(files));
  const fs::path vocabulary = files.path / "vocab.json", merges = files.path / "merges.txt";
  if (path_exists(vocabulary) && path_exists(merges)) {
    const std::string type = files.config.is_object()
                                 ? JsonNode(files.config, "", "config.json").text("model_type", "")
                                 : std::string();
    // The files do not say how words are cut. GPT-2's own models cut them in GPT-2's way.
    if (type != "gpt2")
      throw Error(
          ErrorKind::unsupported,
          str("vocab.json and merges.txt without tokenizer.json in a model of type '", type, "'"),
          files.path.string(),
          "only gpt2 is known to cut words in GPT-2's way; convert the tokenizer with "
          "transformers: save_pretrained of a fast tokenizer");
    return std::make_shared<const Tokenizer>(read_vocabulary_files(files, vocabulary, merges));
  }
  throw Error(ErrorKind::not_found, "the model has no tokenizer.json or tokenizer.model",
              files.path.string(),
              "a tokenizer in another form can be converted with transformers: save_pretrained "
              "of a fast tokenizer");
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

NamedTemplates named_templates(const ModelFiles& files) {
  if (!files.chat_templates.empty() || files.chat_template.empty()) return files.chat_templates;
  return {{"default", files.chat_template}};
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
