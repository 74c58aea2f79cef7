// Minimises a function of a few numbers in a box from its values alone: CMA-ES (Hansen 2016,
// arXiv:1604.00772, with its standard settings: population 4 + floor(3 ln n), recombination of the
// better half, cumulative step sizes, rank-one and rank-mu updates), in coordinates in which the
// box is the unit cube and the first step size is 0.3. A candidate outside of the box is moved to
// its border, and counts as what it then is.
//
// Nothing is random but normal numbers that are a function of (seed, generation, candidate,
// coordinate): told the same values, it asks the same questions, so a search is resumed by telling
// it again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace smidgen {

struct SearchBox {
  std::vector<double> low, high, start;  // low < high, start in between
};

class EvolutionSearch {
 public:
  EvolutionSearch(SearchBox box, uint64_t seed);

  // What to try next; first the start itself. The same until tell().
  std::vector<double> ask() const;
  // The value of that. One that is not finite counts as worse than all others.
  void tell(double value);

  int64_t told() const { return told_; }
  double step() const { return sigma_; }  // in widths of the box

 private:
  using Vector = std::vector<double>;
  struct Candidate {
    Vector step;  // (u - mean) / sigma
    double value = 0;
  };
  Vector candidate(size_t number) const;  // u, in the unit cube
  void next_generation();

  SearchBox box_;
  uint64_t seed_;
  size_t n_, population_;
  std::vector<double> shares_;  // of the better half, best first
  double mass_ = 0;             // mu_eff
  int64_t told_ = 0;
  uint64_t generation_ = 0;
  double sigma_ = 0.3;
  Vector mean_;
  std::vector<Candidate> seen_;     // of this generation
  Vector path_, step_path_;         // p_c, p_sigma
  std::vector<Vector> covariance_;  // C = B diag(lengths^2) B^T
  std::vector<Vector> axes_;        // B, an axis a row
  Vector lengths_;
};

// Eigenvectors, one a row, and eigenvalues of a symmetric matrix, by cyclic Jacobi rotations.
void symmetric_eigen(std::vector<std::vector<double>> matrix,
                     std::vector<std::vector<double>>& vectors, std::vector<double>& values);

}  // namespace smidgen
