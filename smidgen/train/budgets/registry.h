// Budget policies: what decides during training which modules get how much. A policy sees the loop
// and the store, knows no family, and answers with edits.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "smidgen/base/registry.h"
#include "smidgen/methods/adapter.h"
#include "smidgen/train/edit.h"

namespace smidgen {

// What a policy may look at.
struct LoopView {
  const Adapter& adapter;
  int64_t step = 0;  // the step that is about to be made, or was just made; from 1
  int64_t total = 0;
  uint64_t seed = 0;
};

// One policy at work in one run. Each hook may return edits; they are applied at once, in order.
class Policy {
 public:
  virtual ~Policy() = default;
  virtual std::vector<Edit> on_attach(const LoopView&) { return {}; }
  virtual std::vector<Edit> before_step(const LoopView&) { return {}; }
  virtual std::vector<Edit> after_backward(const LoopView&) {
    return {};
  }  // gradients are there, not yet clipped
  virtual std::vector<Edit> after_step(const LoopView&) { return {}; }
  // What a resumed run must know beside the edits.
  virtual Json state() const { return nullptr; }
  virtual void restore(const Json&) {}
};

class Budget {
 public:
  virtual ~Budget() = default;
  virtual std::string summary() const = 0;
  virtual std::string source() const = 0;
  virtual Json fields() const = 0;
  virtual std::unique_ptr<Policy> start(const Json& config) const = 0;
};

void register_all(Registry<Budget>& registry);  // written by the build
const Registry<Budget>& budgets();

}  // namespace smidgen
