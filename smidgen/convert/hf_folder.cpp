#include "smidgen/convert/hf_folder.h"

#include <unistd.h>

#include "smidgen/base/error.h"
#include "smidgen/base/fs.h"
#include "smidgen/base/unfinished_folder.h"
#include "smidgen/convert/hf_weights.h"
#include "smidgen/text/chat_template.h"
#include "smidgen/text/tokenizer.h"

namespace smidgen {

namespace {

constexpr const char* kSidecar = "smidgen.json";

std::string_view torch_name(Format format) {
  return format == Format::bf16 ? "bfloat16" : format == Format::f16 ? "float16" : "float32";
}

Json config_of(const Model& model, const ModelFiles& files, const std::string& dtype) {
  Json config = model.config();
  // The format of most values: that of the largest tensor.
  const ModelTensor* largest = nullptr;
  const std::vector<ModelTensor> tensors = model.tensors();
  const auto size = [](const ModelTensor& t) {
    return t.shape.size() > 1 ? t.shape[0] * t.shape[1] : t.shape[0];
  };
  for (const ModelTensor& t : tensors) {
    if (!largest || size(t) > size(*largest)) largest = &t;
  }
  SMIDGEN_ASSERT(largest);
  for (const Site& site : model.sites()) {
    if (!site.tied_to.empty() && !model.tied(site)) config["tie_word_embeddings"] = false;
  }
  // dtype is read by transformers from 4.56 on, torch_dtype by those before.
  for (const char* key : {"dtype", "torch_dtype"})
    config[key] = std::string(torch_name(written_format(*largest, files, dtype)));
  return config;
}

Json generation_config(const Model& model, const ModelFiles& files, const Tokenizer* tokenizer) {
  if (!files.generation_config.is_null()) return files.generation_config;
  Json made = Json::object();
  for (const char* key : {"bos_token_id", "eos_token_id", "pad_token_id"}) {
    if (model.config().contains(key) && !model.config()[key].is_null())
      made[key] = model.config()[key];
  }
  if (files.kind == ModelFiles::Kind::gguf && tokenizer) {
    const std::vector<int32_t> stops = stop_tokens(files, *tokenizer);
    if (stops.size() == 1) made["eos_token_id"] = stops.front();
    if (stops.size() > 1) made["eos_token_id"] = stops;
  }
  return made;
}

void copy_text(const fs::path& from, const fs::path& to) {
  write_file(to, read_file(from));
}

// What tokenizers may be made of, beside weights and configurations.
constexpr const char* kTokenizerFiles[] = {"tokenizer.json",
                                           "tokenizer_config.json",
                                           "special_tokens_map.json",
                                           "added_tokens.json",
                                           "vocab.json",
                                           "merges.txt",
                                           "tokenizer.model",
                                           "chat_template.jinja",
                                           "chat_template.json"};
constexpr const char* kTemplateFolder = "additional_chat_templates";

void write_tokenizer(const ModelFiles& files, const Tokenizer* tokenizer, const fs::path& folder) {
  if (files.kind == ModelFiles::Kind::folder) {
    for (const char* name : kTokenizerFiles) {
      if (path_exists(files.path / name)) copy_text(files.path / name, folder / name);
    }
    const fs::path more = files.path / kTemplateFolder;
    if (!path_exists(more)) return;
    make_folder(folder / kTemplateFolder);
    for (const auto& [name, source] : files.chat_templates) {
      const fs::path file = fs::path(kTemplateFolder) / (name + ".jinja");
      if (path_exists(files.path / file)) copy_text(files.path / file, folder / file);
    }
    return;
  }
  write_file(folder / "tokenizer.json", tokenizer_json(*tokenizer).dump(2) + "\n");
  write_file(folder / "special_tokens_map.json", special_tokens_map(*tokenizer).dump(2) + "\n");
  write_file(folder / "tokenizer_config.json",
             tokenizer_config(*tokenizer, named_templates(files)).dump(2) + "\n");
}

}  // namespace

void write_tokenizer_files(const ModelFiles& files, const fs::path& folder) {
  const bool gguf = files.kind == ModelFiles::Kind::gguf;
  write_tokenizer(files, gguf ? load_tokenizer(files).get() : nullptr, folder);
}

void check_new_folder(const fs::path& out, bool replace) {
  std::error_code ignored;
  if (out.empty()) throw Error(ErrorKind::usage, "no folder to write to is given", "out");
  if (!path_exists(out)) return;
  if (!fs::is_directory(out, ignored)) {
    throw Error(ErrorKind::usage, "a model is a folder, and there is a file of that name",
                out.string());
  }
  if (replace && path_exists(out / kSidecar)) return;
  if (!fs::is_empty(out, ignored)) {
    throw Error(ErrorKind::usage, "the folder exists and is not empty", out.string(),
                "choose another name, or remove it first");
  }
}

void write_hf_folder(const Model& model, const ModelFiles& files, const fs::path& given,
                     const HfFolderOptions& options) {
  const fs::path out = given.filename().empty() ? given.parent_path() : given;
  check_new_folder(out, options.replace);
  std::shared_ptr<const Tokenizer> tokenizer;
  if (files.kind == ModelFiles::Kind::gguf) tokenizer = load_tokenizer(files);
  const Json config = config_of(model, files, options.dtype);
  if (out.has_parent_path()) make_folder(out.parent_path());
  const UnfinishedFolder unfinished(out.parent_path() /
                                    str(".", out.filename().string(), ".tmp-", ::getpid()));
  write_file(unfinished.path / "config.json", config.dump(2) + "\n");
  const Json generation = generation_config(model, files, tokenizer.get());
  if (!generation.empty())
    write_file(unfinished.path / "generation_config.json", generation.dump(2) + "\n");
  write_tokenizer(files, tokenizer.get(), unfinished.path);
  write_hf_weights(model, files, unfinished.path, options);
  if (!options.sidecar.is_null())
    write_file(unfinished.path / kSidecar, options.sidecar.dump(2) + "\n");
  sync_tree(unfinished.path);
  replace_folder(unfinished.path, out);
}

}  // namespace smidgen
