// The linear host: one base product for all rows, and whatever attachments put around it.
#include <torch/torch.h>

#include "smidgen/base/error.h"
#include "smidgen/kernels/block.h"
#include "smidgen/nn/host.h"
#include "smidgen/nn/linear_parts.h"
#include "smidgen/nn/low_rank_terms.h"
#include "smidgen/nn/nan_trace.h"
#include "smidgen/nn/ops.h"
#include "smidgen/nn/ops_internal.h"
#include "smidgen/nn/unrounded_forward.h"

namespace smidgen {

LinearGroup::LinearGroup(std::vector<Site> sites, std::shared_ptr<HostedWeight> weight,
                         at::Tensor bias)
    : WeightHost(std::move(sites), std::move(weight), std::move(bias)) {
  offsets_.push_back(0);
  for (const Site& site : sites_) offsets_.push_back(offsets_.back() + site.out);
  SMIDGEN_ASSERT(weight_->original().out_features() == out_features());
  SMIDGEN_ASSERT(weight_->original().in_features() == in_features());
}

namespace {

at::Tensor float32(const at::Tensor& t) {
  return t.scalar_type() == at::kFloat ? t : t.to(at::kFloat);
}

// Hooks see fp32. The rows of one segment are converted once and shared by the sites of the group.
class Float32Rows {
 public:
  explicit Float32Rows(const at::Tensor& x) : x_(x) {}
  // The same rows as they came.
  at::Tensor source(const Segment& segment) const {
    return x_.narrow(0, segment.begin, segment.end - segment.begin);
  }
  const at::Tensor& rows(const Segment& segment) const {
    if (begin_ != segment.begin) {
      begin_ = segment.begin;
      part_ = float32(x_.narrow(0, segment.begin, segment.end - segment.begin));
    }
    return part_;
  }

