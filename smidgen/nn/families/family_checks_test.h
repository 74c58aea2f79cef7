// What the tests of families share: a field is shown to act, a value is shown to be refused.
#pragma once

#include <string>

#include <gtest/gtest.h>

#include "smidgen/nn/families/registry.h"
#include "smidgen/nn/tiny_model.h"

namespace smidgen {

// Largest relative change of the tiny model's hidden states when `change` is made to its
// config.json and the weights stay.
double moved_by(const std::string& family, const Json& change);

// What loading says to a changed config.json: "unsupported: ..." or "loaded".
std::string answer_to(const std::string& family, const Json& change);

// Every change acts: at least a thousandth of the largest hidden state.
void expect_live(const std::string& family, const std::vector<Json>& changes);

// Loading fails and names the field.
void expect_refused(const std::string& family, const Json& change);

}  // namespace smidgen
