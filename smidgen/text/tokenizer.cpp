#include "smidgen/text/tokenizer.h"

#include <algorithm>
#include <unordered_map>

#include "smidgen/base/error.h"
#include "smidgen/text/added_tokens.h"
#include "smidgen/text/bpe.h"
#include "smidgen/text/byte_level.h"
#include "smidgen/text/normalizer.h"
#include "smidgen/text/pre_tokenizer.h"
#include "smidgen/text/utf8.h"

namespace smidgen {
namespace {

constexpr size_t kMaxVocabulary = size_t{1} << 24;
constexpr size_t kMaxText = size_t{1} << 31;  // bytes in one call; offsets are 32-bit

// What each token stands for. `letters_only`: empty for tokens outside the byte alphabet, which no
// word can be.
std::vector<std::string> token_bytes(const std::vector<std::string>& tokens, bool letters_only) {
  std::vector<std::string> bytes;
  bytes.reserve(tokens.size());
  for (const std::string& token : tokens) {
    std::optional<std::string> raw = from_byte_letters(token);
    bytes.push_back(raw ? std::move(*raw) : letters_only ? std::string() : token);
  }
  return bytes;
}

}  // namespace

struct Tokenizer::Parts {
  TokenizerSpec spec;
  std::vector<std::string> tokens;  // vocabulary and added tokens by id
  std::vector<std::string> bytes;
  std::vector<uint8_t> special;
  std::unordered_map<std::string, int32_t> id_of;
  Bpe bpe;
  PreTokenizer pre_tokenizer;
  AddedTokenFinder raw, normalized;
  std::optional<int32_t> bos, eos, pad, unk;

  explicit Parts(TokenizerSpec from)
      : spec(std::move(from)),
        tokens(spec.bpe.tokens),
        bpe(spec.bpe, token_bytes(spec.bpe.tokens, true), spec.where),
        pre_tokenizer(spec.pre_tokenizer, spec.where) {
    add_vocabulary();
    for (const AddedToken& token : spec.added) add(token);
    bytes = token_bytes(tokens, false);
    bos = role(spec.special.bos, "bos");
    eos = role(spec.special.eos, "eos");
    pad = role(spec.special.pad, "pad");
    unk = role(spec.special.unk, "unk");
    for (const TemplatePiece& piece : spec.single) {
      for (const int32_t id : piece.ids) {
        if (id < 0 || static_cast<size_t>(id) >= tokens.size())
          throw Error(ErrorKind::format,
                      str("the post-processor adds id ", id, ", but the vocabulary has ",
                          tokens.size(), " ids"),
                      spec.where);
      }
    }
  }

  void add_vocabulary() {
    if (tokens.size() > kMaxVocabulary)
      throw Error(ErrorKind::format, str("a vocabulary of ", tokens.size(), " ids"), spec.where);
    for (size_t id = 0; id < tokens.size(); ++id) {
      if (tokens[id].empty()) continue;
      const auto [at, is_new] = id_of.emplace(tokens[id], static_cast<int32_t>(id));
      if (!is_new)
        throw Error(ErrorKind::format,
                    str("the token '", tokens[id], "' has two ids, ", at->second, " and ", id),
                    spec.where);
    }
    special.assign(tokens.size(), 0);
  }

  void add(const AddedToken& token) {
    if (token.id < 0 || static_cast<size_t>(token.id) >= kMaxVocabulary)
      throw Error(ErrorKind::format, str("added token '", token.content, "' has id ", token.id),
                  spec.where);
    if (token.content.empty())
      throw Error(ErrorKind::format, str("added token ", token.id, " is empty"), spec.where);
    const auto id = static_cast<size_t>(token.id);
    if (id >= tokens.size()) {
      tokens.resize(id + 1);
      special.resize(id + 1, 0);
    }
    const auto [at, is_new] = id_of.emplace(token.content, token.id);
    if (!is_new && at->second != token.id)
      throw Error(
          ErrorKind::format,
          str("the token '", token.content, "' has two ids, ", at->second, " and ", token.id),
          spec.where);
    if (!tokens[id].empty() && tokens[id] != token.content)
      throw Error(ErrorKind::format,
                  str("id ", token.id, " stands for two tokens, '", tokens[id], "' and '",
                      token.content, "'"),
                  spec.where);
    tokens[id] = token.content;
    special[id] = token.special;
    if (!token.normalized) {
      raw.add(token, token.content);
    } else {
      std::string content;
      Alignment unused;
      normalized.add(token, normalize(token.content, spec.normalizers, content, unused)
                                ? content
                                : token.content);
    }
  }