 private:
  const at::Tensor& x_;
  mutable int64_t begin_ = -1;
  mutable at::Tensor part_;
};

// Products with a dense trainable weight, in the arithmetic of the base that it replaces.
at::Tensor dense_matmul(const at::Tensor& x, const at::Tensor& w, const BaseWeight& base) {
  return at::linear(x.to(base.dtype()), w.to(base.dtype()));
}
at::Tensor dense_matmul_t(const at::Tensor& dy, const at::Tensor& w, const BaseWeight& base) {
  return float32(at::matmul(dy.to(base.dtype()), w.to(base.dtype())));
}
at::Tensor dense_weight_grad(const at::Tensor& dy, const at::Tensor& x, const BaseWeight& base) {
  return float32(at::matmul(dy.to(base.dtype()).t(), x.to(base.dtype())));
}

struct HostCall : torch::CustomClassHolder {
  HostCall(const LinearGroup* host, Rows r) : group(host), rows(std::move(r)) {}
  const LinearGroup* group;
  Rows rows;
  bool streams = false;
  bool wide = false;  // the result stays fp32
  double scale = 1;   // of the product, where it is added to a stream
  Remake remake;
  size_t remade = 0;  // last of the saved tensors, from which `remake` makes the input
  std::vector<HostPart> parts;
};

// The rows of a part that are trained, counted from the first trained row.
Segment trained(const Segment& s, int64_t grad_begin) {
  return {s.slot, std::max(s.begin, grad_begin) - grad_begin,
          std::max(s.end, grad_begin) - grad_begin};
}

// What must outlive the forward pass of rows that came in as `segment`: fp32, the trained rows
// only.
at::Tensor kept(const at::Tensor& y, const Segment& segment, int64_t grad_begin) {
  const int64_t skip = std::clamp<int64_t>(grad_begin - segment.begin, 0, y.size(0));
  return y.narrow(0, skip, y.size(0) - skip).to(at::kFloat, /*non_blocking=*/false, /*copy=*/true);
}

}  // namespace

// One node of the graph for the whole host. It keeps x only when an attachment needs it, and
// nothing at all for the frozen weight: the input gradient reads the one copy of the weight again.
// Rows before grad_begin are served, not trained: nothing of them is kept and they get no gradient.
struct HostFunction : torch::autograd::Function<HostFunction> {
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& x,
                            const std::optional<at::Tensor>& stream, at::TensorList leaves,
                            c10::intrusive_ptr<HostCall> call) {
    const Tensors parameters = leaves.vec();
    const LinearGroup& group = *call->group;
    const BaseWeight& base = group.weight().current();
    const int64_t grad_begin = call->rows.grad_begin;
    Tensors saved;
    bool hooks_read_x = false, rides = false;
    at::Tensor out = at::empty({x.size(0), group.out_features()},
                               x.options().dtype(stream || call->wide ? at::kFloat : base.dtype()));
    const at::Tensor operand = x.detach().to(base.dtype()).contiguous();
    multiply(*call, operand, stream, parameters, out, saved);
    // Attachments that post-process or read y0 need what stood there before; everything else adds
    // in place.
    const Float32Rows inputs(x);
    for (const HostPart& part : call->parts) {
      rides |= part.rides();
      if (part.finished_with_product()) continue;
      const auto [col0, col1] = group.weight_rows(part.site);
      at::Tensor y = out.narrow(0, part.segment.begin, part.segment.end - part.segment.begin)
                         .narrow(1, col0, col1 - col0);
      const at::Tensor b = bias_of(part, group, parameters);
      const at::Tensor input = part.reads_input() && !part.rides()
                                   ? pre_chain(part, inputs.rows(part.segment), parameters).back()
                                   : at::Tensor();
      if (part.replacement) {
        const at::Tensor w = part.replacement->weight(
            parameters_of(part, index_of(part.replacement, part), parameters));
        y.copy_(dense_matmul(input, w, base));
      } else if (part.pre) {
        y.copy_(base.matmul_rows(input, col0, col1));
      }
      hooks_read_x |= part.reads_input() && !part.rides();
      const at::Tensor y0 =
          part.needs_y0 ? y.to(at::kFloat, /*non_blocking=*/false, /*copy=*/true) : at::Tensor();
      if (part.needs_y0) saved.push_back(grad_begin ? kept(y, part.segment, grad_begin) : y0);
      if (part.add && !part.rides()) {
        for (size_t k = 0; k < part.attachments->size(); ++k) {
          const Attachment& a = *(*part.attachments)[k];
          if (a.hooks().add) y.add_(a.add(input, y0, parameters_of(part, k, parameters)));
        }
      }
      if (b.defined() && part.scales_bias) y.add_(b);
      if (part.post) {
        saved.push_back(kept(y, part.segment, grad_begin));
        y.copy_(post_chain(part, grad_begin ? float32(y) : saved.back(), parameters).back());
      }
      if (b.defined() && !part.scales_bias) y.add_(b);
    }
    const at::Tensor& source = hooks_read_x ? x : operand;
    if (!ctx) return out;
    ctx->saved_data["input_dtype"] = source.scalar_type();
    if (!hooks_read_x && !rides) {
      saved.emplace_back();
    } else if (call->remake.make) {
      saved.insert(saved.end(), call->remake.from.begin(), call->remake.from.end());
      call->remade = call->remake.from.size();
      call->remake.from.clear();  // the graph holds them, and lets them go after the backward pass
    } else {
      saved.push_back(grad_begin ? source.narrow(0, grad_begin, x.size(0) - grad_begin).clone()
                                 : source);
    }
    ctx->saved_data["dtype"] = x.scalar_type();
    ctx->save_for_backward(saved);
    ctx->saved_data["call"] = c10::IValue::make_capsule(call);
    return out;
  }

  // The base product of all parts that share it, with what can be added to it while its blocks are
  // in the cache: low-rank attachments and biases. Keeps x A^T of the trained rows.
  static void multiply(const HostCall& call, const at::Tensor& x,
                       const std::optional<at::Tensor>& stream, const Tensors& parameters,
                       at::Tensor& out, Tensors& saved) {
    const LinearGroup& group = *call.group;
    LowRankSum sum;
    bool shared = false;
    for (const HostPart& part : call.parts) {
      const auto [col0, col1] = group.weight_rows(part.site);
      shared |= !part.own_product();
      for (const LowRankDelta& factors : part.low_rank) {
        const at::Tensor u =
            low_rank_inner(x, part.segment.begin, part.segment.end, factors.a, factors.scale);
        const int64_t skip =
            std::clamp<int64_t>(call.rows.grad_begin - part.segment.begin, 0, u.size(0));
        saved.push_back(skip ? u.narrow(0, skip, u.size(0) - skip).clone() : u);
        sum.add(part.segment.begin, col0, u, factors.b.t());
      }
      const at::Tensor b =
          part.finished_with_product() ? bias_of(part, group, parameters) : at::Tensor();
      if (b.defined())
        sum.add(part.segment.begin, col0, at::ones({part.segment.end - part.segment.begin, 1}),
                b.unsqueeze(0));
    }
    if (!shared) return;
    const int64_t width = out.size(1);
    const BaseWeight& base = group.weight().current();
    if (stream) {
      const at::Tensor rows = stream->contiguous();
      const float* from = data<float>(rows);
      float* to = data<float>(out);
      const auto scale = static_cast<float>(call.scale);
      return base.matmul_blocks(x, [&](const ResultBlock& block) {
        sum.add_to(block);
        const int64_t at = block.row0 * width + block.column0;
        add_block(block.rows, block.columns, block.values, block.stride, scale, from + at, width,
                  to + at, width);
      });
    }
    with_element(out, [&](auto* y) {
      base.matmul_blocks(x, [&](const ResultBlock& block) {
        sum.add_to(block);
        store_block(block.rows, block.columns, block.values, block.stride,
                    y + block.row0 * width + block.column0, width);
      });
    });
  }

