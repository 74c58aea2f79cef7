#include "smidgen/nn/module_host.h"

#include <torch/torch.h>

#include "smidgen/base/error.h"
#include "smidgen/nn/nan_trace.h"
#include "smidgen/nn/ops.h"

namespace smidgen {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// What hangs on the module for the rows of one segment.
struct Piece {
  Segment segment;
  std::vector<AttachmentPtr> attachments;
  std::vector<size_t> first_parameter;  // of each, in the flat list that autograd sees
};

struct Call : torch::CustomClassHolder {
  Call(const SlotTable& table, const Rows& rows, double s) : scale(s), grad_begin(rows.grad_begin) {
    for (const Segment& segment : rows.segments) {
      Piece piece{segment, table.at(segment.slot), {}};
      for (const AttachmentPtr& a : piece.attachments) {
        const Hooks& h = a->hooks();
        SMIDGEN_ASSERT(!h.pre && !h.weight && !h.bias && !h.embed && !h.stack);
        reads_x |= h.add;
        reads_y |= h.add_needs_y0 || h.post;
        piece.first_parameter.push_back(parameters.size());
        parameters.insert(parameters.end(), a->parameters().begin(), a->parameters().end());
      }
      pieces.push_back(std::move(piece));
    }
  }
  std::vector<Piece> pieces;
  Tensors parameters;
  double scale;
  int64_t grad_begin;
  bool reads_x = false, reads_y = false;
};

// Rows of a segment of a tensor that begins with row `first`.
at::Tensor part(const at::Tensor& t, const Segment& s, int64_t first = 0) {
  return t.defined() ? t.narrow(0, s.begin - first, s.end - s.begin).to(at::kFloat) : t;
}

// x and y are the piece's rows. `before` gets what each post hook reads.
at::Tensor act(const Piece& piece, double scale, const at::Tensor& x, const at::Tensor& y,
               Tensors* before = nullptr) {
  at::Tensor z = y;
  for (const AttachmentPtr& a : piece.attachments) {
    if (!a->hooks().add) continue;
    const at::Tensor y0 = a->hooks().add_needs_y0 ? y : at::Tensor();
    const at::Tensor more = a->add(x, y0, a->parameters());
    z = z + (scale == 1 ? more : more * scale);
  }
  for (const AttachmentPtr& a : piece.attachments) {
    if (!a->hooks().post) continue;
    if (before) before->push_back(z);
    z = a->post(z, a->parameters());
  }
  return z;
}

at::Tensor plain(const Call& call, const at::Tensor& x, const at::Tensor& y) {
  Tensors blocks;
  for (const Piece& piece : call.pieces)
    blocks.push_back(act(piece, call.scale, part(x, piece.segment), part(y, piece.segment)));
  return blocks.size() == 1 ? blocks.front() : at::cat(blocks, 0);
}

// One node for the module: it keeps x and y where a hook reads them, and nothing in between. Rows
// before grad_begin are served, not trained.
struct ModuleFunction : torch::autograd::Function<ModuleFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& y,
                            at::TensorList, c10::intrusive_ptr<Call> call) {
    const auto trained = [first = call->grad_begin](const at::Tensor& t) {
      return first ? t.detach().narrow(0, first, t.size(0) - first).clone() : t.detach();
    };
    ctx->save_for_backward(
        {call->reads_x ? trained(x) : at::Tensor(), call->reads_y ? trained(y) : at::Tensor()});
    ctx->saved_data["x"] = x.scalar_type();
    ctx->saved_data["y"] = y.scalar_type();
    ctx->saved_data["call"] = c10::IValue::make_capsule(call);
    return plain(*call, x.detach(), y.detach());
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto capsule = ctx->saved_data["call"].toCapsule();
    const Call& call = *static_cast<const Call*>(capsule.get());
    const variable_list saved = ctx->get_saved_variables();
    const int64_t first = call.grad_begin;
    const at::Tensor &x = saved[0], &y = saved[1];
    at::Tensor dy = grads[0].to(at::kFloat, /*non_blocking=*/false, /*copy=*/call.reads_y);
    at::Tensor dx = ctx->needs_input_grad(0) ? at::zeros(dy.sizes(), dy.options()) : at::Tensor();
    Tensors dparameters(call.parameters.size());
    for (const Piece& piece : call.pieces) {
      const Segment rows{piece.segment.slot, std::max(piece.segment.begin, first),
                         piece.segment.end};
      if (rows.begin >= rows.end || piece.attachments.empty()) continue;
      const at::Tensor xs = part(x, rows, first), ys = part(y, rows, first);
      at::Tensor d = part(dy, rows).contiguous();
      const auto keep = [&](size_t k, const Tensors& g) {
        for (size_t i = 0; i < g.size(); ++i) {
          at::Tensor& sum = dparameters[piece.first_parameter[k] + i];
          if (g[i].defined()) sum = sum.defined() ? sum + g[i] : g[i];
        }
      };
      Tensors before;
      if (call.reads_y) act(piece, call.scale, xs, ys, &before);
      for (size_t k = piece.attachments.size(); k-- > 0;) {
        const Attachment& a = *piece.attachments[k];
        if (!a.hooks().post) continue;
        const auto g = a.post_backward(before.back(), a.parameters(), d);
        before.pop_back();
        d = g.dx;
        keep(k, g.parameters);
      }
      at::Tensor dy0 = d;
      for (size_t k = 0; k < piece.attachments.size(); ++k) {
        const Attachment& a = *piece.attachments[k];
        if (!a.hooks().add) continue;
        const auto g = a.add_backward(xs, a.hooks().add_needs_y0 ? ys : at::Tensor(),
                                      a.parameters(), call.scale == 1 ? d : d * call.scale);
        if (g.dx.defined() && dx.defined()) part(dx, rows).add_(g.dx);
        if (g.dy0.defined()) dy0 = dy0 + g.dy0;
        keep(k, g.parameters);
      }
      if (call.reads_y) part(dy, rows).copy_(dy0);
    }
    variable_list result{
        dx.defined() ? dx.to(ctx->saved_data["x"].toScalarType()) : dx,
        ctx->needs_input_grad(1) ? dy.to(ctx->saved_data["y"].toScalarType()) : at::Tensor()};
    result.insert(result.end(), dparameters.begin(), dparameters.end());
    result.emplace_back();
    return result;
  }
};

at::Tensor run(const at::Tensor& x, const at::Tensor& y, c10::intrusive_ptr<Call> call) {
  if (kernels_mode() == KernelsMode::ref || !at::GradMode::is_enabled()) return plain(*call, x, y);
  const Tensors parameters = call->parameters;
  return ModuleFunction::apply(x, y, at::TensorList(parameters), std::move(call));
}

}  // namespace

bool ModuleHost::only_adds(const Rows& rows) const {
  for (const Segment& segment : rows.segments) {
    for (const AttachmentPtr& a : tables_[0].at(segment.slot)) {
      if (a->hooks().add_needs_y0 || a->hooks().post) return false;
    }
  }
  return true;
}

at::Tensor ModuleHost::forward(const at::Tensor& x, const at::Tensor& y, const Rows& rows) const {
  auto call = c10::make_intrusive<Call>(tables_[0], rows, 1.0);
  return traced(run(x, y, std::move(call)), x, sites_);
}

at::Tensor ModuleHost::add_to(const at::Tensor& stream, const at::Tensor& x, const Rows& rows,
                              double scale) const {
  SMIDGEN_ASSERT(only_adds(rows));
  auto call = c10::make_intrusive<Call>(tables_[0], rows, scale);
  return traced(run(x, stream, std::move(call)), x, sites_);
}

}  // namespace smidgen
