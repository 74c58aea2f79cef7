#include "smidgen/train/optimizer.h"

#include <torch/torch.h>

#include "smidgen/kernels/optimiser_steps.h"

namespace smidgen {

namespace {

// Runs of rows with equal counts, as element ranges.
template <class Visit>
void runs_of(const Parameter& p, const Visit& visit) {
  const int64_t width = p.rows() ? p.size() / p.rows() : 0;
  for (int64_t row = 0; row < p.active_rows();) {
    int64_t end = row + 1;
    const int64_t count = p.counts()[static_cast<size_t>(row)];
    while (end < p.active_rows() && p.counts()[static_cast<size_t>(end)] == count) ++end;
    visit(row * width, (end - row) * width, count);
    row = end;
  }
}

}  // namespace

void optimizer_step(ParamStore& store, const OptimizerConfig& c, double learning_rate) {
  for (const auto& p : store.parameters()) {
    if (p->frozen()) continue;
    store.count_step(*p);
    float* value = p->value().detach().mutable_data_ptr<float>();
    const float* grad = p->gradient().const_data_ptr<float>();
    float* m = p->first_moment().mutable_data_ptr<float>();
    float* v = p->second_moment().mutable_data_ptr<float>();
    runs_of(*p, [&](int64_t begin, int64_t n, int64_t count) {
      if (c.optimizer == "sgd") {
        sgd_step({.learning_rate = learning_rate,
                  .momentum = c.momentum,
                  .weight_decay = c.weight_decay,
                  .nesterov = false,
                  .first = count == 1},
                 n, value + begin, grad + begin, c.momentum > 0 ? m + begin : nullptr);
      } else {
        adamw_step({.learning_rate = learning_rate,
                    .beta1 = c.beta1,
                    .beta2 = c.beta2,
                    .eps = c.epsilon,
                    .weight_decay = c.weight_decay,
                    .count = count},
                   n, value + begin, grad + begin, m + begin, v + begin);
      }
    });
  }
}

double clip_gradients(ParamStore& store, double max_norm) {
  const double norm = store.grad_norm();
  if (max_norm > 0 && norm + 1e-6 > max_norm) store.scale_grad(max_norm / (norm + 1e-6));
  return norm;
}

}  // namespace smidgen