  // The trained rows of x as the hooks read them; undefined where none does.
  static at::Tensor input(torch::autograd::AutogradContext* ctx, const HostCall& call,
                          const Tensors& saved) {
    if (!call.remade) return saved.back();
    const auto first = saved.end() - static_cast<long>(call.remade);
    const at::Tensor x = call.remake.make(Tensors(first, saved.end()))
                             .to(ctx->saved_data["input_dtype"].toScalarType())
                             .contiguous();
    return x.narrow(0, call.rows.grad_begin, x.size(0) - call.rows.grad_begin);
  }

  static Tensors backward(torch::autograd::AutogradContext* ctx, Tensors grads) {
    const auto capsule = ctx->saved_data["call"].toCapsule();
    const HostCall& call = *static_cast<const HostCall*>(capsule.get());
    const LinearGroup& group = *call.group;
    const BaseWeight& base = group.weight().current();
    const Tensors parameters = flat_parameters(call.parts);
    const Tensors saved = ctx->get_saved_variables();
    const int64_t grad_begin = call.rows.grad_begin;
    const at::Tensor trained_x = input(ctx, call, saved);
    const Float32Rows inputs_of(trained_x);
    at::Tensor dy = grads[0].narrow(0, grad_begin, grads[0].size(0) - grad_begin).contiguous();
    if (call.scale != 1) dy = dy * call.scale;
    const bool need_dx = ctx->needs_input_grad(0);

    bool edited = false, shared = false;
    for (const HostPart& part : call.parts) {
      edited |= part.own_product() || part.post || part.needs_y0;
      shared |= !part.own_product();
    }
    at::Tensor dy0 = edited ? dy.clone() : dy;  // gradient of the shared product
    Tensors dparameters(parameters.size());
    struct Later {
      Segment segment;
      at::Tensor dx;
    };
    std::vector<Later> later;  // what the parts add to dx
    LowRankSum riding;         // the same, within the product
    size_t next_saved = 0;
    const at::Tensor to_product = dy.to(base.dtype());
    std::vector<Tensors> inner(call.parts.size());  // x A^T
    for (size_t i = 0; i < call.parts.size(); ++i) {
      for (size_t k = 0; k < call.parts[i].low_rank.size(); ++k)
        inner[i].push_back(saved[next_saved++]);
    }

    for (size_t index = 0; index < call.parts.size(); ++index) {
      const HostPart& part = call.parts[index];
      const auto [col0, col1] = group.weight_rows(part.site);
      const Segment segment = trained(part.segment, grad_begin);
      const int64_t row0 = segment.begin, rows = segment.end - row0;
      const at::Tensor y0 = part.needs_y0 ? saved[next_saved++] : at::Tensor();
      const at::Tensor y_before_post = part.post ? saved[next_saved++] : at::Tensor();
      if (part.attachments->empty() || rows == 0) continue;
      const bool in_fp32 = part.own_bias || part.post || !part.rides();
      at::Tensor d =
          in_fp32 ? float32(dy.narrow(0, row0, rows).narrow(1, col0, col1 - col0)) : at::Tensor();
      auto keep = [&](size_t k, const Tensors& g) {
        size_t begin = part.first_parameter;
        for (size_t i = 0; i < k; ++i) begin += (*part.attachments)[i]->parameters().size();
        for (size_t i = 0; i < g.size(); ++i) {
          if (!g[i].defined()) continue;
          at::Tensor& slot = dparameters[begin + i];
          slot = slot.defined() ? slot + g[i] : g[i];
        }
      };
      const auto keep_bias = [&] {
        const size_t k = index_of(part.own_bias, part);
        keep(k, part.own_bias->bias_backward(parameters_of(part, k, parameters), d.sum(0)));
      };
      if (part.own_bias && !part.scales_bias) keep_bias();
      if (part.post) {
        const Tensors chain = post_chain(part, y_before_post, parameters);
        size_t link = chain.size() - 1;
        for (size_t k = part.attachments->size(); k-- > 0;) {
          const Attachment& a = *(*part.attachments)[k];
          if (!a.hooks().post) continue;
          const auto g = a.post_backward(chain[--link], parameters_of(part, k, parameters), d);
          d = g.dx;
          keep(k, g.parameters);
        }
      }
      if (part.own_bias && part.scales_bias) keep_bias();
      if (part.rides()) {
        // What reaches the product, in its own dtype.
        const at::Tensor dz = part.post
                                  ? d.to(base.dtype())
                                  : to_product.narrow(0, row0, rows).narrow(1, col0, col1 - col0);
        for (size_t k = 0, term = 0; k < part.attachments->size(); ++k) {
          const Attachment& a = *(*part.attachments)[k];
          if (!a.hooks().add) continue;
          const LowRankDelta& factors = part.low_rank[term];
          const at::Tensor u = low_rank_inner(dz, 0, rows, factors.b.t(), factors.scale);
          const Tensors p = parameters_of(part, k, parameters);
          if (a.trainable())
            keep(k, a.low_rank_backward(p, low_rank_outer(u, inputs_of.source(segment)),
                                        low_rank_outer(inner[index][term], dz).t()));
          riding.add(row0, 0, u, factors.a);
          ++term;
        }
      }
      const Tensors inputs = part.reads_input() && !part.rides()
                                 ? pre_chain(part, inputs_of.rows(segment), parameters)
                                 : Tensors{};
      at::Tensor dx;
      at::Tensor dy0_part = d;
      for (size_t k = 0; part.add && !part.rides() && k < part.attachments->size(); ++k) {
        const Attachment& a = *(*part.attachments)[k];
        if (!a.hooks().add) continue;
        const auto g = a.add_backward(inputs.back(), y0, parameters_of(part, k, parameters), d);
        if (g.dx.defined()) dx = dx.defined() ? dx + g.dx : g.dx;
        if (g.dy0.defined()) dy0_part = dy0_part + g.dy0;
        keep(k, g.parameters);
      }
      if (part.replacement) {
        const size_t k = index_of(part.replacement, part);
        const Tensors p = parameters_of(part, k, parameters);
        const at::Tensor w = part.replacement->weight(p);
        const at::Tensor dense = dense_matmul_t(dy0_part, w, base);
        dx = dx.defined() ? dx + dense : dense;
        keep(k, part.replacement->weight_backward(
                    p, dense_weight_grad(dy0_part, inputs.back(), base)));
      } else if (part.pre) {
        const at::Tensor own = float32(base.matmul_t_rows(dy0_part, col0, col1));
        dx = dx.defined() ? dx + own : own;
      }
      if (part.pre) {
        size_t link = inputs.size() - 1;
        for (size_t k = part.attachments->size(); k-- > 0;) {
          const Attachment& a = *(*part.attachments)[k];
          if (!a.hooks().pre) continue;
          const auto g = a.pre_backward(inputs[--link], parameters_of(part, k, parameters), dx);
          dx = g.dx;
          keep(k, g.parameters);
        }
      }
      if (part.own_product() || part.post || part.needs_y0) {
        at::Tensor target = dy0.narrow(0, row0, rows).narrow(1, col0, col1 - col0);
        if (part.own_product()) {
          target.zero_();
        } else {
          target.copy_(dy0_part);
        }
      }
      if (need_dx && dx.defined()) later.push_back({segment, dx});
    }

    Tensors result{at::Tensor(), call.streams ? grads[0] : at::Tensor()};
    if (need_dx) {
      at::Tensor dx = at::empty(
          {dy.size(0), group.in_features()},
          dy.options().dtype(later.empty() ? ctx->saved_data["dtype"].toScalarType() : at::kFloat));
      if (shared) {
        with_element(dx, [&](auto* out) {
          base.matmul_t_blocks(edited ? dy0 : to_product, [&](const ResultBlock& block) {
            riding.add_to(block);
            store_block(block.rows, block.columns, block.values, block.stride,
                        out + block.row0 * dx.size(1) + block.column0, dx.size(1));
          });
        });
      } else {
        dx.zero_();
      }
      for (const Later& part : later) {
        dx.narrow(0, part.segment.begin, part.segment.end - part.segment.begin).add_(part.dx);
      }
      dx = dx.to(ctx->saved_data["dtype"].toScalarType());
      result[0] = grad_begin ? at::constant_pad_nd(dx, {0, 0, grad_begin, 0}) : dx;
    }
    result.insert(result.end(), dparameters.begin(), dparameters.end());
    result.push_back(at::Tensor());  // the call itself
    return result;
  }
};

