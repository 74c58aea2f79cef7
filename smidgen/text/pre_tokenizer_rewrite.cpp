// Pre-tokenisers that also change the text: ByteLevel and Metaspace.
#include "smidgen/base/error.h"
#include "smidgen/text/byte_level.h"
#include "smidgen/text/pre_tokenizer.h"
#include "smidgen/text/scanner.h"
#include "smidgen/text/utf8.h"

namespace smidgen {
namespace {

// Rewrites each piece by `change(rewrite, piece)`, which ends at the piece's end; what lies between
// pieces goes.
template <class Change>
void rewrite_pieces(AlignedText& text, std::vector<Piece>& pieces, Change change) {
  Rewrite rewrite(text);
  for (Piece& piece : pieces) {
    rewrite.replace(piece.begin - rewrite.at(), "");
    const size_t begin = rewrite.size();
    change(rewrite, piece);
    piece = {begin, rewrite.size()};
  }
  rewrite.replace(text.text().size() - rewrite.at(), "");
  rewrite.finish();
}

class ByteLevel final : public PreTokenizerStep {
 public:
  ByteLevel(const JsonNode& node, bool raw)
      : prefix_(node.flag("add_prefix_space", true)),
        words_(node.flag("use_regex", true)),
        raw_(raw) {
    node.flag("trim_offsets", true);  // moves offsets only; ours follow the bytes
  }

  void apply(AlignedText& text, std::vector<Piece>& pieces) const override {
    if (prefix_) {
      rewrite_pieces(text, pieces, [&](Rewrite& rewrite, Piece piece) {
        if (text.text()[piece.begin] != ' ') rewrite.insert(" ");
        rewrite.keep_to(piece.end);
      });
    }
    if (words_) {
      recut(pieces, [&](Piece piece, std::vector<Piece>& out) {
        const std::string_view all = text.text().substr(0, piece.end);
        for (size_t at = piece.begin, end; at < piece.end; at = end) {
          end = scan_(all, at);
          out.push_back({at, end});
        }
      });
    }
    if (raw_) return;
    rewrite_pieces(text, pieces, [&](Rewrite& rewrite, Piece piece) {
      for (size_t at = piece.begin; at < piece.end; ++at)
        rewrite.replace(1, to_byte_letters(text.text().substr(at, 1)));
    });
  }

 private:
  bool prefix_, words_, raw_;
  Scanner scan_ = find_scanner(kGpt2Words);
};

// SentencePiece's way: spaces become a visible character, and words begin with it.
class Metaspace final : public PreTokenizerStep {
 public:
  enum class Prepend { always, first, never };

  explicit Metaspace(const JsonNode& node)
      : mark_(node.character("replacement", "\u2581")), split_(node.flag("split", true)) {
    // Files of tokenizers before 0.14 say add_prefix_space.
    const std::string scheme =
        node.text("prepend_scheme", node.flag("add_prefix_space", true) ? "always" : "never");
    if (scheme != "always" && scheme != "first" && scheme != "never")
      throw Error(ErrorKind::format, str("the prepend_scheme '", scheme, "'"), node.where(),
                  did_you_mean(scheme, {"always", "first", "never"}));
    prepend_ = scheme == "always"  ? Prepend::always
               : scheme == "first" ? Prepend::first
                                   : Prepend::never;
  }

  bool needs_origins() const override { return prepend_ == Prepend::first; }

  void apply(AlignedText& text, std::vector<Piece>& pieces) const override {
    rewrite_pieces(text, pieces, [&](Rewrite& rewrite, Piece piece) {
      const std::string_view old = text.text();
      const std::string_view word = old.substr(piece.begin, piece.end - piece.begin);
      const bool wanted = prepend_ == Prepend::always ||
                          (prepend_ == Prepend::first && text.begin(piece.begin) == 0);
      if (wanted && word[0] != ' ' && !word.starts_with(mark_)) rewrite.insert(mark_);
      for (size_t at = piece.begin; (at = old.find(' ', at)) < piece.end; ++at) {
        rewrite.keep_to(at);
        rewrite.replace(1, mark_);
      }
      rewrite.keep_to(piece.end);
    });
    if (!split_) return;
    recut(pieces, [&](Piece piece, std::vector<Piece>& out) {
      const std::string_view all = text.text().substr(0, piece.end);
      for (size_t at = piece.begin, end; at < piece.end; at = end) {
        end = std::min(all.find(mark_, all.substr(at).starts_with(mark_) ? at + mark_.size() : at), piece.end);
        out.push_back({at, end});
      }
    });
  }

 private:
  std::string mark_;
  bool split_;
  Prepend prepend_ = Prepend::always;
};

}  // namespace

std::unique_ptr<PreTokenizerStep> make_byte_level(const JsonNode& node, bool raw_bytes) {
  return std::make_unique<ByteLevel>(node, raw_bytes);
}
std::unique_ptr<PreTokenizerStep> make_metaspace(const JsonNode& node, bool) {
  return std::make_unique<Metaspace>(node);
}

}  // namespace smidgen
