// ComPEFT: an update as the signs of its largest values times one scalar. Source: arXiv:2311.13171,
// code prateeky2806/ComPEFT (ties_utils.py).
//
//   tau    the update, all tensors end to end by name       d values
//   sigma  sqrt(sum (tau - mean)^2 / (d - 1)), of all of tau before pruning
//   kept   the int(density d) largest |tau|, over the whole vector; of equal ones the first
//   tau'   alpha sigma sign(tau) where kept, 0 elsewhere
//
// Differs from the reference: exactly int(d density) values are kept (theirs: one more, and all
// that tie; `reference` does that), a density is a fraction and never a percentage, and mode stc
// takes the mean magnitude of the kept values as the original STC does (theirs: the mean of signed
// values, near 0). A vector is never sorted or copied; two passes read it.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "smidgen/delta/compress/flat_vector.h"
#include "smidgen/io/delta_files.h"

namespace smidgen {

enum class CompressMode {
  ternary,  // scale = alpha sigma
  stc,      // scale = mean |tau| of the kept: the least squared error
  prune,    // kept values stay what they are
};

struct CompressOptions {
  CompressMode mode = CompressMode::ternary;
  std::string codec =
      "rice";  // one of values compresses every value; mode and density have no part
  double density = 0.2;
  // Without one: norm(tau) / (sigma sqrt(kept)), which keeps the update's norm.
  std::optional<double> alpha;
  bool reference = false;
};

struct CompressReport {
  int64_t elements = 0, kept = 0;
  double sigma = 0, norm = 0;
  // Of ternary codes; `fit` is the scale of least squared error.
  double scale = 0, fit = 0;
  double error = 0;  // norm(tau - tau') / norm(tau)
  // Bytes of codes and kept values; of tensors that stay exact; of delta.json, which names the
  // tensors; of the update before.
  uint64_t code_bytes = 0, exact_bytes = 0, head_bytes = 0, source_bytes = 0;

  uint64_t bytes() const { return code_bytes + exact_bytes + head_bytes; }
  double density() const;
  double alpha() const { return sigma > 0 ? scale / sigma : 0; }
  double bits() const;     // a value, as written
  double entropy() const;  // of a value with this density and fair signs, in bits; of signs only
};

struct Compressed {
  DeltaContents contents;
  CompressReport report;
};

// Throws usage for what does not go together, data for an update without spread (sigma 0) whose
// alpha is given, unsupported where a delta is so sparse that its file could not be told from a
// bomb.
Compressed compress(const FlatVector& vector, const CompressOptions& options);

// Another alpha for the same codes. The error follows in closed form.
void set_alpha(Compressed& compressed, double alpha);

}  // namespace smidgen
