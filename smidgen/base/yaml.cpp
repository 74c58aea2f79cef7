#include "smidgen/base/yaml.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>
#include <unordered_map>

#include <utf8proc.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include "smidgen/base/error.h"

namespace smidgen {
namespace {

constexpr size_t kMaxDepth = 64, kMaxNodes = 100000, kMaxBytes = size_t{4} << 20;
constexpr size_t kMaxDocuments = 256;

// Bytes before the first that is not UTF-8; text.size() when all is well.
size_t valid_utf8(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    utf8proc_int32_t point = 0;
    const auto length =
        utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()) + at,
                         static_cast<utf8proc_ssize_t>(text.size() - at), &point);
    if (length <= 0) break;
    at += static_cast<size_t>(length);
  }
  return at;
}

class TreeBuilder : public YAML::EventHandler {
 public:
  explicit TreeBuilder(const std::string& file) : file_(&file) {}

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    finish(make(mark, YamlNode::Kind::null), anchor);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) fail(mark, "an alias to something that is not complete yet");
    YamlNode copy = found->second;
    count(copy, mark);
    copy.line = mark.line + 1;
    copy.column = mark.column + 1;
    finish(std::move(copy), 0);
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    // yaml-cpp reports "?" for a plain scalar and "!" for a quoted one.
    if (tag != "?" && tag != "!" && !tag.empty()) fail(mark, str("the tag ", tag));
    // An escape such as "\ud800" makes what no UTF-8 text can hold.
    if (valid_utf8(value) < value.size()) fail(mark, "half a surrogate pair");
    YamlNode node = make(mark, YamlNode::Kind::scalar);
    node.plain = tag != "!";
    node.text = value;
    finish(std::move(node), anchor);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, YamlNode::Kind::list);
  }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, YamlNode::Kind::map);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapEnd() override { close(); }

  YamlNode take() { return root_ ? std::move(*root_) : YamlNode{}; }

 private:
  struct Open {
    YamlNode node;
    YAML::anchor_t anchor;
    std::optional<YamlNode> key = {};
    std::unordered_map<std::string, size_t> keys = {};  // index of each key's entry
  };

  [[noreturn]] void fail(const YAML::Mark& mark, const std::string& what) const {
    throw Error(ErrorKind::format, str(what, " is not allowed in a recipe"),
                str(*file_, ":", mark.line + 1, ":", mark.column + 1));
  }
  YamlNode make(const YAML::Mark& mark, YamlNode::Kind kind) {
    if (++nodes_ > kMaxNodes) fail(mark, str("more than ", kMaxNodes, " values"));
    YamlNode node;
    node.kind = kind;
    node.line = mark.line + 1;
    node.column = mark.column + 1;
    return node;
  }
  void count(const YamlNode& node, const YAML::Mark& mark) {
    if (++nodes_ > kMaxNodes) fail(mark, str("more than ", kMaxNodes, " values"));
    for (const YamlNode& item : node.items) count(item, mark);
    for (const auto& [key, value] : node.entries) count(value, mark);
  }
  void open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
            YamlNode::Kind kind) {
    if (tag != "?" && tag != "!" && !tag.empty()) fail(mark, str("the tag ", tag));
    if (stack_.size() >= kMaxDepth) fail(mark, str("nesting deeper than ", kMaxDepth));
    stack_.push_back({make(mark, kind), anchor});
  }
  void close() {
    Open done = std::move(stack_.back());
    stack_.pop_back();
    finish(std::move(done.node), done.anchor);
  }
  void finish(YamlNode node, YAML::anchor_t anchor) {
    if (anchor != 0) anchors_[anchor] = node;
    if (stack_.empty()) {
      root_ = std::move(node);
      return;
    }
    Open& parent = stack_.back();
    if (parent.node.kind == YamlNode::Kind::list) {
      parent.node.items.push_back(std::move(node));
    } else if (!parent.key) {
      const YAML::Mark mark = mark_of(node);
      if (node.kind == YamlNode::Kind::null) {
        node.kind = YamlNode::Kind::scalar;
        node.text = "null";
      }
      if (node.kind != YamlNode::Kind::scalar) fail(mark, "a key that is not a word");
      const auto [first, is_new] = parent.keys.emplace(node.text, parent.node.entries.size());
      if (!is_new) {
        throw Error(ErrorKind::usage, str("[", node.text, "] is given twice"), node.place(*file_),
                    str("first at ", parent.node.entries[first->second].first.place(*file_)));
      }
      parent.key = std::move(node);
    } else {
      // A value that is left out has the mark of whatever comes next.
      if (node.kind == YamlNode::Kind::null && node.line > parent.key->line) {
        node.line = parent.key->line;
        node.column = parent.key->column;
      }
      parent.node.entries.emplace_back(std::move(*parent.key), std::move(node));
      parent.key.reset();
    }
  }
  static YAML::Mark mark_of(const YamlNode& node) {
    YAML::Mark mark;
    mark.line = node.line - 1;
    mark.column = node.column - 1;
    return mark;
  }

  const std::string* file_;
  size_t nodes_ = 0;
  std::optional<YamlNode> root_;
  std::vector<Open> stack_;
  std::map<YAML::anchor_t, YamlNode> anchors_;
};

}  // namespace

