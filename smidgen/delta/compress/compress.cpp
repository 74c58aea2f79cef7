#include "smidgen/delta/compress/compress.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "smidgen/base/threads.h"
#include "smidgen/delta/compress/select.h"
#include "smidgen/io/codecs/rice.h"
#include "smidgen/kernels/magnitude.h"

namespace smidgen {

namespace {

// Signs and magnitudes of a piece, decided but for those that tie with the threshold.
struct Piece {
  Signs kept{0}, tied{0};
  std::vector<uint64_t> equal;  // of either sign
  bool ties = false;
  double sum = 0;                   // of the magnitudes that are larger than the threshold
  std::vector<float> held, values;  // all, and the kept ones
  std::string code;
  int64_t count = 0;  // kept
};

void mark(std::span<const float> values, float threshold, Piece& piece) {
  piece.kept.reset(static_cast<int64_t>(values.size()));
  std::vector<uint64_t>& tied = piece.equal;
  tied.resize(piece.kept.positive.size());
  piece.sum = mark_magnitudes(piece.kept.count, values.data(), threshold,
                              piece.kept.positive.data(), piece.kept.negative.data(), tied.data());
  piece.ties = std::any_of(tied.begin(), tied.end(), [](uint64_t word) { return word != 0; });
  if (!piece.ties) return;
  piece.tied.reset(piece.kept.count);
  for (size_t word = 0; word < tied.size(); ++word) {
    for (uint64_t left = tied[word]; left; left &= left - 1) {
      const size_t i = word * 64 + static_cast<size_t>(std::countr_zero(left));
      auto& mask = values[i] < 0 ? piece.tied.negative : piece.tied.positive;
      mask[word] |= left & -left;
    }
  }
}

// Takes the first `left` of the tied ones and returns how many that were.
int64_t take_ties(Piece& piece, int64_t left) {
  if (!piece.ties || left == 0) return 0;
  int64_t taken = 0;
  for (size_t word = 0; word < piece.kept.positive.size() && left > 0; ++word) {
    uint64_t some = piece.tied.positive[word] | piece.tied.negative[word];
    while (std::popcount(some) > left) some &= ~(uint64_t{1} << (63 - std::countl_zero(some)));
    piece.kept.positive[word] |= piece.tied.positive[word] & some;
    piece.kept.negative[word] |= piece.tied.negative[word] & some;
    const int64_t count = std::popcount(some);
    taken += count;
    left -= count;
  }
  return taken;
}

Json tensor_entry(const FlatVector& vector, size_t i, size_t bytes, int64_t kept) {
  const FlatTensor& tensor = vector.tensors[i];
  Json entry = {{"name", tensor.name},
                {"shape", tensor.tuned.shape},
                {"dtype", std::string(to_string(tensor.tuned.format))},
                {"bytes", bytes},
                {"kept", kept}};
  if (tensor.start != 0) entry["start"] = tensor.start;
  return entry;
}

class Compressor {
 public:
  Compressor(const FlatVector& vector, const CompressOptions& options)
      : vector_(vector), options_(options), codec_(codecs().find(options.codec)) {
    out_.report.elements = vector.elements();
    out_.report.source_bytes = vector.source_bytes;
  }

  Compressed run() {
    codec_.signs() ? signs() : values();
    describe();
    return std::move(out_);
  }

 private:
  CompressReport& report() { return out_.report; }

  void signs() {
    const auto d = static_cast<double>(report().elements);
    const auto k = static_cast<int64_t>(d * options_.density);
    const Selection selection = select_largest(vector_, k, options_.reference);
    report().sigma = selection.moments.deviation;
    report().norm = selection.moments.norm;
    const double sum = encode(selection.cut);
    const auto kept = static_cast<double>(report().kept);
    report().fit = kept > 0 ? sum / kept : 0;
    choose_scale();
  }

