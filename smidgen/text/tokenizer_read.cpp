// tokenizer.json and its two companions into a TokenizerSpec.
#include <algorithm>
#include <limits>
#include <unordered_map>

#include "smidgen/base/error.h"
#include "smidgen/text/byte_level.h"
#include "smidgen/text/tokenizer.h"

namespace smidgen {
namespace {

constexpr int64_t kMaxId = int64_t{1} << 24;

// A JSON object with its place in the file, for messages such as "model.vocab (tokenizer.json)".
class Node {
 public:
  Node(const Json& json, std::string path, const std::string& file)
      : json_(json), path_(std::move(path)), file_(file) {
    if (!json.is_object()) wrong("an object");
  }

  const Json& json() const { return json_; }
  std::string where() const { return path_.empty() ? file_ : str(file_, ": ", path_); }
  std::string path(const std::string& key) const {
    return path_.empty() ? key : str(path_, ".", key);
  }

  // Null when the key is absent or null.
  const Json* find(const std::string& key) const {
    const auto at = json_.find(key);
    return at == json_.end() || at->is_null() ? nullptr : &*at;
  }
  const Json& need(const std::string& key) const {
    if (const Json* value = find(key)) return *value;
    throw Error(ErrorKind::format, str("the key '", key, "' is missing"), where());
  }
  bool flag(const std::string& key, bool absent) const {
    const Json* value = find(key);
    if (!value) return absent;
    if (!value->is_boolean()) wrong_key(key, *value, "true or false");
    return value->get<bool>();
  }
  std::string text(const std::string& key) const {
    const Json& value = need(key);
    if (!value.is_string()) wrong_key(key, value, "a string");
    return value.get<std::string>();
  }
  std::string type() const { return text("type"); }
  const Json& list(const std::string& key) const {
    const Json& value = need(key);
    if (!value.is_array()) wrong_key(key, value, "a list");
    return value;
  }
  Node child(const std::string& key) const { return {need(key), path(key), file_}; }
  // Objects of a list.
  std::vector<Node> children(const std::string& key) const {
    std::vector<Node> all;
    size_t i = 0;
    for (const Json& item : list(key)) all.emplace_back(item, str(path(key), "[", i++, "]"), file_);
    return all;
  }
  [[noreturn]] void wrong_key(const std::string& key, const Json& value, const char* wanted) const {
    throw Error(ErrorKind::format,
                str("'", key, "' should be ", wanted, ", not ", value.type_name()), where());
  }
  [[noreturn]] void refuse(const std::string& what, const std::string& known) const {
    throw Error(ErrorKind::unsupported, what, where(), known);
  }
  const std::string& file() const { return file_; }

