#include "smidgen/nn/row_values.h"

#include <algorithm>

#include <torch/torch.h>

#include "smidgen/base/error.h"

namespace smidgen {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

// Elements of logits that exist at a time, in fp32; a function makes a few more such blocks.
constexpr int64_t kBlockElements = int64_t{1} << 22;

struct Blocks {
  const Model* model = nullptr;
  int slot = 0;
  at::Tensor rows;
  RowFunction f;

  // Calls body(first, count) for consecutive runs of the rows asked for.
  template <class Body>
  void each(Body&& body) const {
    const int64_t m = rows.size(0);
    const int64_t step = std::clamp<int64_t>(kBlockElements / model->vocabulary(), 16, 4096);
    for (int64_t first = 0; first < m; first += step) body(first, std::min(step, m - first));
  }
  at::Tensor take(const at::Tensor& hidden, int64_t first, int64_t count) const {
    return hidden.index_select(0, rows.narrow(0, first, count));
  }
  at::Tensor logits(const at::Tensor& hidden) const {
    Rows part;
    part.count = hidden.size(0);
    part.segments.push_back({slot, 0, part.count});
    return model->logits(hidden, part);
  }
  at::Tensor values(const at::Tensor& hidden, int64_t first) const {
    return f(logits(hidden), at::arange(first, first + hidden.size(0), at::kLong));
  }
};

// Of a frozen output layer.
struct ScaledRows : Function<ScaledRows> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& hidden, const Blocks& blocks) {
    const int64_t m = blocks.rows.size(0);
    const at::Tensor out = at::empty({m}, at::kFloat);
    const at::Tensor jacobian = at::empty({m, hidden.size(1)}, at::kFloat);
    blocks.each([&](int64_t first, int64_t count) {
      at::AutoGradMode grad(true);
      const at::Tensor h = blocks.take(hidden.detach(), first, count).requires_grad_();
      const at::Tensor values = blocks.values(h, first);
      out.narrow(0, first, count).copy_(values.detach());
      jacobian.narrow(0, first, count).copy_(torch::autograd::grad({values.sum()}, {h})[0]);
    });
    ctx->saved_data["jacobian"] = jacobian;
    ctx->saved_data["rows"] = blocks.rows;
    ctx->saved_data["shape"] = hidden.sizes().vec();
    ctx->saved_data["dtype"] = static_cast<int64_t>(hidden.scalar_type());
    return out;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto dtype = static_cast<at::ScalarType>(ctx->saved_data["dtype"].toInt());
    const at::Tensor dhidden = at::zeros(ctx->saved_data["shape"].toIntVector(), at::kFloat);
    dhidden.index_copy_(0, ctx->saved_data["rows"].toTensor(),
                        ctx->saved_data["jacobian"].toTensor() * grads[0].unsqueeze(1));
    return {dhidden.to(dtype), {}};
  }
};

// Of an output layer that trains: a node that makes each block again, as a checkpointed block does.
// The gradients of its parameters go where autograd keeps those of leaves.
struct MakeAgain : torch::autograd::Node {
  Blocks blocks;
  at::Tensor hidden;

  variable_list apply(variable_list&& grads) override {
    const at::Tensor dhidden = at::zeros(hidden.sizes(), at::kFloat);
    blocks.each([&](int64_t first, int64_t count) {
      at::AutoGradMode grad(true);
      const at::Tensor h = blocks.take(hidden, first, count).requires_grad_();
      blocks.values(h, first).backward(grads[0].narrow(0, first, count));
      dhidden.index_copy_(0, blocks.rows.narrow(0, first, count), h.grad().to(at::kFloat));
    });
    return {dhidden.to(hidden.scalar_type())};
  }
};

}  // namespace

at::Tensor row_values(const Model& model, const at::Tensor& hidden, int slot,
                      const at::Tensor& rows, const RowFunction& f) {
  SMIDGEN_ASSERT(hidden.dim() == 2 && rows.dim() == 1 && rows.scalar_type() == at::kLong);
  const Blocks blocks{&model, slot, rows, f};
  const bool recording = at::GradMode::is_enabled() && rows.size(0) > 0;
  // Asked of a constant row, the logits tell whether the output layer itself trains.
  const bool trains = recording && blocks.logits(hidden.detach().narrow(0, 0, 1)).requires_grad();
  if (recording && !trains && hidden.requires_grad()) return ScaledRows::apply(hidden, blocks);
  at::Tensor out = at::empty({rows.size(0)}, at::kFloat);
  {
    torch::NoGradGuard no_grad;
    blocks.each([&](int64_t first, int64_t count) {
      out.narrow(0, first, count).copy_(blocks.values(blocks.take(hidden, first, count), first));
    });
  }
  if (trains) {
    const auto node = c10::make_intrusive<MakeAgain>();
    node->blocks = blocks;
    node->hidden = hidden.detach();
    node->set_next_edges(torch::autograd::collect_next_edges(hidden));
    torch::autograd::create_gradient_edge(out, node);
  }
  return out;
}

RowFunction log_probability_of(at::Tensor targets) {
  return [targets = std::move(targets)](const at::Tensor& logits, const at::Tensor& at) {
    return torch::log_softmax(logits, -1)
        .gather(1, targets.index_select(0, at).unsqueeze(1))
        .squeeze(1);
  };
}

}  // namespace smidgen