  // Codes of all tensors; returns the sum of the magnitudes that are kept.
  double encode(const Cut& cut) {
    const std::vector<FlatPiece> pieces = vector_.pieces(kSignBlock);
    const bool prune = options_.mode == CompressMode::prune;
    double sum = 0;
    int64_t left = cut.ties;
    std::optional<BlockWriter> blocks;  // of the tensor under way
    size_t first = 0;                   // of its codes
    int64_t kept = 0;
    constexpr size_t kWave = 64;
    // Made once: memory that is given back and asked for again is cleared by the system each time,
    // which takes longer than all the rest.
    std::vector<Piece> room(std::min(kWave, pieces.size()));
    for (size_t begin = 0; begin < pieces.size(); begin += kWave) {
      const auto wave = std::span(room).first(std::min(kWave, pieces.size() - begin));
      const auto each = [&](auto&& body) {
        parallel_claims(static_cast<int64_t>(wave.size()), 1, 1, [&](int64_t from, int64_t to) {
          for (int64_t i = from; i < to; ++i) body(static_cast<size_t>(i));
        });
      };
      each([&](size_t i) {
        static thread_local std::vector<float> buffer;
        const std::span<const float> values = vector_.values(pieces[begin + i], buffer);
        mark(values, cut.threshold, wave[i]);
        if (prune) wave[i].held.assign(values.begin(), values.end());
        vector_.release(pieces[begin + i]);
      });
      for (Piece& piece : wave) {
        const int64_t taken = take_ties(piece, left);
        left -= taken;
        sum += piece.sum + static_cast<double>(taken) * static_cast<double>(cut.threshold);
      }
      each([&](size_t i) {
        wave[i].count = wave[i].kept.view().kept();
        wave[i].code.clear();
        wave[i].values.clear();
        codec_.signs()->encode(wave[i].kept.view(), wave[i].code);
        if (!prune) return;
        const Signs& signs = wave[i].kept;
        for (size_t j = 0; j < wave[i].held.size(); ++j) {
          if ((signs.positive[j / 64] | signs.negative[j / 64]) >> (j % 64) & 1)
            wave[i].values.push_back(wave[i].held[j]);
        }
      });
      for (size_t i = 0; i < wave.size(); ++i) {
        const size_t at = begin + i, tensor = pieces[at].tensor;
        std::string& codes = out_.contents.codes;
        if (!blocks) {
          first = codes.size();
          blocks.emplace(vector_.tensors[tensor].elements(), codes);
        }
        blocks->add(wave[i].code);
        kept += wave[i].count;
        auto& values = out_.contents.values;
        values.insert(values.end(), wave[i].values.begin(), wave[i].values.end());
        if (at + 1 < pieces.size() && pieces[at + 1].tensor == tensor) continue;
        finish_tensor(tensor, codes.size() - first, kept);
        blocks.reset();
        kept = 0;
      }
      if (begin == 0) expect(pieces.size(), wave.size());
    }
    return sum;
  }

  // The rest most likely takes as much a piece as the first ones.
  void expect(size_t pieces, size_t done) {
    out_.contents.codes.reserve(out_.contents.codes.size() * pieces / done * 9 / 8);
  }

  void finish_tensor(size_t tensor, size_t bytes, int64_t kept) {
    tensors_.push_back(tensor_entry(vector_, tensor, bytes, kept));
    report().kept += kept;
  }

  void choose_scale() {
    CompressReport& r = report();
    if (options_.mode == CompressMode::prune) {
      double squares = 0;
      for (const float value : out_.contents.values)
        squares += static_cast<double>(value) * static_cast<double>(value);
      r.error = r.norm > 0 ? std::sqrt(std::max(0.0, 1 - squares / (r.norm * r.norm))) : 0;
      return;
    }
    if (options_.mode == CompressMode::stc) return use_scale(out_, r.fit);
    if (options_.alpha) return set_alpha(out_, *options_.alpha);
    use_scale(out_, r.kept > 0 ? r.norm / std::sqrt(static_cast<double>(r.kept)) : 0);
  }

 public:
  static void use_scale(Compressed& compressed, double scale) {
    CompressReport& r = compressed.report;
    // What the file's readers multiply by.
    r.scale = static_cast<double>(static_cast<float>(scale));
    const auto kept = static_cast<double>(r.kept);
    const double all = r.norm * r.norm;
    const double lost = all - 2 * r.scale * r.fit * kept + kept * r.scale * r.scale;
    r.error = all > 0 ? std::sqrt(std::max(0.0, lost / all)) : 0;
    Json& json = compressed.contents.json;
    json["scale"] = r.scale;
    json["alpha"] = r.sigma > 0 ? Json(r.alpha()) : Json();
  }