 private:
  [[noreturn]] void wrong(const char* wanted) const {
    throw Error(ErrorKind::format, str("should be ", wanted, ", not ", json_.type_name()), where());
  }
  const Json& json_;
  std::string path_;
  const std::string& file_;
};

int32_t read_id(const Json& value, const std::string& what, const Node& node) {
  if (!value.is_number_integer() ||
      (value.is_number_unsigned() && value.get<uint64_t>() >= uint64_t(kMaxId)) ||
      value.get<int64_t>() < 0 || value.get<int64_t>() >= kMaxId)
    throw Error(
        ErrorKind::format,
        str(what, " has the id ", value.dump(), ", which is not a whole number below ", kMaxId),
        node.where());
  return value.get<int32_t>();
}

void read_merges(const Node& model, BpeVocabulary& out) {
  size_t rank = 0;
  for (const Json& item : model.list("merges")) {
    if (item.is_string()) {
      const std::string& both = item.get_ref<const std::string&>();
      const size_t space = both.find(' ');
      if (space == std::string::npos || both.find(' ', space + 1) != std::string::npos)
        throw Error(ErrorKind::format, str("merge ", rank, " is not two tokens: '", both, "'"),
                    model.where());
      out.merges.emplace_back(both.substr(0, space), both.substr(space + 1));
    } else if (item.is_array() && item.size() == 2 && item[0].is_string() && item[1].is_string()) {
      out.merges.emplace_back(item[0].get<std::string>(), item[1].get<std::string>());
    } else {
      throw Error(ErrorKind::format, str("merge ", rank, " is not two tokens: ", item.dump()),
                  model.where());
    }
    ++rank;
  }
}

void read_model(const Node& model, BpeVocabulary& out) {
  const std::string type = model.find("type") ? model.type() : model.find("merges") ? "BPE" : "";
  if (type != "BPE") model.refuse(str("the tokenizer model '", type, "'"), "known: BPE over bytes");
  if (model.flag("byte_fallback", false))
    model.refuse("BPE with byte_fallback", "known: BPE over bytes (ByteLevel)");
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const Json* value = model.find(key);
    if (value && *value != "")
      model.refuse(str("BPE with ", key, " ", value->dump()), "known: none");
  }
  if (const Json* dropout = model.find("dropout"); dropout && *dropout != 0.0)
    model.refuse(str("BPE with dropout ", dropout->dump()),
                 "the same text would not always give the same ids");
  out.ignore_merges = model.flag("ignore_merges", false);
  const Node vocabulary = model.child("vocab");
  // Ids may have gaps, and a wild one must not decide how much memory is taken.
  const int64_t most = static_cast<int64_t>(vocabulary.json().size()) * 4 + 65536;
  for (const auto& [token, value] : vocabulary.json().items()) {
    const int32_t id = read_id(value, str("the token '", token, "'"), vocabulary);
    if (id >= most)
      throw Error(ErrorKind::format,
                  str("the token '", token, "' has the id ", id, " in a vocabulary of ",
                      vocabulary.json().size(), " tokens"),
                  vocabulary.where());
    if (token.empty())
      throw Error(ErrorKind::format, str("token ", id, " is empty"), vocabulary.where());
    if (static_cast<size_t>(id) >= out.tokens.size())
      out.tokens.resize(static_cast<size_t>(id) + 1);
    std::string& place = out.tokens[static_cast<size_t>(id)];
    if (!place.empty())
      throw Error(ErrorKind::format,
                  str("id ", id, " stands for two tokens, '", place, "' and '", token, "'"),
                  vocabulary.where());
    place = token;
  }
  if (const Json* unknown = model.find("unk_token"); unknown && *unknown != "") {
    // With every byte in the vocabulary nothing is ever unknown, and the key has no effect.
    for (int byte = 0; byte < 256; ++byte) {
      if (!vocabulary.find(to_byte_letters(std::string(1, static_cast<char>(byte)))))
        model.refuse(
            str("BPE with the unk_token ", unknown->dump(), " and no token for byte ", byte),
            "known: a vocabulary with all 256 bytes, or no unk_token in the model");
    }
  }
  read_merges(model, out);
}

void read_added(const Node& root, TokenizerSpec& spec) {
  if (!root.find("added_tokens")) return;
  for (const Node& item : root.children("added_tokens")) {
    AddedToken token;
    token.content = item.text("content");
    token.id = read_id(item.need("id"), str("the added token '", token.content, "'"), item);
    token.special = item.flag("special", false);
    token.normalized = item.flag("normalized", !token.special);
    token.single_word = item.flag("single_word", false);
    token.lstrip = item.flag("lstrip", false);
    token.rstrip = item.flag("rstrip", false);
    spec.added.push_back(std::move(token));
  }
}

void read_normalizer(const Node& node, TokenizerSpec& spec, int depth = 0) {
  const std::string type = node.type();
  if (depth > 8) node.refuse("normalisers nested this deep", "a plain Sequence");
  if (type == "Sequence") {
    for (const Node& item : node.children("normalizers")) read_normalizer(item, spec, depth + 1);
  } else if (type == "NFC") {
    spec.normalizers.push_back(NormalizerKind::nfc);
  } else if (type == "NFD") {
    spec.normalizers.push_back(NormalizerKind::nfd);
  } else if (type == "NFKC") {
    spec.normalizers.push_back(NormalizerKind::nfkc);
  } else if (type == "NFKD") {
    spec.normalizers.push_back(NormalizerKind::nfkd);
  } else {
    node.refuse(str("the normaliser '", type, "'"), "known: Sequence, NFC, NFD, NFKC, NFKD");
  }
}

SplitBehavior read_behavior(const Node& node) {
  const std::string name = node.text("behavior");
  if (name == "Removed") return SplitBehavior::removed;
  if (name == "Isolated") return SplitBehavior::isolated;
  if (name == "MergedWithPrevious") return SplitBehavior::merged_with_previous;
  if (name == "MergedWithNext") return SplitBehavior::merged_with_next;
  if (name == "Contiguous") return SplitBehavior::contiguous;
  throw Error(ErrorKind::format, str("the behaviour '", name, "' of Split"), node.where(),
              did_you_mean(name, {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext",
                                  "Contiguous"}));
}

void read_pre_tokenizer(const Node& node, TokenizerSpec& spec, int depth = 0) {
  const std::string type = node.type();
  if (depth > 8) node.refuse("pre-tokenisers nested this deep", "a plain Sequence");
  PreTokenizerStep step;
  if (type == "Sequence") {
    for (const Node& item : node.children("pretokenizers"))
      read_pre_tokenizer(item, spec, depth + 1);
    return;
  }
  if (type == "Digits") {
    step.kind = PreTokenizerStep::Kind::digits;
    step.individual_digits = node.flag("individual_digits", false);
  } else if (type == "ByteLevel") {
    step.kind = PreTokenizerStep::Kind::byte_level;
    step.add_prefix_space = node.flag("add_prefix_space", true);
    step.use_regex = node.flag("use_regex", true);
    step.trim_offsets = node.flag("trim_offsets", true);
  } else if (type == "Split") {
    step.kind = PreTokenizerStep::Kind::split;
    const Node pattern = node.child("pattern");
    step.literal = pattern.find("String") != nullptr;
    step.pattern = pattern.text(step.literal ? "String" : "Regex");
    step.behavior = read_behavior(node);
    step.invert = node.flag("invert", false);
  } else {
    node.refuse(str("the pre-tokeniser '", type, "'"), "known: Sequence, Digits, ByteLevel, Split");
  }
  spec.pre_tokenizer.push_back(std::move(step));
}

void read_template(const Node& node, TokenizerSpec& spec) {
  const Node tokens = node.child("special_tokens");
  for (const Node& piece : node.children("single")) {
    TemplatePiece out;
    if (piece.find("Sequence")) {
      out.is_text = true;
    } else {
      const Node special = piece.child("SpecialToken");
      out.name = special.text("id");
      const Json& ids = tokens.child(out.name).list("ids");
      for (const Json& id : ids)
        out.ids.push_back(read_id(id, str("the special token '", out.name, "'"), tokens));
    }
    spec.single.push_back(std::move(out));
  }
  if (std::count_if(spec.single.begin(), spec.single.end(),
                    [](const auto& p) { return p.is_text; }) != 1)
    throw Error(ErrorKind::format, "a template for one text that does not name it once",
                node.where());
}

void read_roberta(const Node& node, TokenizerSpec& spec) {
  for (const char* key : {"cls", "", "sep"}) {
    TemplatePiece out;
    if (!*key) {
      out.is_text = true;
    } else {
      const Json& pair = node.list(key);
      if (pair.size() != 2 || !pair[0].is_string())
        throw Error(ErrorKind::format, str("'", key, "' should be a token and its id"),
                    node.where());
      out.name = pair[0].get<std::string>();
      out.ids.push_back(read_id(pair[1], out.name, node));
    }
    spec.single.push_back(std::move(out));
  }
}

void read_post(const Node& node, TokenizerSpec& spec, int depth = 0) {
  const std::string type = node.type();
  if (depth > 8) node.refuse("post-processors nested this deep", "a plain Sequence");
  if (type == "Sequence") {
    for (const Node& item : node.children("processors")) read_post(item, spec, depth + 1);
  } else if (type == "ByteLevel") {
    spec.byte_level_post = true;
  } else if ((type == "TemplateProcessing" || type == "RobertaProcessing") &&
             !spec.single.empty()) {
    node.refuse("two post-processors that add tokens", "one");
  } else if (type == "TemplateProcessing") {
    read_template(node, spec);
  } else if (type == "RobertaProcessing") {
    read_roberta(node, spec);
  } else {
    node.refuse(str("the post-processor '", type, "'"),
                "known: Sequence, ByteLevel, TemplateProcessing, RobertaProcessing");
  }
}

void read_decoder(const Node& node, int depth = 0) {
  const std::string type = node.type();
  if (type == "Sequence" && depth < 8 && node.list("decoders").size() == 1) {
    read_decoder(node.children("decoders")[0], depth + 1);
  } else if (type != "ByteLevel") {
    node.refuse(str("the decoder '", type, "'"), "known: ByteLevel");
  }
}

// A special token's name: a string, or the object of an added token.
std::optional<std::string> name_of(const Json& config, const std::string& key,
                                   const std::string& where) {
  if (!config.is_object()) return {};
  const auto at = config.find(key);
  if (at == config.end() || at->is_null()) return {};
  if (at->is_string()) return at->get<std::string>();
  if (at->is_object() && at->contains("content") && (*at)["content"].is_string())
    return (*at)["content"].get<std::string>();
  throw Error(ErrorKind::format, str("'", key, "' should be a token, not ", at->type_name()),
              where);
}

}  // namespace

TokenizerSpec read_tokenizer_json(const Json& tokenizer, const Json& config, const Json& map,
                                  const std::string& where) {
  TokenizerSpec spec;
  spec.where = where;
  const Node root(tokenizer, "", where);
  read_model(root.child("model"), spec.bpe);
  read_added(root, spec);
  if (root.find("normalizer")) read_normalizer(root.child("normalizer"), spec);
  if (!root.find("pre_tokenizer"))
    root.refuse("a tokenizer without a pre-tokeniser",
                "known: byte-level BPE, whose pre-tokeniser is ByteLevel");
  read_pre_tokenizer(root.child("pre_tokenizer"), spec);
  if (root.find("post_processor")) read_post(root.child("post_processor"), spec);
  if (!root.find("decoder")) root.refuse("a tokenizer without a decoder", "known: ByteLevel");
  read_decoder(root.child("decoder"));
  const auto role = [&](const char* key) {
    auto name = name_of(config, key, str("tokenizer_config.json beside ", where));
    return name ? name : name_of(map, key, str("special_tokens_map.json beside ", where));
  };
  spec.special = {role("bos_token"), role("eos_token"), role("pad_token"), role("unk_token")};
  return spec;
}

}  // namespace smidgen