std::string YamlNode::place(const std::string& file) const {
  return str(file, ":", line, ":", column);
}

std::vector<YamlNode> parse_yaml_documents(std::string_view text, const std::string& file) {
  if (text.size() > kMaxBytes) {
    throw Error(ErrorKind::format, str("a recipe of ", text.size(), " bytes is too large"), file,
                str("at most ", kMaxBytes, " bytes are read"));
  }
  if (text.find('\0') != text.npos) {
    throw Error(ErrorKind::format, "the file contains a zero byte, so it is not YAML",
                str(file, " at byte ", text.find('\0')));
  }
  if (const size_t good = valid_utf8(text); good < text.size()) {
    const std::string_view before = text.substr(0, good);
    const auto line = 1 + std::count(before.begin(), before.end(), '\n');
    throw Error(ErrorKind::format, str("byte ", good, " is not UTF-8"), str(file, ":", line),
                "save the file as UTF-8");
  }
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    std::vector<YamlNode> documents;
    for (TreeBuilder builder(file); parser.HandleNextDocument(builder);
         builder = TreeBuilder(file)) {
      if (documents.size() == kMaxDocuments) {
        throw Error(ErrorKind::format, str("more than ", kMaxDocuments, " YAML documents"), file);
      }
      documents.push_back(builder.take());
    }
    return documents;
  } catch (const YAML::Exception& error) {
    const bool known = !error.mark.is_null();
    throw Error(ErrorKind::format, str("not valid YAML: ", error.msg),
                known ? str(file, ":", error.mark.line + 1, ":", error.mark.column + 1) : file);
  }
}

YamlNode parse_yaml(std::string_view text, const std::string& file) {
  std::vector<YamlNode> documents = parse_yaml_documents(text, file);
  if (documents.size() > 1) {
    throw Error(ErrorKind::format, "the file holds more than one YAML document", file,
                "a recipe is one document; remove what follows ---");
  }
  return documents.empty() ? YamlNode{} : std::move(documents.front());
}

namespace {

std::string read_text(const std::string& file) {
  std::error_code code;
  const auto status = std::filesystem::status(file, code);
  if (!std::filesystem::exists(status)) {
    throw Error(ErrorKind::not_found, str("there is no file '", file, "'"), "",
                "a word that is neither a flag nor key=value is taken for a recipe file");
  }
  if (std::filesystem::is_directory(status)) {
    throw Error(ErrorKind::format, "a folder was given where a recipe file is needed", file);
  }
  std::ifstream in(file, std::ios::binary);
  std::string text(kMaxBytes + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (in.bad() || (!in && !in.eof()))
    throw Error(ErrorKind::resource, "cannot read the file", file);
  text.resize(static_cast<size_t>(in.gcount()));
  return text;
}

}  // namespace

YamlNode read_yaml(const std::string& file) {
  return parse_yaml(read_text(file), file);
}

std::vector<YamlNode> read_yaml_documents(const std::string& file) {
  return parse_yaml_documents(read_text(file), file);
}

Json to_json(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::null:
      return nullptr;
    case YamlNode::Kind::list: {
      Json list = Json::array();
      for (const YamlNode& item : node.items) list.push_back(to_json(item));
      return list;
    }
    case YamlNode::Kind::map: {
      Json map = Json::object();
      // The keys are unique; map[...] would walk the object for each of them.
      auto& object = map.get_ref<Json::object_t&>();
      for (const auto& [key, value] : node.entries) object.emplace_back(key.text, to_json(value));
      return map;
    }
    case YamlNode::Kind::scalar:
      break;
  }
  if (!node.plain) return node.text;
  if (node.text == "true" || node.text == "True" || node.text == "TRUE") return true;
  if (node.text == "false" || node.text == "False" || node.text == "FALSE") return false;
  const char *begin = node.text.data(), *end = begin + node.text.size();
  if (begin != end && *begin == '+') ++begin;
  int64_t whole = 0;
  auto result = std::from_chars(begin, end, whole);
  if (result.ec == std::errc() && result.ptr == end) return whole;
  double number = 0;
  result = std::from_chars(begin, end, number);
  // from_chars also reads words such as "inf" and "nan", which YAML spells with a dot.
  const bool word = begin != end && std::isalpha(static_cast<unsigned char>(begin[*begin == '-']));
  if (result.ec == std::errc() && result.ptr == end && !word) return number;
  return node.text;
}

}  // namespace smidgen
