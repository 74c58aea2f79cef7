// Update rules over the arenas of a ParamStore.
#pragma once

#include "smidgen/nn/param_store.h"
#include "smidgen/train/config.h"

namespace smidgen {

// One step at the given rate over every parameter that is not frozen, active rows only. Rows that
// have seen different numbers of steps (after Grow) are corrected for bias each by its own count.
// AdamW and SGD as in torch.optim 2.13.
void optimizer_step(ParamStore& store, const OptimizerConfig& config, double learning_rate);

// Scales the gradients down to `max_norm` (0: not at all) and returns the norm they had.
// torch.nn.utils.clip_grad_norm_: the factor is max_norm / (norm + 1e-6) where that is below 1.
double clip_gradients(ParamStore& store, double max_norm);

}  // namespace smidgen
