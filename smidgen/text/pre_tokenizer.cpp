#include "smidgen/text/pre_tokenizer.h"

#include <algorithm>

#include "smidgen/base/error.h"

namespace smidgen {
namespace {

constexpr int kMaxNesting = 16;

struct Entry {
  const char* type;
  std::unique_ptr<PreTokenizerStep> (*make)(const JsonNode&, bool raw_bytes);
};
constexpr Entry kTypes[] = {{"ByteLevel", make_byte_level},
                            {"Whitespace", make_whitespace},
                            {"WhitespaceSplit", make_class_split},
                            {"BertPreTokenizer", make_class_split},
                            {"Metaspace", make_metaspace},
                            {"Punctuation", make_class_split},
                            {"Digits", make_class_split},
                            {"Split", make_split},
                            {"CharDelimiterSplit", make_class_split},
                            {"FixedLength", make_fixed_length}};

void flatten(const JsonNode& node, std::vector<JsonNode>& out, int depth) {
  if (depth > kMaxNesting) node.refuse("pre-tokenisers nested this deep", "a plain Sequence");
  if (node.type() != "Sequence") return out.push_back(node);
  for (const JsonNode& item : node.children("pretokenizers")) flatten(item, out, depth + 1);
}

}  // namespace

PreTokenizer::PreTokenizer(const JsonNode& node, bool raw_bytes) {
  std::vector<JsonNode> nodes;
  flatten(node, nodes, 0);
  for (size_t i = 0; i < nodes.size(); ++i) {
    const std::string type = nodes[i].type();
    const auto* entry = std::find_if(std::begin(kTypes), std::end(kTypes),
                                     [&](const Entry& e) { return type == e.type; });
    if (entry == std::end(kTypes)) {
      std::string known = "known: Sequence";
      for (const Entry& e : kTypes) known += str(", ", e.type);
      nodes[i].refuse(str("the pre-tokeniser '", type, "'"), known);
    }
    steps_.push_back(entry->make(nodes[i], raw_bytes && i + 1 == nodes.size()));
  }
}

void PreTokenizer::split(AlignedText& text, std::vector<Piece>& pieces) const {
  pieces.clear();
  if (!text.text().empty()) pieces.push_back({0, text.text().size()});
  for (const auto& step : steps_) step->apply(text, pieces);
}

bool PreTokenizer::needs_origins() const {
  return std::any_of(steps_.begin(), steps_.end(), [](const auto& s) { return s->needs_origins(); });
}

bool ends_in_byte_level(const Json& pre_tokenizer) {
  if (!pre_tokenizer.is_object()) return false;
  std::vector<JsonNode> nodes;
  flatten(JsonNode(pre_tokenizer, "pre_tokenizer", ""), nodes, 0);
  return !nodes.empty() && nodes.back().type() == "ByteLevel";
}

SplitBehavior read_behavior(const JsonNode& node, const std::string& absent) {
  const std::string name = node.text("behavior", absent);
  const std::vector<std::string> names = {"Removed", "Isolated", "MergedWithPrevious",
                                          "MergedWithNext", "Contiguous"};
  const auto at = std::find(names.begin(), names.end(), name);
  if (at == names.end())
    throw Error(ErrorKind::format, str("the behaviour '", name, "'"), node.where(),
                did_you_mean(name, names));
  return static_cast<SplitBehavior>(at - names.begin());
}

void Parts::match(size_t begin, size_t end) {
  if (done_ < begin) parts_.push_back({{done_, begin}, false});
  parts_.push_back({{begin, end}, true});
  done_ = end;
}

void Parts::write(SplitBehavior behavior, bool invert, std::vector<Piece>& out) {
  if (done_ < piece_.end) parts_.push_back({{done_, piece_.end}, false});
  const size_t first = out.size();
  const auto is_match = [&](size_t i) { return parts_[i].match != invert; };
  for (size_t i = 0; i < parts_.size(); ++i) {
    const bool now = is_match(i), before = i > 0 && is_match(i - 1);
    if (behavior == SplitBehavior::removed && now) continue;
    const bool joins = i > 0 && ((behavior == SplitBehavior::merged_with_previous && now && !before) ||
                                 (behavior == SplitBehavior::merged_with_next && !now && before) ||
                                 (behavior == SplitBehavior::contiguous && now == before));
    if (joins) {
      out.back().end = parts_[i].piece.end;
    } else {
      out.push_back(parts_[i].piece);
    }
  }
  // An empty match cuts, but is no piece itself.
  out.erase(std::remove_if(out.begin() + static_cast<std::ptrdiff_t>(first), out.end(),
                           [](const Piece& p) { return p.begin == p.end; }),
            out.end());
}

}  // namespace smidgen