  std::optional<int32_t> role(const std::optional<std::string>& name, const char* what) const {
    if (!name) return {};
    const auto found = id_of.find(*name);
    if (found == id_of.end())
      throw Error(ErrorKind::format,
                  str("the ", what, " token '", *name, "' is not in the vocabulary"), spec.where);
    return found->second;
  }

  void encode_text(std::string_view text, bool with_special, Encoding& out, bool offsets) const;
  void encode_plain(std::string_view text, size_t base, const Alignment& alignment, Encoding& out,
                    bool offsets) const;
  Encoding encode(std::string_view text, EncodeOptions options, bool offsets) const;
};

Tokenizer::Tokenizer(TokenizerSpec spec) : parts_(std::make_unique<const Parts>(std::move(spec))) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;

// `base` is where the (normalised) text begins in the text the caller gave; `alignment` leads from
// `text` back.
void Tokenizer::Parts::encode_plain(std::string_view text, size_t base, const Alignment& alignment,
                                    Encoding& out, bool offsets) const {
  thread_local std::vector<Piece> pieces;
  thread_local std::vector<uint32_t> lengths;
  std::string rewritten;
  Alignment prefix;
  if (pre_tokenizer.split(text, pieces, rewritten, prefix)) text = rewritten;
  for (const Piece& piece : pieces) {
    lengths.clear();
    bpe.encode(text.substr(piece.begin, piece.end - piece.begin), out.ids,
               offsets ? &lengths : nullptr);
    size_t at = piece.begin;
    for (const uint32_t length : lengths) {
      out.begins.push_back(static_cast<uint32_t>(base + alignment.begin(prefix.begin(at))));
      out.ends.push_back(static_cast<uint32_t>(base + alignment.end(prefix.end(at + length))));
      at += length;
    }
  }
}

void Tokenizer::Parts::encode_text(std::string_view text, bool with_special, Encoding& out,
                                   bool offsets) const {
  thread_local std::vector<TokenSegment> outer;
  std::vector<TokenSegment> inner;
  raw.split(text, with_special, outer);
  const auto put = [&](int32_t id, size_t begin, size_t end) {
    out.ids.push_back(id);
    if (!offsets) return;
    out.begins.push_back(static_cast<uint32_t>(begin));
    out.ends.push_back(static_cast<uint32_t>(end));
  };
  for (const TokenSegment& segment : outer) {
    if (segment.id >= 0) {
      put(segment.id, segment.begin, segment.end);
      continue;
    }
    std::string_view part = text.substr(segment.begin, segment.end - segment.begin);
    std::string changed;
    Alignment alignment;
    if (normalize(part, spec.normalizers, changed, alignment)) part = changed;
    if (normalized.empty()) {
      encode_plain(part, segment.begin, alignment, out, offsets);
      continue;
    }
    normalized.split(part, with_special, inner);
    for (const TokenSegment& piece : inner) {
      if (piece.id >= 0) {
        put(piece.id, segment.begin + alignment.begin(piece.begin),
            segment.begin + alignment.end(piece.end));
        continue;
      }
      const size_t first = out.begins.size();
      encode_plain(part.substr(piece.begin, piece.end - piece.begin), 0, {}, out, offsets);
      for (size_t i = first; i < out.begins.size(); ++i) {
        out.begins[i] =
            static_cast<uint32_t>(segment.begin + alignment.begin(piece.begin + out.begins[i]));
        out.ends[i] =
            static_cast<uint32_t>(segment.begin + alignment.end(piece.begin + out.ends[i]));
      }
    }
  }
}

Encoding Tokenizer::Parts::encode(std::string_view text, EncodeOptions options,
                                  bool offsets) const {
  if (text.size() >= kMaxText)
    throw Error(ErrorKind::data, str("a text of ", text.size(), " bytes is too long for one call"));
  std::string lossy;
  if (!is_utf8(text)) {
    lossy = utf8_lossy(text);
    text = lossy;
  }
  Encoding out;
  const bool wrap = options.add_special && !spec.single.empty();
  if (!wrap) {
    encode_text(text, options.parse_special, out, offsets);
    return out;
  }
  bool before = true;
  for (const TemplatePiece& piece : spec.single) {
    if (piece.is_text) {
      encode_text(text, options.parse_special, out, offsets);
      before = false;
      continue;
    }
    for (const int32_t id : piece.ids) {
      out.ids.push_back(id);
      if (!offsets) continue;
      out.begins.push_back(before ? 0 : static_cast<uint32_t>(text.size()));
      out.ends.push_back(out.begins.back());
    }
  }
  return out;
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, EncodeOptions options) const {
  return parts_->encode(text, options, false).ids;
}

Encoding Tokenizer::encode_with_offsets(std::string_view text, EncodeOptions options) const {
  return parts_->encode(text, options, true);
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special) const {
  std::string out;
  for (const int32_t id : ids) {
    const std::string_view raw = bytes(id);
    if (!(skip_special && is_special(id))) out += raw;
  }
  return utf8_lossy(out);
}

std::string_view Tokenizer::bytes(int32_t id) const {
  token(id);
  return parts_->bytes[static_cast<size_t>(id)];
}

int64_t Tokenizer::vocabulary_size() const {
  return static_cast<int64_t>(parts_->tokens.size());
}

std::optional<int32_t> Tokenizer::find(std::string_view token) const {
  const auto found = parts_->id_of.find(std::string(token));
  if (found == parts_->id_of.end()) return {};
  return found->second;
}

const std::string& Tokenizer::token(int32_t id) const {
  if (id < 0 || static_cast<size_t>(id) >= parts_->tokens.size())
    throw Error(ErrorKind::usage, str("there is no token ", id), parts_->spec.where,
                str("ids go from 0 to ", parts_->tokens.size() - 1));
  return parts_->tokens[static_cast<size_t>(id)];
}

bool Tokenizer::is_special(int32_t id) const {
  token(id);
  return parts_->special[static_cast<size_t>(id)] != 0;
}

std::optional<int32_t> Tokenizer::bos() const {
  return parts_->bos;
}
std::optional<int32_t> Tokenizer::eos() const {
  return parts_->eos;
}
std::optional<int32_t> Tokenizer::pad() const {
  return parts_->pad;
}
std::optional<int32_t> Tokenizer::unk() const {
  return parts_->unk;
}
const TokenizerSpec& Tokenizer::spec() const {
  return parts_->spec;
}

bool Tokenizer::adds_bos() const {
  const auto& single = parts_->spec.single;
  return parts_->bos && !single.empty() && !single[0].is_text && !single[0].ids.empty() &&
         single[0].ids[0] == *parts_->bos;
}

std::vector<uint8_t> Tokenizer::missing_bytes() const {
  std::vector<uint8_t> missing;
  for (int byte = 0; byte < 256; ++byte) {
    if (!parts_->bpe.has_byte(static_cast<uint8_t>(byte)))
      missing.push_back(static_cast<uint8_t>(byte));
  }
  return missing;
}

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, bool skip_special)
    : tokenizer_(&tokenizer), skip_special_(skip_special) {}

std::string StreamDecoder::push(int32_t id) {
  const std::string_view raw = tokenizer_->bytes(id);
  if (!(skip_special_ && tokenizer_->is_special(id))) pending_ += raw;
  // Only an unfinished character at the very end has to wait; it is three bytes at most.
  size_t done = 0;
  while (done < pending_.size()) {
    const std::string_view rest = std::string_view(pending_).substr(done);
    done += utf8_valid_prefix(rest);
    if (done == pending_.size()) break;
    const Utf8Step step = utf8_step(std::string_view(pending_).substr(done));
    if (step.state == Utf8Step::State::cut) break;
    done += step.length;
  }
  std::string out = utf8_lossy(std::string_view(pending_).substr(0, done));
  pending_.erase(0, done);
  return out;
}

std::string StreamDecoder::flush() {
  std::string out = utf8_lossy(pending_);
  pending_.clear();
  return out;
}

}  // namespace smidgen
