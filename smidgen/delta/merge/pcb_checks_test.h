// What holds for every variant of PCB.
#pragma once

#include <string>

namespace smidgen {

// Values against scripts/golden/pcb.py; odd in the task vectors; the order of models does not
// matter; one model alone keeps its own entries; equal models give one of them; the result lies
// between the models'; magnitudes that are all equal give numbers.
void check_pcb(const std::string& variant);

}  // namespace smidgen