namespace {

bool finished_with_product(const std::vector<HostPart>& parts) {
  return std::all_of(parts.begin(), parts.end(),
                     [](const HostPart& p) { return p.finished_with_product(); });
}

at::Tensor run(const at::Tensor& x, const std::optional<at::Tensor>& stream,
               const c10::intrusive_ptr<HostCall>& call) {
  const Tensors parameters = flat_parameters(call->parts);
  // As a TensorList: autograd looks into no other kind of list.
  const at::TensorList leaves(parameters);
  const at::Tensor y = at::GradMode::is_enabled()
                           ? HostFunction::apply(x, stream, leaves, call)
                           : HostFunction::forward(nullptr, x, stream, leaves, call);
  return traced(y, x, call->group->sites());
}

}  // namespace

at::Tensor LinearGroup::forward(const at::Tensor& x, const Rows& rows, const Remake& remake) const {
  if (kernels_mode() == KernelsMode::ref) return forward_ref(x, rows);
  auto call = c10::make_intrusive<HostCall>(this, rows);
  call->remake = remake;
  call->parts = parts_of(*this, rows);
  return run(x, {}, call);
}

at::Tensor unrounded_forward(const LinearGroup& group, const at::Tensor& x, const Rows& rows) {
  auto call = c10::make_intrusive<HostCall>(&group, rows);
  call->parts = parts_of(group, rows);
  call->wide = finished_with_product(call->parts);
  if (kernels_mode() == KernelsMode::ref || !call->wide) return float32(group.forward(x, rows));
  return run(x, {}, call);
}

