// Decoder stages that put characters together from bytes: ByteLevel, ByteFallback.
#include "smidgen/text/byte_level.h"
#include "smidgen/text/decoder.h"
#include "smidgen/text/token_model.h"
#include "smidgen/text/utf8.h"

namespace smidgen {
namespace {

// Byte letters to bytes, and all tokens to one; a token outside the alphabet stands for itself.
// Broken UTF-8 becomes U+FFFD.
class ByteLevelStage final : public DecoderStage {
 public:
  void push(DecodedPart part, const DecodedSink& out) override {
    // Part of a fused token: a letter outside the alphabet may still come, which would make all of
    // it stand for itself.
    token_ += part.text;
    if (!part.last) return;
    pending_ += from_byte_letters(token_).value_or(token_);
    token_.clear();
    // Only an unfinished character at the very end has to wait; it is three bytes at most.
    size_t done = 0;
    while (done < pending_.size()) {
      done += utf8_valid_prefix(std::string_view(pending_).substr(done));
      if (done == pending_.size()) break;
      const Utf8Step step = utf8_step(std::string_view(pending_).substr(done));
      if (step.state == Utf8Step::State::cut) break;
      done += step.length;
    }
    if (done == 0) return;
    out({utf8_lossy(std::string_view(pending_).substr(0, done)), false});
    pending_.erase(0, done);
  }
  void flush(const DecodedSink& out) override { out({utf8_lossy(pending_), true}); }

 private:
  std::string token_, pending_;
};

// A run of byte tokens becomes its text if all of it is UTF-8, else one U+FFFD per byte: what a run
// is worth is only known at its end.
class ByteFallbackStage final : public DecoderStage {
 public:
  void push(DecodedPart part, const DecodedSink& out) override {
    token_ += part.text;
    if (!part.last) return;
    const int byte = byte_of_token(token_);
    if (byte >= 0) {
      run_ += static_cast<char>(byte);
    } else {
      close(out);
      out({token_, true});
    }
    token_.clear();
  }
  void flush(const DecodedSink& out) override { close(out); }

 private:
  void close(const DecodedSink& out) {
    if (run_.empty()) return;
    if (!is_utf8(run_)) {
      std::string broken;
      for (size_t i = 0; i < run_.size(); ++i) broken += "\xEF\xBF\xBD";
      run_ = broken;
    }
    out({run_, true});
    run_.clear();
  }
  std::string token_, run_;
};

}  // namespace

StageMaker make_byte_level_decoder(const JsonNode&) {
  return [] { return std::make_unique<ByteLevelStage>(); };
}
StageMaker make_byte_fallback_decoder(const JsonNode&) {
  return [] { return std::make_unique<ByteFallbackStage>(); };
}

}  // namespace smidgen
