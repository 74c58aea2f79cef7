// config.json after layers were chosen anew.
#pragma once

#include <string>
#include <vector>

#include "smidgen/base/json.h"
#include "smidgen/delta/merge/plan.h"

namespace smidgen {

// Writes the stack's number of layers wherever the donor's `config` counts them (num_hidden_layers,
// n_layer, num_decoder_layers, depth, ..., at the top or in text_config and the like), permutes
// lists with an entry for each layer (layer_types, no_rope_layers, ...), and renumbers lists of
// layers (mlp_only_layers, moe_layers). A stack that kept its layers changes nothing. Throws
// mismatch when no key counts the stack's layers. mergekit 0.1.5 sets one key, which its table of
// families gives, and leaves the lists of the donor: models with layer_types then do not open.
void set_layers(Json& config, const PlannedStack& stack, const std::string& where);

}  // namespace smidgen
