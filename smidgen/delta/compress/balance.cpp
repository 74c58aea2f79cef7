#include "smidgen/delta/compress/balance.h"

#include <cmath>
#include <unordered_map>

#include "smidgen/base/threads.h"
#include "smidgen/kernels/magnitude.h"

namespace smidgen {

namespace {

constexpr int64_t kPiece = int64_t{1} << 15;

// The name of the B that belongs to an A; empty for any other tensor. A bias of B is no factor.
std::string partner(const std::string& name) {
  for (const auto& [a, b] : {std::pair{".lora_A.weight", ".lora_B.weight"},
                             std::pair{".lora_embedding_A", ".lora_embedding_B"}}) {
    if (name.ends_with(a)) return name.substr(0, name.size() - std::string_view(a).size()) + b;
  }
  return {};
}

double deviation(const FlatVector& vector, size_t tensor) {
  const int64_t n = vector.tensors[tensor].elements();
  const int64_t pieces = (n + kPiece - 1) / kPiece;
  std::vector<MagnitudeCount> found(static_cast<size_t>(pieces));
  parallel_claims(pieces, 1, 16, [&](int64_t first, int64_t last) {
    std::vector<float> buffer;
    std::vector<uint32_t> none(kPiece + 16);
    for (int64_t i = first; i < last; ++i) {
      const FlatPiece piece{tensor, i * kPiece, std::min(kPiece, n - i * kPiece)};
      const std::span<const float> values = vector.values(piece, buffer);
      constexpr uint32_t kNothing = 0x7fffffff;
      found[static_cast<size_t>(i)] =
          count_magnitudes(piece.count, values.data(), 0, kNothing, kNothing, none.data());
    }
  });
  double sum = 0, squares = 0;
  for (const MagnitudeCount& part : found) {
    sum += part.sum;
    squares += part.squares;
  }
  const auto count = static_cast<double>(n);
  return std::sqrt(std::max(0.0, squares / count - sum / count * (sum / count)));
}

}  // namespace

int64_t balance_factors(FlatVector& vector) {
  std::unordered_map<std::string, size_t> places;
  for (size_t i = 0; i < vector.tensors.size(); ++i) places[vector.tensors[i].name] = i;
  int64_t balanced = 0;
  for (size_t i = 0; i < vector.tensors.size(); ++i) {
    const auto other = places.find(partner(vector.tensors[i].name));
    if (other == places.end()) continue;
    const double f = std::sqrt(deviation(vector, other->second) / deviation(vector, i));
    // Constant factors give zero and infinity, and values that are no numbers are refused later.
    if (!(f > 0) || !std::isfinite(f)) continue;
    vector.tensors[i].factor = static_cast<float>(f);
    vector.tensors[other->second].factor = static_cast<float>(1 / f);
    ++balanced;
  }
  return balanced;
}

}  // namespace smidgen
