#include "smidgen/text/tokenizer.h"

#include <atomic>
#include <unordered_map>

#include "smidgen/base/error.h"
#include "smidgen/text/added_tokens.h"
#include "smidgen/text/normalizer.h"
#include "smidgen/text/pre_tokenizer.h"
#include "smidgen/text/token_model.h"
#include "smidgen/text/utf8.h"
#include "smidgen/text/word_cache.h"

namespace smidgen {
namespace {

constexpr size_t kMaxText = size_t{1} << 31;  // bytes in one call; offsets are 32-bit

uint32_t next_owner() {
  static std::atomic<uint32_t> next = 1;
  return next++;
}

}  // namespace

struct Tokenizer::Parts {
  TokenizerSpec spec;
  std::vector<std::string> tokens;  // vocabulary and added tokens by id
  std::vector<std::string> bytes;
  std::vector<uint8_t> special;
  std::unordered_map<std::string, int32_t> id_of;
  std::unique_ptr<Normalizer> normalizer;  // may be null, as the next two
  std::optional<PreTokenizer> pre_tokenizer;
  std::unique_ptr<TokenModel> model;
  std::vector<TemplatePiece> single;
  Decoder decoder;
  AddedTokenFinder raw, normalized;
  std::optional<int32_t> bos, eos, pad, unk;
  bool needs_origins = false;
  uint32_t owner = next_owner();

  explicit Parts(TokenizerSpec from) : spec(std::move(from)), tokens(spec.model.tokens) {
    const auto node = [&](const Json& part, const char* name) {
      return JsonNode(part, name, spec.where);
    };
    if (!spec.normalizer.is_null()) normalizer = make_normalizer(node(spec.normalizer, "normalizer"));
    // The bytes themselves go to the model when letters for them are the last thing that is done.
    const bool raw_bytes = spec.model.kind == TokenModelSpec::Kind::bpe &&
                           !spec.model.byte_fallback && spec.model.scores.empty() &&
                           ends_in_byte_level(spec.pre_tokenizer);
    if (!spec.pre_tokenizer.is_null())
      pre_tokenizer.emplace(node(spec.pre_tokenizer, "pre_tokenizer"), raw_bytes);
    if (!spec.post_processor.is_null())
      single = read_post_processor(node(spec.post_processor, "post_processor"));
    if (!spec.decoder.is_null()) decoder = Decoder(node(spec.decoder, "decoder"));
    needs_origins = pre_tokenizer && pre_tokenizer->needs_origins();
    add_vocabulary();
    model = make_token_model(spec.model, raw_bytes, spec.where);
    for (const AddedToken& token : spec.added) add(token);
    bytes.reserve(tokens.size());
    for (const std::string& token : tokens) bytes.push_back(token_bytes(spec.decoder, token));
    bos = role(spec.special.bos, "bos");
    eos = role(spec.special.eos, "eos");
    pad = role(spec.special.pad, "pad");
    unk = role(spec.special.unk, "unk");
    for (const TemplatePiece& piece : single) {
      for (const int32_t id : piece.ids) {
        if (static_cast<size_t>(id) >= tokens.size())
          throw Error(ErrorKind::format,
                      str("the post-processor adds id ", id, ", but the vocabulary has ",
                          tokens.size(), " ids"),
                      spec.where);
      }
    }
  }

  void add_vocabulary() {
    if (tokens.size() > size_t{kMaxTokenId})
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
    if (token.id < 0 || static_cast<size_t>(token.id) >= size_t{kMaxTokenId})
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
      AlignedText content(token.content, 0, false);
      if (normalizer) normalizer->apply(content);
      normalized.add(token, std::string(content.text()));
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
  void encode_plain(AlignedText& text, Encoding& out, bool offsets) const;
  Encoding encode(std::string_view text, EncodeOptions options, bool offsets) const;
};

Tokenizer::Tokenizer(TokenizerSpec spec) : parts_(std::make_unique<const Parts>(std::move(spec))) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;

void Tokenizer::Parts::encode_plain(AlignedText& text, Encoding& out, bool offsets) const {
  thread_local std::vector<Piece> pieces;
  pieces.clear();
  if (pre_tokenizer) {
    pre_tokenizer->split(text, pieces);
  } else if (!text.text().empty()) {
    pieces.push_back({0, text.text().size()});
  }
  const std::string_view all = text.text();
  if (!offsets) {
    WordCache& cache = WordCache::of_this_thread();
    for (const Piece& piece : pieces) {
      const std::string_view word = all.substr(piece.begin, piece.end - piece.begin);
      if (cache.find(owner, word, out.ids)) continue;
      const size_t before = out.ids.size();
      model->encode(word, out.ids, nullptr);
      cache.put(owner, word, out.ids.data() + before, out.ids.size() - before);
    }
    return;
  }
  thread_local std::vector<uint32_t> lengths;
  for (const Piece& piece : pieces) {
    lengths.clear();
    model->encode(all.substr(piece.begin, piece.end - piece.begin), out.ids, &lengths);
    size_t at = piece.begin;
    for (const uint32_t length : lengths) {
      out.begins.push_back(static_cast<uint32_t>(text.begin(at)));
      at += length;
      out.ends.push_back(static_cast<uint32_t>(text.end(at)));
    }
  }
}

void Tokenizer::Parts::encode_text(std::string_view text, bool with_special, Encoding& out,
                                   bool offsets) const {
  thread_local std::vector<TokenSegment> outer, inner;
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
    AlignedText part(text.substr(segment.begin, segment.end - segment.begin), segment.begin,
                     offsets || needs_origins);
    if (normalizer) normalizer->apply(part);
    if (normalized.empty()) {
      encode_plain(part, out, offsets);
      continue;
    }
    normalized.split(part.text(), with_special, inner);
    for (const TokenSegment& piece : inner) {
      if (piece.id >= 0) {
        put(piece.id, part.begin(piece.begin), part.end(piece.end));
      } else {
        AlignedText plain = part.slice(piece.begin, piece.end);
        encode_plain(plain, out, offsets);
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
  const bool wrap = options.add_special && !single.empty();
  if (!wrap) {
    encode_text(text, options.parse_special, out, offsets);
    return out;
  }
  bool before = true;
  for (const TemplatePiece& piece : single) {
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
  StreamDecoder stream(*this, skip_special);
  std::string out;
  for (const int32_t id : ids) out += stream.push(id);
  return out + stream.flush();
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
  const auto& single = parts_->single;
  return parts_->bos && !single.empty() && !single[0].is_text && !single[0].ids.empty() &&
         single[0].ids[0] == *parts_->bos;
}

const std::vector<TemplatePiece>& Tokenizer::post_processor() const {
  return parts_->single;
}

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, bool skip_special)
    : tokenizer_(&tokenizer),
      skip_special_(skip_special),
      run_(tokenizer.parts_->decoder.start()) {}

std::string StreamDecoder::push(int32_t id) {
  const std::string& token = tokenizer_->token(id);
  if (token.empty() || (skip_special_ && tokenizer_->is_special(id))) return {};
  return run_.push(token);
}

std::string StreamDecoder::flush() {
  std::string out = run_.flush();
  run_ = tokenizer_->parts_->decoder.start();
  return out;
}

}  // namespace smidgen
