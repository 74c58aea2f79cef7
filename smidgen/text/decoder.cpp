#include "smidgen/text/decoder.h"

#include <algorithm>

#include "smidgen/base/error.h"
#include "smidgen/text/byte_level.h"
#include "smidgen/text/token_model.h"

namespace smidgen {
namespace {

constexpr int kMaxNesting = 16;
constexpr size_t kMaxStages = 64;
constexpr size_t kMaxDecoded = size_t{1} << 26;

struct Entry {
  const char* type;
  StageMaker (*make)(const JsonNode&);
};
constexpr Entry kTypes[] = {{"ByteLevel", make_byte_level_decoder},
                            {"WordPiece", make_word_piece_decoder},
                            {"Metaspace", make_metaspace_decoder},
                            {"BPEDecoder", make_bpe_decoder},
                            {"ByteFallback", make_byte_fallback_decoder},
                            {"Fuse", make_fuse_decoder},
                            {"Strip", make_strip_decoder},
                            {"Replace", make_replace_decoder},
                            {"CTC", make_ctc_decoder}};

void add(const JsonNode& node, std::vector<StageMaker>& makers, int depth) {
  if (depth > kMaxNesting) node.refuse("decoders nested this deep", "a plain Sequence");
  const std::string type = node.type();
  if (type == "Sequence") {
    for (const JsonNode& item : node.children("decoders")) add(item, makers, depth + 1);
    return;
  }
  for (const Entry& entry : kTypes) {
    if (type != entry.type) continue;
    if (makers.size() == kMaxStages) node.refuse("a chain of this many decoders", "");
    return makers.push_back(entry.make(node));
  }
  std::string known = "known: Sequence";
  for (const Entry& entry : kTypes) known += str(", ", entry.type);
  node.refuse(str("the decoder '", type, "'"), known);
}

}  // namespace

std::string token_bytes(const Json& decoder, const std::string& token) {
  if (!decoder.is_object()) return token;
  const JsonNode node(decoder, "decoder", "");
  const std::string type = node.type();
  if (type == "ByteLevel") return from_byte_letters(token).value_or(token);
  const int byte = type == "ByteFallback" ? byte_of_token(token) : -1;
  if (byte >= 0) return std::string(1, static_cast<char>(byte));
  std::string out = token;
  const auto spaces_for = [&](const std::string& mark) {
    if (mark.empty()) return;
    for (size_t at = 0; (at = out.find(mark, at)) != std::string::npos; ++at)
      out.replace(at, mark.size(), " ");
  };
  if (type == "Metaspace") spaces_for(node.text("replacement", "\u2581"));
  if (type == "BPEDecoder") spaces_for(node.text("suffix", "</w>"));
  if (type == "Replace" && node.text("content") == " ")
    spaces_for(node.child("pattern").text("String", ""));
  if (type == "Sequence") {
    for (const JsonNode& item : node.children("decoders")) out = token_bytes(item.json(), out);
  }
  return out;
}

void bound_decoded(size_t size) {
  if (size > kMaxDecoded)
    throw Error(ErrorKind::data, str("the decoder makes ", size, " bytes of one token"));
}

TokenDecoder::TokenDecoder() {
  makers_.push_back(make_space_decoder());
}

TokenDecoder::TokenDecoder(const JsonNode& node) {
  add(node, makers_, 0);
}

TokenDecoder::Run TokenDecoder::start() const {
  Run run;
  for (const StageMaker& make : makers_) run.stages_.push_back(make());
  return run;
}

void TokenDecoder::Run::feed(size_t stage, DecodedPart part, std::string& out) {
  if (stage == stages_.size()) {
    out += part.text;
    return;
  }
  stages_[stage]->push(std::move(part),
                       [&](DecodedPart next) { feed(stage + 1, std::move(next), out); });
}

std::string TokenDecoder::Run::push(std::string token) {
  std::string out;
  feed(0, {std::move(token), true}, out);
  return out;
}

std::string TokenDecoder::Run::flush() {
  std::string out;
  for (size_t stage = 0; stage < stages_.size(); ++stage)
    stages_[stage]->flush([&](DecodedPart next) { feed(stage + 1, std::move(next), out); });
  return out;
}

}  // namespace smidgen
