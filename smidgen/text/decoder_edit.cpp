// TokenDecoder stages that edit within a token: Fuse, Strip, Replace.
#include <algorithm>

#include "smidgen/base/error.h"
#include "smidgen/text/decoder.h"
#include "smidgen/text/pattern.h"
#include "smidgen/text/utf8.h"

namespace smidgen {
namespace {

class FuseStage final : public DecoderStage {
 public:
  void push(DecodedPart part, const DecodedSink& out) override {
    if (!part.text.empty()) out({std::move(part.text), false});
  }
  void flush(const DecodedSink& out) override { out({"", true}); }
};

// Takes `content` off the ends of each token, `start` and `stop` times at most.
class StripStage final : public DecoderStage {
 public:
  StripStage(std::string content, int64_t start, int64_t stop)
      : content_(std::move(content)), start_(start), stop_(stop) {}

  void push(DecodedPart part, const DecodedSink& out) override {
    held_ += part.text;
    while (cut_ < start_ && held_.starts_with(content_)) {
      held_.erase(0, content_.size());
      ++cut_;
    }
    if (!held_.empty()) cut_ = start_;  // what comes after another character stays
    // The characters at the end that may yet be cut wait.
    size_t tail = held_.size();
    for (int64_t i = 0; i < stop_ && std::string_view(held_).substr(0, tail).ends_with(content_);
         ++i)
      tail -= content_.size();
    if (part.last) {
      out({held_.substr(0, tail), true});
      held_.clear();
      cut_ = 0;
    } else if (tail > 0) {
      out({held_.substr(0, tail), false});
      held_.erase(0, tail);
    }
  }

 private:
  std::string content_, held_;
  int64_t start_, stop_, cut_ = 0;
};

class ReplaceStage final : public DecoderStage {
 public:
  ReplaceStage(std::shared_ptr<const Finder> finder, std::string content)
      : finder_(std::move(finder)), content_(std::move(content)) {}

  void push(DecodedPart part, const DecodedSink& out) override {
    held_ += part.text;
    if (!part.last && finder_->is_regex()) return;
    std::string text;
    size_t done = 0;
    finder_->each(held_, [&](size_t begin, size_t end) {
      text += held_.substr(done, begin - done) + content_;
      done = end;
      bound_decoded(text.size());
    });
    // The end may be the beginning of a match that the next part completes.
    size_t wait = held_.size();
    if (!part.last) {
      const std::string& pattern = finder_->text();
      wait = std::max(
          done, held_.size() - std::min(held_.size(), pattern.empty() ? 0 : pattern.size() - 1));
      while (wait < held_.size() && !pattern.starts_with(std::string_view(held_).substr(wait)))
        ++wait;
    }
    text += held_.substr(done, wait - done);
    held_.erase(0, wait);
    if (part.last || !text.empty()) out({std::move(text), part.last});
  }

 private:
  std::shared_ptr<const Finder> finder_;
  std::string content_, held_;
};

}  // namespace

StageMaker make_fuse_decoder(const JsonNode&) {
  return [] { return std::make_unique<FuseStage>(); };
}

StageMaker make_strip_decoder(const JsonNode& node) {
  const std::string content = node.character("content", " ");
  const int64_t start = node.integer("start", 0), stop = node.integer("stop", 0);
  if (start < 0 || stop < 0)
    throw Error(ErrorKind::format, "Strip with a negative count", node.where());
  return [=] { return std::make_unique<StripStage>(content, start, stop); };
}

StageMaker make_replace_decoder(const JsonNode& node) {
  const auto finder = std::make_shared<const Finder>(node.child("pattern"));
  const std::string content = node.text("content");
  return [=] { return std::make_unique<ReplaceStage>(finder, content); };
}

}  // namespace smidgen
