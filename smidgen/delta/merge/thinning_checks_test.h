// What every method that thins task vectors at random must do.
#pragma once

#include <string>

#include "smidgen/delta/merge/merge_checks_test.h"

namespace smidgen {

// One model over a base of zeros, with weight 1: what the method keeps of it, as large as it was.
MergeCase thinned_alone(const std::string& method, Values delta, double density, uint64_t seed = 1);

// The share kept, the sum of magnitudes before and after rescaling, the mean over seeds, that equal
// seeds give equal masks and others and other inputs independent ones, and the ends of density.
void expect_random_thinning(const std::string& method);

// A merge of two models is the merge by `election` of what the method keeps of each alone.
void expect_election_of_thinned(const std::string& method, const std::string& election,
                                bool normalize);

}  // namespace smidgen
