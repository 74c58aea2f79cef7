// TokenDecoder stages that join words: WordPiece, Metaspace, BPEDecoder, CTC, and none.
#include <optional>

#include "smidgen/text/decoder.h"

namespace smidgen {
namespace {

// In one pass; `with` is no longer than `what`, or a space.
void replace_all(std::string& text, std::string_view what, std::string_view with) {
  if (what.empty()) return;
  for (size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += with.size())
    text.replace(at, what.size(), with);
}

// The reference's list, in its order.
void clean_up(std::string& text) {
  constexpr std::pair<const char*, const char*> kRules[] = {
      {" .", "."},   {" ?", "?"},     {" !", "!"},    {" ,", ","},
      {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},  {" do not", " don't"},
      {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  for (const auto& [what, with] : kRules) replace_all(text, what, with);
}

// Stages that see whole tokens: parts of a fused one are put together first.
class WholeTokens : public DecoderStage {
 public:
  void push(DecodedPart part, const DecodedSink& out) override {
    token_ += part.text;
    if (!part.last) return;
    std::string token;
    token.swap(token_);
    whole(std::move(token), out);
  }

 protected:
  virtual void whole(std::string token, const DecodedSink& out) = 0;

 private:
  std::string token_;
};

class SpaceStage final : public WholeTokens {
  void whole(std::string token, const DecodedSink& out) override {
    out({first_ ? token : " " + token, true});
    first_ = false;
  }
  bool first_ = true;
};

class WordPieceStage final : public WholeTokens {
 public:
  WordPieceStage(std::string prefix, bool clean) : prefix_(std::move(prefix)), clean_(clean) {}

 private:
  void whole(std::string token, const DecodedSink& out) override {
    if (!first_) {
      if (token.starts_with(prefix_)) {
        token.erase(0, prefix_.size());
      } else {
        token.insert(0, " ");
      }
    }
    first_ = false;
    if (clean_) clean_up(token);
    out({std::move(token), true});
  }
  std::string prefix_;
  bool clean_, first_ = true;
};

// The marks are spaces, but for those in the first token, which go when words get a mark put before
// them.
class MetaspaceStage final : public WholeTokens {
 public:
  MetaspaceStage(std::string mark, bool prepends) : mark_(std::move(mark)), prepends_(prepends) {}

 private:
  void whole(std::string token, const DecodedSink& out) override {
    replace_all(token, mark_, first_ && prepends_ ? "" : " ");
    first_ = false;
    out({std::move(token), true});
  }
  std::string mark_;
  bool prepends_, first_ = true;
};

// The suffix is a space, and nothing at the end of the text: so each token waits for the next.
class BpeStage final : public WholeTokens {
 public:
  explicit BpeStage(std::string suffix) : suffix_(std::move(suffix)) {}
  void flush(const DecodedSink& out) override { put("", out); }

 private:
  void whole(std::string token, const DecodedSink& out) override {
    put(" ", out);
    held_ = std::move(token);
  }
  void put(std::string_view end, const DecodedSink& out) {
    if (!held_) return;
    replace_all(*held_, suffix_, end);
    out({std::move(*held_), true});
    held_.reset();
  }
  std::string suffix_;
  std::optional<std::string> held_;
};

// Connectionist temporal classification (Graves et al. 2006): repeats and pads go.
class CtcStage final : public WholeTokens {
 public:
  CtcStage(std::string pad, std::string delimiter, bool clean)
      : pad_(std::move(pad)), delimiter_(std::move(delimiter)), clean_(clean) {}

 private:
  void whole(std::string token, const DecodedSink& out) override {
    if (token == before_) return;
    before_ = token;
    replace_all(token, pad_, "");
    if (clean_) {
      clean_up(token);
      replace_all(token, delimiter_, " ");
    }
    if (!token.empty()) out({std::move(token), true});
  }
  std::string pad_, delimiter_;
  bool clean_;
  std::optional<std::string> before_;
};

}  // namespace

StageMaker make_space_decoder() {
  return [] { return std::make_unique<SpaceStage>(); };
}

StageMaker make_word_piece_decoder(const JsonNode& node) {
  const std::string prefix = node.text("prefix", "##");
  const bool clean = node.flag("cleanup", true);
  return [=] { return std::make_unique<WordPieceStage>(prefix, clean); };
}

StageMaker make_metaspace_decoder(const JsonNode& node) {
  const std::string mark = node.character("replacement", "\u2581");
  const bool prepends =
      node.text("prepend_scheme", node.flag("add_prefix_space", true) ? "always" : "never") !=
      "never";
  return [=] { return std::make_unique<MetaspaceStage>(mark, prepends); };
}

StageMaker make_bpe_decoder(const JsonNode& node) {
  const std::string suffix = node.text("suffix", "</w>");
  return [=] { return std::make_unique<BpeStage>(suffix); };
}

StageMaker make_ctc_decoder(const JsonNode& node) {
  const std::string pad = node.text("pad_token", "<pad>"),
                    delimiter = node.text("word_delimiter_token", "|");
  const bool clean = node.flag("cleanup", true);
  return [=] { return std::make_unique<CtcStage>(pad, delimiter, clean); };
}

}  // namespace smidgen