at::Tensor LinearGroup::add_to(const at::Tensor& stream, const at::Tensor& x, const Rows& rows,
                               double scale, const Remake& remake) const {
  auto call = c10::make_intrusive<HostCall>(this, rows);
  call->parts = parts_of(*this, rows);
  const bool whole = finished_with_product(call->parts);
  if (!whole || kernels_mode() == KernelsMode::ref || stream.scalar_type() != at::kFloat) {
    const at::Tensor y = forward(x, rows, remake);
    return stream + (scale == 1 ? y : y * scale);
  }
  call->remake = remake;
  call->streams = true;
  call->scale = scale;
  return run(x, stream, call);
}

at::Tensor LinearGroup::forward_ref(const at::Tensor& x, const Rows& rows) const {
  const BaseWeight& base = weight().current();
  const at::Tensor dense = base.tile(0, out_features());
  const std::vector<HostPart> parts = parts_of(*this, rows);
  const Tensors all = flat_parameters(parts);
  Tensors columns;
  for (size_t site = 0; site < sites_.size(); ++site) {
    Tensors blocks;
    for (const HostPart& part : parts) {
      if (part.site != site) continue;
      const auto [col0, col1] = weight_rows(site);
      const at::Tensor xs = x.narrow(0, part.segment.begin, part.segment.end - part.segment.begin);
      const at::Tensor input = pre_chain(part, float32(xs), all).back();
      const at::Tensor w =
          part.replacement
              ? part.replacement->weight(parameters_of(part, index_of(part.replacement, part), all))
              : dense.narrow(0, col0, col1 - col0);
      const at::Tensor y0 = at::linear(input, w);
      at::Tensor y = y0;
      for (size_t k = 0; k < part.attachments->size(); ++k) {
        const Attachment& a = *(*part.attachments)[k];
        if (a.hooks().add) y = y + a.add(input, y0, parameters_of(part, k, all));
      }
      const at::Tensor b = bias_of(part, *this, all);
      if (b.defined() && part.scales_bias) y = y + b;
      y = post_chain(part, y, all).back();
      if (b.defined() && !part.scales_bias) y = y + b;
      blocks.push_back(y);
    }
    columns.push_back(at::cat(blocks, 0));
  }
  return at::cat(columns, 1).to(base.dtype());
}

}  // namespace smidgen
