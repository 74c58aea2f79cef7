#include "smidgen/text/pre_tokenizer.h"

#include <utility>

#include "smidgen/base/error.h"
#include "smidgen/text/characters.h"
#include "smidgen/text/utf8.h"

namespace smidgen {
namespace {

constexpr const char* kGpt2 =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

struct Part {
  Piece piece;
  bool match;
};

// Matches and the gaps between them, in order, covering the piece.
class Parts {
 public:
  explicit Parts(bool invert) : invert_(invert) {}
  void clear() { parts_.clear(); }
  void set_invert(bool invert) { invert_ = invert; }
  void add(size_t begin, size_t end, bool match) {
    if (begin < end) parts_.push_back({{begin, end}, match != invert_});
  }
  void write(SplitBehavior behavior, std::vector<Piece>& out) const;

 private:
  std::vector<Part> parts_;
  bool invert_;
};

void Parts::write(SplitBehavior behavior, std::vector<Piece>& out) const {
  switch (behavior) {
    case SplitBehavior::removed:
      for (const Part& part : parts_) {
        if (!part.match) out.push_back(part.piece);
      }
      return;
    case SplitBehavior::isolated:
      for (const Part& part : parts_) out.push_back(part.piece);
      return;
    case SplitBehavior::contiguous:
      for (size_t i = 0; i < parts_.size(); ++i) {
        if (i > 0 && parts_[i].match == parts_[i - 1].match) {
          out.back().end = parts_[i].piece.end;
        } else {
          out.push_back(parts_[i].piece);
        }
      }
      return;
    case SplitBehavior::merged_with_previous:
      for (size_t i = 0; i < parts_.size(); ++i) {
        if (i > 0 && parts_[i].match && !parts_[i - 1].match) {
          out.back().end = parts_[i].piece.end;
        } else {
          out.push_back(parts_[i].piece);
        }
      }
      return;
    case SplitBehavior::merged_with_next:
      for (size_t i = 0; i < parts_.size(); ++i) {
        if (i > 0 && !parts_[i].match && parts_[i - 1].match) {
          out.back().end = parts_[i].piece.end;
        } else {
          out.push_back(parts_[i].piece);
        }
      }
      return;
  }
}

Parts& scratch_parts(bool invert) {
  thread_local Parts parts(false);
  parts.clear();
  parts.set_invert(invert);
  return parts;
}

void split_digits(std::string_view text, Piece piece, bool individual, std::vector<Piece>& out) {
  size_t at = piece.begin, run = at;
  bool run_digits = false;
  const auto close = [&](size_t end) {
    if (run < end) out.push_back({run, end});
    run = end;
  };
  while (at < piece.end) {
    size_t length = 1;
    bool digit;
    if (static_cast<uint8_t>(text[at]) < 0x80) {
      digit = text[at] >= '0' && text[at] <= '9';
    } else {
      const Utf8Step step = utf8_step(text.substr(at, piece.end - at));
      length = step.length;
      digit = is_numeric(step.code);
    }
    if (digit != run_digits || (digit && individual)) close(at);
    run_digits = digit;
    at += length;
  }
  close(at);
}

void find_matches(const Pattern& pattern, std::string_view text, Piece piece, Parts& parts) {
  const std::string_view subject = text.substr(piece.begin, piece.end - piece.begin);
  size_t done = 0, from = 0, begin = 0, end = 0;
  while (from < subject.size() && pattern.find(subject, from, begin, end)) {
    if (begin == end) {  // an empty match cuts nothing; go on behind the next character
      from = end < subject.size() ? end + utf8_step(subject.substr(end)).length : subject.size();
      continue;
    }
    parts.add(piece.begin + done, piece.begin + begin, false);
    parts.add(piece.begin + begin, piece.begin + end, true);
    done = from = end;
  }
  parts.add(piece.begin + done, piece.end, false);
}

void find_literal(const std::string& literal, std::string_view text, Piece piece, Parts& parts) {
  const std::string_view subject = text.substr(piece.begin, piece.end - piece.begin);
  size_t done = 0;
  for (size_t at; (at = subject.find(literal, done)) != std::string_view::npos;
       done = at + literal.size()) {
    parts.add(piece.begin + done, piece.begin + at, false);
    parts.add(piece.begin + at, piece.begin + at + literal.size(), true);
  }
  parts.add(piece.begin + done, piece.end, false);
}

}  // namespace

PreTokenizer::PreTokenizer(std::vector<PreTokenizerStep> steps, const std::string& where)
    : steps_(std::move(steps)) {
  using Kind = PreTokenizerStep::Kind;
  for (size_t i = 0; i < steps_.size(); ++i) {
    const PreTokenizerStep& step = steps_[i];
    if ((step.kind == Kind::byte_level) != (i + 1 == steps_.size()))
      throw Error(ErrorKind::unsupported, "a pre-tokeniser in which ByteLevel is not the last step",
                  where);
    if (step.kind == Kind::split && step.literal && step.pattern.empty())
      throw Error(ErrorKind::format, "a Split pre-tokeniser with an empty string", where);
    const bool regex =
        step.kind == Kind::split ? !step.literal : step.kind == Kind::byte_level && step.use_regex;
    patterns_.push_back(
        !regex ? nullptr
               : std::make_unique<Pattern>(
                     step.kind == Kind::split ? step.pattern : std::string(kGpt2), where));
  }
  if (steps_.empty())
    throw Error(ErrorKind::unsupported, "a tokenizer without a pre-tokeniser", where,
                "byte-level BPE needs ByteLevel");
}

void PreTokenizer::apply(const PreTokenizerStep& step, const Pattern* pattern,
                         std::string_view text, Piece piece, std::vector<Piece>& out) const {
  if (step.kind == PreTokenizerStep::Kind::digits)
    return split_digits(text, piece, step.individual_digits, out);
  if (step.kind == PreTokenizerStep::Kind::byte_level && !pattern) {
    out.push_back(piece);
    return;
  }
  Parts& parts = scratch_parts(step.kind == PreTokenizerStep::Kind::split && step.invert);
  if (pattern) {
    find_matches(*pattern, text, piece, parts);
  } else {
    find_literal(step.pattern, text, piece, parts);
  }
  parts.write(step.kind == PreTokenizerStep::Kind::split ? step.behavior : SplitBehavior::isolated,
              out);
}

bool PreTokenizer::split(std::string_view text, std::vector<Piece>& pieces, std::string& rewritten,
                         Alignment& alignment) const {
  thread_local std::vector<Piece> before;
  pieces.clear();
  if (!text.empty()) pieces.push_back({0, text.size()});
  bool changed = false;
  for (size_t i = 0; i < steps_.size(); ++i) {
    if (steps_[i].add_prefix_space && !pieces.empty()) {  // the last step; see the constructor
      rewritten.clear();
      alignment.clear();
      for (Piece& piece : pieces) {
        alignment.add(rewritten.size(), piece.begin);
        const size_t begin = rewritten.size();
        if (text[piece.begin] != ' ') {
          rewritten += ' ';
          alignment.add(rewritten.size(), piece.begin);
        }
        rewritten += text.substr(piece.begin, piece.end - piece.begin);
        alignment.add(rewritten.size(), piece.end);
        piece = {begin, rewritten.size()};
      }
      text = rewritten;
      changed = true;
    }
    std::swap(pieces, before);
    pieces.clear();
    for (const Piece& piece : before) apply(steps_[i], patterns_[i].get(), text, piece, pieces);
  }
  return changed;
}

}  // namespace smidgen
