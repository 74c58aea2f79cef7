// Pre-tokenisers that only cut: by a pattern, by a class of characters, by length.
#include <algorithm>

#include "smidgen/base/error.h"
#include "smidgen/text/characters.h"
#include "smidgen/text/pattern.h"
#include "smidgen/text/pre_tokenizer.h"
#include "smidgen/text/scanner.h"
#include "smidgen/text/utf8.h"

namespace smidgen {
namespace {

class Split final : public PreTokenizerStep {
 public:
  explicit Split(const JsonNode& node)
      : finder_(node.child("pattern")),
        behavior_(read_behavior(node, "Isolated")),
        invert_(node.flag("invert", false)),
        scan_(finder_.is_regex() ? find_scanner(finder_.text()) : nullptr) {
    // These patterns match everywhere, so that there are no gaps.
    if ((behavior_ != SplitBehavior::isolated && !(behavior_ == SplitBehavior::removed && invert_)))
      scan_ = nullptr;
  }

  void apply(AlignedText& text, std::vector<Piece>& pieces) const override {
    thread_local Parts parts;
    recut(pieces, [&](Piece piece, std::vector<Piece>& out) {
      const std::string_view word = text.text().substr(piece.begin, piece.end - piece.begin);
      if (scan_) {
        for (size_t at = 0, end; at < word.size(); at = end) {
          end = scan_(word, at);
          out.push_back({piece.begin + at, piece.begin + end});
        }
        return;
      }
      parts.start(piece);
      finder_.each(word, [&](size_t begin, size_t end) {
        parts.match(piece.begin + begin, piece.begin + end);
      });
      parts.write(behavior_, invert_, out);
    });
  }

 private:
  Finder finder_;
  SplitBehavior behavior_;
  bool invert_;
  Scanner scan_;
};

// Every character of the class is a match of its own.
template <class Test>
class ClassSplit final : public PreTokenizerStep {
 public:
  ClassSplit(Test test, SplitBehavior behavior) : test_(test), behavior_(behavior) {}
  void apply(AlignedText& text, std::vector<Piece>& pieces) const override {
    thread_local Parts parts;
    recut(pieces, [&](Piece piece, std::vector<Piece>& out) {
      parts.start(piece);
      for (size_t at = piece.begin; at < piece.end;) {
        const Utf8Step step = utf8_step(text.text().substr(at));
        if (test_(step.code)) parts.match(at, at + step.length);
        at += step.length;
      }
      parts.write(behavior_, false, out);
    });
  }

 private:
  Test test_;
  SplitBehavior behavior_;
};
template <class Test>
std::unique_ptr<PreTokenizerStep> class_split(Test test, SplitBehavior behavior) {
  return std::make_unique<ClassSplit<Test>>(test, behavior);
}

// White space goes, and each sign is a word of its own.
class BertWords final : public PreTokenizerStep {
 public:
  void apply(AlignedText& text, std::vector<Piece>& pieces) const override {
    recut(pieces, [&](Piece piece, std::vector<Piece>& out) {
      size_t begin = piece.begin;
      for (size_t at = piece.begin; at < piece.end;) {
        const Utf8Step step = utf8_step(text.text().substr(at));
        const bool space = is_white_space(step.code);
        if (space || is_punctuation(step.code)) {
          if (begin < at) out.push_back({begin, at});
          if (!space) out.push_back({at, at + step.length});
          begin = at + step.length;
        }
        at += step.length;
      }
      if (begin < piece.end) out.push_back({begin, piece.end});
    });
  }
};

// \w+|[^\w\s]+, with what lies between removed.
class Whitespace final : public PreTokenizerStep {
 public:
  void apply(AlignedText& text, std::vector<Piece>& pieces) const override {
    recut(pieces, [&](Piece piece, std::vector<Piece>& out) {
      int kind = 0;  // of the run: 0 space, 1 word, 2 other
      size_t begin = piece.begin;
      for (size_t at = piece.begin; at < piece.end;) {
        const Utf8Step step = utf8_step(text.text().substr(at));
        const int now = is_white_space(step.code) ? 0 : is_word(step.code) ? 1 : 2;
        if (now != kind) {
          if (kind != 0) out.push_back({begin, at});
          begin = at;
          kind = now;
        }
        at += step.length;
      }
      if (kind != 0) out.push_back({begin, piece.end});
    });
  }
};

class FixedLength final : public PreTokenizerStep {
 public:
  explicit FixedLength(int64_t length) : length_(length) {}
  void apply(AlignedText& text, std::vector<Piece>& pieces) const override {
    recut(pieces, [&](Piece piece, std::vector<Piece>& out) {
      for (size_t at = piece.begin; at < piece.end;) {
        const size_t begin = at;
        for (int64_t i = 0; i < length_ && at < piece.end; ++i)
          at += utf8_step(text.text().substr(at)).length;
        out.push_back({begin, at});
      }
    });
  }

 private:
  int64_t length_;
};

}  // namespace

std::unique_ptr<PreTokenizerStep> make_split(const JsonNode& node, bool) {
  return std::make_unique<Split>(node);
}

std::unique_ptr<PreTokenizerStep> make_class_split(const JsonNode& node, bool) {
  const std::string type = node.type();
  if (type == "BertPreTokenizer") return std::make_unique<BertWords>();
  if (type == "WhitespaceSplit") return class_split(is_white_space, SplitBehavior::removed);
  if (type == "Punctuation") return class_split(is_punctuation, read_behavior(node, "Isolated"));
  if (type == "Digits")
    return class_split(is_numeric, node.flag("individual_digits", false)
                                       ? SplitBehavior::isolated
                                       : SplitBehavior::contiguous);
  const uint32_t delimiter = utf8_step(node.character("delimiter", "")).code;
  return class_split([delimiter](uint32_t code) { return code == delimiter; },
                     SplitBehavior::removed);
}

std::unique_ptr<PreTokenizerStep> make_whitespace(const JsonNode&, bool) {
  return std::make_unique<Whitespace>();
}

std::unique_ptr<PreTokenizerStep> make_fixed_length(const JsonNode& node, bool) {
  const int64_t length = node.integer("length", 5);
  if (length < 1) throw Error(ErrorKind::format, str("pieces of length ", length), node.where());
  return std::make_unique<FixedLength>(length);
}

}  // namespace smidgen
