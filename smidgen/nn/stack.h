// The blocks of a model as one host, for what runs them otherwise than one after the other.
#pragma once

#include <string>
#include <vector>

#include "smidgen/base/json.h"
#include "smidgen/nn/host.h"
#include "smidgen/nn/memory_plan.h"
#include "smidgen/nn/pass_memory.h"

namespace smidgen {

// One block of a pass: the stream [n, width] before it to the stream after it, and the same for
// each of its halves, which have the residual connection and the norms in them. The stretches may
// outlive the pass.
struct BlockStretches {
  Stretch whole, attention, mlp;
  Tensors leaves;  // the trainable tensors that they read, each once
};

struct Stack {
  std::vector<BlockStretches> blocks;
  std::string family;
  // False where attention and MLP read the same stream side by side: there are no halves then.
  bool has_halves = true;
};

// What a plan knows of the same pass.
struct StackMemory {
  std::vector<PassMemory> blocks;
  int64_t rows = 0, width = 0;
  bool has_halves = true;
  std::string family;
};

// Hangs on the stack and runs it. It may call a block's stretches any number of times in training;
// with a cache of keys and values each of them once, in order.
class StackAttachment : public Attachment {
 public:
  explicit StackAttachment(Tensors parameters)
      : Attachment({.stack = true}, std::move(parameters)) {}
  // The stream after the last block, fp32, from the stream before the first. Throws usage where
  // it cannot go with the memory plan, unsupported where the stack lacks what it needs.
  virtual at::Tensor run(const Stack& stack, const at::Tensor& x,
                         const MemoryPlan& memory) const = 0;
  // What run() and its backward pass hold.
  virtual PassMemory memory(const StackMemory& stack, const MemoryPlan& memory) const = 0;
  // What a user should know of it before training: facts by name, measured on one stream.
  virtual Json examine(const Stack& stack, const at::Tensor& x) const = 0;
};

class StackHost : public Host {
 public:
  explicit StackHost(Site site) : Host({std::move(site)}) {}
  // What runs the blocks for these rows; null is the model's own way. Throws unsupported where
  // something does and rows see different slots.
  const StackAttachment* way(const Rows& rows) const;
};

}  // namespace smidgen