 private:
  void values() {
    const ValueCodec& codec = *codec_.values();
    double lost = 0, all = 0;
    for (size_t t = 0; t < vector_.tensors.size(); ++t) {
      const FlatTensor& tensor = vector_.tensors[t];
      const int64_t columns = tensor.columns();
      const int64_t rows = columns ? tensor.elements() / columns : 0;
      const auto stride = static_cast<size_t>(codec.row_bytes(columns));
      std::string codes(static_cast<size_t>(rows) * stride, '\0');
      std::vector<std::pair<double, double>> sums(static_cast<size_t>(rows));
      parallel_for(rows, std::max<int64_t>(1, (1 << 14) / std::max<int64_t>(1, columns)),
                   [&](int64_t begin, int64_t end) {
                     std::vector<float> row(static_cast<size_t>(columns)), back(row.size());
                     for (int64_t r = begin; r < end; ++r) {
                       const FlatPiece piece{t, r * columns, columns};
                       vector_.read(piece, row);
                       auto* const code = reinterpret_cast<std::byte*>(codes.data()) +
                                          static_cast<size_t>(r) * stride;
                       auto& [difference, square] = sums[static_cast<size_t>(r)];
                       for (const float x : row)
                         square += static_cast<double>(x) * static_cast<double>(x);
                       if (!std::isfinite(square)) {
                         throw Error(ErrorKind::data, "a difference is not a finite number",
                                     str("tensor '", tensor.name, "', row ", r),
                                     "the training diverged, or the file is damaged");
                       }
                       codec.encode(row, code);
                       codec.decode(code, back, tensor.name);
                       for (size_t i = 0; i < row.size(); ++i)
                         difference += std::pow(
                             static_cast<double>(row[i]) - static_cast<double>(back[i]), 2);
                     }
                   });
      for (const auto& [difference, square] : sums) {
        lost += difference;
        all += square;
      }
      vector_.release({t, 0, tensor.elements()});
      out_.contents.codes += codes;
      finish_tensor(t, codes.size(), tensor.elements());
    }
    report().norm = std::sqrt(all);
    report().error = all > 0 ? std::sqrt(lost / all) : 0;
  }

  // delta.json and what else goes into the folder.
  void describe() {
    CompressReport& r = report();
    DeltaContents& contents = out_.contents;
    r.code_bytes = contents.codes.size() + contents.values.size() * sizeof(float);
    for (const NamedTensor& tensor : vector_.exact) r.exact_bytes += tensor.view.bytes.size();
    const bool prune = options_.mode == CompressMode::prune;
    const DeltaKind kind = codec_.values() ? DeltaKind::values
                           : prune         ? DeltaKind::sparse
                                           : DeltaKind::ternary;
    if (static_cast<uint64_t>(r.elements) / kMostElementsPerByte > contents.codes.size() + 64) {
      throw Error(ErrorKind::unsupported, str(r.kept, " of ", r.elements, " values would be kept"),
                  "density", "a delta that sparse is not written");
    }
    Json json = {
        {"version", kDeltaVersion},
        {"kind", to_string(kind)},
        {"of", vector_.adapter ? "adapter" : "model"},
        {"codec", options_.codec},
        {"base", vector_.base_digest.empty() ? base_of_sidecar() : Json(vector_.base_digest)},
        {"elements", r.elements},
        {"kept", r.kept}};
    if (codec_.signs()) {
      json["mode"] = options_.mode == CompressMode::stc ? "stc" : prune ? "prune" : "ternary";
      json["density"] = options_.density;
      json["sigma"] = r.sigma;
      if (options_.reference) json["reference"] = true;
    }
    if (contents.json.is_object()) json.update(contents.json);  // scale and alpha
    json["tensors"] = std::move(tensors_);
    if (!vector_.copies.empty()) json["copies"] = vector_.copies;
    if (!vector_.unmoved.empty()) json["unmoved"] = vector_.unmoved;
    contents.json = std::move(json);
    r.head_bytes = delta_json(contents.json).size();
    contents.exact = vector_.exact;
    contents.adapter_config = vector_.adapter_config;
    contents.sidecar = vector_.sidecar;
    contents.texts = vector_.texts;
  }

  Json base_of_sidecar() const {
    return vector_.sidecar.is_object() ? vector_.sidecar.value("base_digest", Json()) : Json();
  }

  const FlatVector& vector_;
  const CompressOptions& options_;
  const Codec& codec_;
  Compressed out_;
  Json tensors_ = Json::array();
};

}  // namespace

double CompressReport::density() const {
  return static_cast<double>(kept) / static_cast<double>(elements);
}

double CompressReport::bits() const {
  return 8 * static_cast<double>(code_bytes) / static_cast<double>(elements);
}

double CompressReport::entropy() const {
  return ternary_entropy(density());
}

Compressed compress(const FlatVector& vector, const CompressOptions& options) {
  if (!(options.density > 0 && options.density <= 1)) {
    throw Error(ErrorKind::usage, str("a density of ", options.density), "density",
                "it is a fraction: 0.2 keeps a fifth of the values, 1 all of them");
  }
  if (options.alpha && options.mode != CompressMode::ternary)
    throw Error(ErrorKind::usage, "alpha scales ternary codes, and this mode has its own scale",
                "alpha", "leave it out, or use mode ternary");
  return Compressor(vector, options).run();
}

void set_alpha(Compressed& compressed, double alpha) {
  if (compressed.report.sigma == 0) {
    throw Error(ErrorKind::data, "all values are equal, so their standard deviation is 0", "alpha",
                "mode stc, or no alpha, takes the scale from the magnitudes");
  }
  Compressor::use_scale(compressed, alpha * compressed.report.sigma);
}

}  // namespace smidgen
