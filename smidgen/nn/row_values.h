// A number for each of some rows of a batch, computed from the row's logits, without the logits of
// all rows ever existing at once. What preference losses and distillation are made of.
//
// Letters: n rows of hidden states, m of them asked for, d width, v vocabulary.
#pragma once

#include <functional>

#include "smidgen/nn/model.h"

namespace smidgen {

// values fp32 [k] of k rows from their logits fp32 [k, v], differentiable by autograd; value r
// depends on logits r alone. `at` int64 [k] says which of the rows asked for these are.
using RowFunction = std::function<at::Tensor(const at::Tensor& logits, const at::Tensor& at)>;

// values [m] with values_r = f(model.logits(hidden[rows_r])), differentiable in `hidden` and in
// whatever trains in the output layer. `slot` is the batch's; `rows` int64 [m], increasing.
//
// The forward pass makes block after block of logits. Where the output layer is frozen it also
// makes each value's gradient by its row of hidden states, [m, d], so that the backward pass only
// scales rows; where it trains, the backward pass makes each block again (a scale per row comes in
// before the sum over rows that its gradient is).
at::Tensor row_values(const Model& model, const at::Tensor& hidden, int slot,
                      const at::Tensor& rows, const RowFunction& f);

// log softmax(logits)_target of each row: RowFunction of the targets int64 [m].
RowFunction log_probability_of(at::Tensor targets);

}  // namespace smidgen
