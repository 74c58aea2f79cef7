#include "smidgen/delta/merge/layers.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <set>

#include "smidgen/base/str.h"

namespace smidgen {

namespace {

using Words = std::span<const std::string_view>;

// Embeddings of tokens, as the families call them.
constexpr std::string_view kEmbeddings[] = {"embed_tokens",    "tok_embeddings",  "wte",
                                            "word_embeddings", "embed_in",        "embeddings",
                                            "embedding",       "token_embedding", "shared"};
// Heads that may be tied to one.
constexpr std::string_view kHeads[] = {"lm_head.weight",           "embed_out.weight",
                                       "output.weight",            "lm_head.decoder.weight",
                                       "output_layer.weight",      "vocab_projector.weight",
                                       "cls.predictions.decoder.weight"};
constexpr std::string_view kHeadBiases[] = {"lm_head.bias", "cls.predictions.bias",
                                            "cls.predictions.decoder.bias", "lm_head.decoder.bias",
                                            "vocab_projector.bias"};
// Parts of names that mark what comes before the first layer.
constexpr std::string_view kBefore[] = {"embed",     "embd",   "wte",      "wpe",    "shared",
                                        "patch",     "ln_pre", "norm_pre", "pos_",   "position",
                                        "inv_freq",  "conv1",  "conv2",    "relative_pe",
                                        "modal_projector", "merger"};

// Whether `name` is `end`, or ends with it behind a dot.
bool ends_at_dot(std::string_view name, std::string_view end) {
  return name == end || (name.ends_with(end) && name[name.size() - end.size() - 1] == '.');
}

bool any_end(std::string_view name, Words ends) {
  return std::any_of(ends.begin(), ends.end(),
                     [&](std::string_view end) { return ends_at_dot(name, end); });
}

// InternLM's output.weight is a head, the output of a projector is not.
bool is_named(std::string_view tensor, std::string_view head) {
  return head == "output.weight" ? tensor == head : ends_at_dot(tensor, head);
}

bool is_head(std::string_view tensor) {
  return std::any_of(std::begin(kHeads), std::end(kHeads),
                     [&](std::string_view head) { return is_named(tensor, head); });
}

bool is_embedding(std::string_view tensor) {
  return std::any_of(std::begin(kEmbeddings), std::end(kEmbeddings), [&](std::string_view name) {
    return ends_at_dot(tensor, str(name, ".weight"));
  });
}

}  // namespace

std::string LayerName::in_layer(int64_t number) const {
  return str(prefix, ".", number, ".", rest);
}

std::optional<LayerName> layer_name(std::string_view tensor) {
  for (size_t dot = tensor.find('.'); dot != tensor.npos; dot = tensor.find('.', dot + 1)) {
    const size_t end = tensor.find('.', dot + 1);
    if (end == tensor.npos) return std::nullopt;
    const std::string_view word = tensor.substr(dot + 1, end - dot - 1);
    if (word.empty() || word.size() > 9 || word.find_first_not_of("0123456789") != word.npos)
      continue;
    int64_t layer = 0;
    std::from_chars(word.data(), word.data() + word.size(), layer);
    if (dot == 0 || str(layer) != word) return std::nullopt;  // 007 would not find its way back
    return LayerName{std::string(tensor.substr(0, dot)), layer, std::string(tensor.substr(end + 1))};
  }
  return std::nullopt;
}

std::vector<LayerStack> layer_stacks(std::span<const std::string> tensors) {
  std::map<std::string, std::pair<std::set<int64_t>, int64_t>> groups;
  for (const std::string& tensor : tensors) {
    if (const auto name = layer_name(tensor)) {
      auto& [layers, count] = groups[name->prefix];
      layers.insert(name->layer);
      ++count;
    }
  }
  std::vector<LayerStack> stacks;
  for (const auto& [prefix, group] : groups)
    stacks.push_back({prefix, *group.first.rbegin() + 1, group.second});
  std::stable_sort(stacks.begin(), stacks.end(), [](const LayerStack& a, const LayerStack& b) {
    return a.tensors > b.tensors;
  });
  for (size_t i = stacks.size(); i-- > 1;) {
    const auto present = static_cast<int64_t>(groups[stacks[i].prefix].first.size());
    if (present < stacks[i].layers || stacks[i].tensors < 5 * present)
      stacks.erase(stacks.begin() + static_cast<std::ptrdiff_t>(i));
  }
  return stacks;
}

bool is_before_layers(std::string_view tensor) {
  if (is_head(tensor)) return false;
  return std::any_of(std::begin(kBefore), std::end(kBefore), [&](std::string_view part) {
    return tensor.find(part) != tensor.npos;
  });
}

bool is_vocabulary(std::string_view tensor) {
  return !layer_name(tensor) &&
         (is_embedding(tensor) || is_head(tensor) || any_end(tensor, kHeadBiases));
}

std::vector<std::string> tied_names(std::string_view tensor) {
  std::vector<std::string> names;
  if (ends_at_dot(tensor, "encoder.embed_tokens.weight") ||
      ends_at_dot(tensor, "decoder.embed_tokens.weight"))
    names.emplace_back("shared.weight");
  for (const std::string_view head : kHeads) {
    if (!is_named(tensor, head) || layer_name(tensor)) continue;
    // language_model.lm_head.weight is tied to what lies under language_model, if to anything.
    const std::string root(tensor.substr(0, tensor.size() - head.size()));
    for (const char* model : {"model.", "transformer.", "backbone.", "gpt_neox.", "bert.embeddings.",
                              "roberta.embeddings.", "distilbert.embeddings.",
                              "model.language_model.", "model.decoder.", ""}) {
      for (const std::string_view embedding : kEmbeddings)
        names.push_back(str(root, model, embedding, ".weight"));
    }
  }
  return names;
}

bool is_recomputed(std::string_view tensor) {
  constexpr std::string_view kEnds[] = {"rotary_emb.inv_freq", "attn.masked_bias",
                                        "attention.masked_bias", "attn.bias", "attention.bias",
                                        "position_ids"};
  return any_end(tensor, kEnds);
}

}  // namespace smidgen
