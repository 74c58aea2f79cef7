#include "smidgen/nn/reversible.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <map>

#include <torch/torch.h>

#include "smidgen/base/error.h"

namespace smidgen {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr double kUnit = 68719476736.0;  // 2^36 units are 1
constexpr double kOffTies = 1 / kUnit;
constexpr double kLargest = 67108864.0;    // 2^26
constexpr int64_t kMostDivisor = 1 << 20;  // a word holds three digits of it

// Digits of base k that a word of 63 bits holds.
int64_t digits(int64_t k) {
  int64_t count = 0;
  for (uint64_t power = 1; power <= (uint64_t{1} << 63) / static_cast<uint64_t>(k);
       power *= static_cast<uint64_t>(k))
    ++count;
  return count;
}

// The digits that were lost, one word of them after the other: a stack.
class Remainders {
 public:
  explicit Remainders(int64_t k) : k_(k), per_word_(k > 1 ? digits(k) : 0) {}
  int64_t divisor() const { return k_; }
  // The word that the next digit goes to, or undefined where there is none to keep.
  at::Tensor push_to(const at::Tensor& like) {
    if (k_ == 1) return {};
    if (count_++ % per_word_ == 0) words_.push_back(at::zeros_like(like));
    return words_.back();
  }
  // The word that the last digit is in.
  at::Tensor pop_from() {
    if (k_ == 1) return {};
    const at::Tensor word = words_.back();
    if (--count_ % per_word_ == 0) words_.pop_back();
    return word;
  }

 private:
  int64_t k_, per_word_, count_ = 0;
  std::vector<at::Tensor> words_;
};

[[noreturn]] void does_not_fit(double value) {
  throw Error(ErrorKind::diverged,
              str("a layer gives ", value, ", which exact reversal has no room for: it holds ",
                  kLargest, " and less"),
              "reverse", "reverse: anchors has no such limit");
}

const float* floats(const at::Tensor& f) {
  return f.const_data_ptr<float>();
}

int64_t units(float value) {
  return std::llrint(static_cast<double>(value) * kUnit);
}

// x = floor(x / k) + f, pushing the remainder where there is a word for it.
void scale_and_add(at::Tensor& x, const at::Tensor& f, int64_t k, const at::Tensor& word) {
  auto* to = x.mutable_data_ptr<int64_t>();
  int64_t* lost = word.defined() ? word.mutable_data_ptr<int64_t>() : nullptr;
  const float* more = f.defined() ? floats(f) : nullptr;
  std::atomic<bool> full = false;
  at::parallel_for(0, x.numel(), 1 << 13, [&](int64_t begin, int64_t end) {
    bool over = false;
    for (int64_t i = begin; i < end; ++i) {
      int64_t value = to[i];
      if (k > 1) {
        int64_t quotient = value / k, rest = value - quotient * k;
        if (rest < 0) rest += k, --quotient;
        if (lost) lost[i] = lost[i] * k + rest;
        value = quotient;
      }
      const int64_t term = more ? units(more[i]) : 0;
      over |= __builtin_add_overflow(value, term, &to[i]);
    }
    if (over) full = true;
  });
  if (full) does_not_fit(2 * kLargest);
}

void subtract_and_scale(at::Tensor& x, const at::Tensor& f, int64_t k, const at::Tensor& word) {
  auto* to = x.mutable_data_ptr<int64_t>();
  int64_t* lost = word.defined() ? word.mutable_data_ptr<int64_t>() : nullptr;
  const float* more = f.defined() ? floats(f) : nullptr;
  at::parallel_for(0, x.numel(), 1 << 13, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      int64_t value = to[i];
      if (more) value -= units(more[i]);
      if (lost) {
        const int64_t rest = lost[i] % k;
        lost[i] /= k;
        value = value * k + rest;
      }
      to[i] = value;
    }
  });
}

// The two streams in the arithmetic of a plan, moved layer by layer in place.
class Streams {
 public:
  // With `back`, keeps what the way back needs beside the streams themselves.
  Streams(const at::Tensor& x1, const at::Tensor& x2, const Coupling& c, Reverse mode, bool back)
      : coupling_(c),
        mode_(mode),
        back_(back),
        lost1_(exact() ? *whole_divisor(c.lambda) : 1),
        lost2_(exact() ? *whole_divisor(c.beta) : 1) {
    s1_ = entered(x1);
    s2_ = entered(x2);
  }

  void forward(const ReversibleLayer& layer) {
    add(s1_, layer.f, s2_, coupling_.lambda, lost1_);
    add(s2_, layer.g, s1_, coupling_.beta, lost2_);
    if (coupling_.switched) std::swap(s1_, s2_);
  }

  // One layer back; f is asked for F(x2) and g for G(y1).
  void backward(const Stretch& f, const Stretch& g) {
    if (coupling_.switched) std::swap(s1_, s2_);
    take(s2_, g, s1_, coupling_.beta, lost2_);
    take(s1_, f, s2_, coupling_.lambda, lost1_);
  }

  at::Tensor first() const { return read(s1_); }
  at::Tensor second() const { return read(s2_); }
  // Copies in the streams' own arithmetic, and going on from them.
  std::pair<at::Tensor, at::Tensor> state() const { return {s1_.clone(), s2_.clone()}; }
  void start_at(const std::pair<at::Tensor, at::Tensor>& state) {
    s1_ = state.first;
    s2_ = state.second;
  }
  void start_at_copy() { start_at(state()); }

 private:
  bool exact() const { return mode_ == Reverse::exact; }

  at::Tensor entered(const at::Tensor& x) const {
    if (!exact())
      return x.detach().to(mode_ == Reverse::fp64 ? at::kDouble : at::kFloat,
                           /*non_blocking=*/false, /*copy=*/true);
    at::Tensor s = at::zeros(x.sizes(), x.options().dtype(at::kLong));
    scale_and_add(s, fitting(x.detach()), 1, {});
    return s;
  }

  at::Tensor read(const at::Tensor& s) const {
    // Sums of floats often lie halfway between two, where the last bit of the way back would
    // decide. A little off, they do not.
    if (mode_ == Reverse::fp64) return (s * (1 + kOffTies)).to(at::kFloat);
    return exact() ? s.to(at::kDouble).mul_(1 / kUnit).to(at::kFloat) : s.to(at::kFloat);
  }

  static at::Tensor fitting(const at::Tensor& f) {
    const at::Tensor x = f.to(at::kFloat).contiguous();
    if (x.numel() == 0) return x;
    const auto [low, high] = x.aminmax();  // NaN where there is one
    for (const double most : {low.item<double>(), high.item<double>()}) {
      if (!(std::abs(most) <= kLargest)) does_not_fit(most);
    }
    return x;
  }

  void add(at::Tensor& s, const Stretch& f, const at::Tensor& other, double factor,
           Remainders& lost) {
    const at::Tensor y = f ? f(read(other)).detach() : at::Tensor();
    if (exact()) {
      const at::Tensor word = back_ ? lost.push_to(s) : at::Tensor();
      return scale_and_add(s, y.defined() ? fitting(y) : y, lost.divisor(), word);
    }
    if (factor != 1) s.mul_(factor);
    if (y.defined()) s.add_(y);
  }

  void take(at::Tensor& s, const Stretch& f, const at::Tensor& other, double factor,
            Remainders& lost) {
    const at::Tensor y = f ? f(read(other)).detach() : at::Tensor();
    if (exact())
      return subtract_and_scale(s, y.defined() ? fitting(y) : y, lost.divisor(), lost.pop_from());
    if (y.defined()) s.sub_(y);
    if (factor != 1) s.div_(factor);
  }

  Coupling coupling_;
  Reverse mode_;
  bool back_;
  Remainders lost1_, lost2_;
  at::Tensor s1_, s2_;
};

using Anchors = std::map<size_t, std::pair<at::Tensor, at::Tensor>>;  // by layers gone

struct Held : torch::CustomClassHolder {
  std::vector<ReversibleLayer> layers;
  Coupling coupling;
  ReversePlan plan;
  std::optional<Streams> streams;  // after the last layer
  Anchors anchors;
};

// The unique leaves of all layers, in order.
Tensors leaves_of(const std::vector<ReversibleLayer>& layers) {
  Tensors all;
  std::map<const at::TensorImpl*, bool> seen;
  for (const ReversibleLayer& layer : layers) {
    for (const at::Tensor& leaf : layer.leaves) {
      if (!std::exchange(seen[leaf.unsafeGetTensorImpl()], true)) all.push_back(leaf);
    }
  }
  return all;
}

// A stretch run with its graph: its value, and what dy pulls back through it into x and the leaves.
struct Pulled {
  at::Tensor value, dx;
};
Pulled pull(const Stretch& stretch, const at::Tensor& x, const at::Tensor& dy,
            const Tensors& leaves, std::map<const at::TensorImpl*, at::Tensor>& sums) {
  const torch::AutoGradMode recording(true);
  const at::Tensor input = x.detach().requires_grad_(true);
  const at::Tensor y = stretch(input);
  variable_list asked{input};
  for (const at::Tensor& leaf : leaves) {
    if (leaf.requires_grad()) asked.push_back(leaf);
  }
  Pulled pulled{y.detach(), {}};
  if (!y.requires_grad()) return pulled;
  const variable_list found =
      torch::autograd::grad({y}, asked, {dy.to(y.scalar_type())}, /*retain_graph=*/false,
                            /*create_graph=*/false, /*allow_unused=*/true);
  pulled.dx = found.front();
  for (size_t i = 1; i < asked.size(); ++i) {
    if (!found[i].defined()) continue;
    at::Tensor& sum = sums[asked[i].unsafeGetTensorImpl()];
    sum = sum.defined() ? sum + found[i] : found[i];
  }
  return pulled;
}

struct ReversibleFunction : torch::autograd::Function<ReversibleFunction> {
  static variable_list forward(AutogradContext* ctx, const at::Tensor& x1, const at::Tensor& x2,
                               at::TensorList leaves, c10::intrusive_ptr<Held> held) {
    Streams streams(x1, x2, held->coupling, held->plan.mode, /*back=*/true);
    const size_t count = held->layers.size();
    for (size_t n = 0; n < count; ++n) {
      streams.forward(held->layers[n]);
      const auto gone = static_cast<int64_t>(n + 1);
      if (held->plan.mode == Reverse::anchors && n + 1 < count &&
          gone % held->plan.anchor_every == 0)
        held->anchors.emplace(n + 1, streams.state());
    }
    variable_list outputs{streams.first(), streams.second()};
    // What is read of an fp32 stream is the stream itself, which the way back moves in place.
    if (held->plan.mode == Reverse::anchors) streams.start_at_copy();
    held->streams.emplace(std::move(streams));
    ctx->save_for_backward(leaves.vec());
    ctx->saved_data["held"] = c10::IValue::make_capsule(held);
    return outputs;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list leaves = ctx->get_saved_variables();
    const auto capsule = ctx->saved_data["held"].toCapsule();
    Held& held = *static_cast<Held*>(capsule.get());
    if (!held.streams)
      throw Error(ErrorKind::usage, "a reversible pass can be walked back once only", "reverse");
    Streams streams = *std::exchange(held.streams, std::nullopt);
    std::map<const at::TensorImpl*, at::Tensor> sums;
    at::Tensor d1 = grads[0], d2 = grads[1];
    const at::Tensor& some = d1.defined() ? d1 : d2;
    if (!d1.defined()) d1 = at::zeros_like(some);
    if (!d2.defined()) d2 = at::zeros_like(some);
    for (size_t n = held.layers.size(); n-- > 0;) {
      const ReversibleLayer& layer = held.layers[n];
      if (const auto anchor = held.anchors.extract(n + 1)) streams.start_at(anchor.mapped());
      if (held.coupling.switched) std::swap(d1, d2);
      const auto through = [&](const Stretch& stretch, const at::Tensor& dy, at::Tensor& dx) {
        return [&](const at::Tensor& x) {
          const Pulled pulled = pull(stretch, x, dy, layer.leaves, sums);
          if (pulled.dx.defined()) dx = dx + pulled.dx;
          return pulled.value;
        };
      };
      // d1 and d2 belong to y1 and y2; g reads y1, f reads x2.
      at::Tensor dx2 = d2 * held.coupling.beta;
      const Stretch g = layer.g ? Stretch(through(layer.g, d2, d1)) : Stretch();
      const Stretch f = layer.f ? Stretch(through(layer.f, d1, dx2)) : Stretch();
      streams.backward(f, g);
      d1 = d1 * held.coupling.lambda;
      d2 = dx2;
    }
    variable_list result{d1, d2};
    for (const at::Tensor& leaf : leaves) {
      const auto found = sums.find(leaf.unsafeGetTensorImpl());
      result.push_back(found == sums.end() ? at::Tensor() : found->second);
    }
    result.emplace_back();
    return result;
  }
};

// x for two readers, whose gradients are added in this order, whatever the engine's.
struct Twice : torch::autograd::Function<Twice> {
  static variable_list forward(AutogradContext*, const at::Tensor& x) {
    return {x.view_as(x), x.view_as(x)};
  }
  static variable_list backward(AutogradContext*, const variable_list& grads) {
    if (!grads[0].defined() || !grads[1].defined())
      return {grads[0].defined() ? grads[0] : grads[1]};
    return {grads[0] + grads[1]};
  }
};

// ||a - b|| / ||b||; infinite where a is not finite.
double off(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor wanted = b.to(at::kDouble);
  const double size = wanted.norm().item<double>(),
               error = (a.to(at::kDouble) - wanted).norm().item<double>();
  if (!std::isfinite(error)) return std::numeric_limits<double>::infinity();
  return size > 0 ? error / size : error;
}

int64_t stream_bytes(Reverse mode) {
  return mode == Reverse::exact || mode == Reverse::fp64 ? 8 : 4;
}

}  // namespace

double growth(const Coupling& c) {
  const double a = 1 / c.lambda, b = 1 / c.beta;
  if (c.switched) {
    const double most = std::max(a, b);
    return (most + std::sqrt(most * most + 4 * a * b)) / 2;
  }
  const double trace = a + b + a * b;
  return (trace + std::sqrt(trace * trace - 4 * a * b)) / 2;
}

int64_t anchor_distance(const Coupling& coupling, double tolerance) {
  const double room = std::log(tolerance / std::ldexp(1, -24)) / std::log(growth(coupling));
  return std::max<int64_t>(1, static_cast<int64_t>(std::floor(room)));
}

std::optional<int64_t> whole_divisor(double factor) {
  const double k = std::round(1 / factor);
  if (!(k >= 1) || k > static_cast<double>(kMostDivisor) || std::abs(1 / factor - k) > 1e-9 * k)
    return std::nullopt;
  return static_cast<int64_t>(k);
}

void check_exact(const Coupling& coupling, const std::string& hint) {
  for (const auto& [name, factor] :
       {std::pair("x1_factor", coupling.lambda), std::pair("x2_factor", coupling.beta)}) {
    if (whole_divisor(factor)) continue;
    const double k = std::max(1.0, std::round(1 / factor));
    throw Error(ErrorKind::usage,
                str(name, " is ", factor,
                    ", and exact reversal divides by whole numbers: it takes 1, 0.5, 1/3, 0.25, "
                    "0.2, 0.1 and every other 1/k"),
                name, str("the nearest is ", 1 / k, hint.empty() ? "" : "; ", hint));
  }
}

std::pair<at::Tensor, at::Tensor> reversible(const at::Tensor& x1, const at::Tensor& x2,
                                             const std::vector<ReversibleLayer>& layers,
                                             const Coupling& coupling, const ReversePlan& plan) {
  if (plan.mode == Reverse::exact) check_exact(coupling, {});
  const Tensors leaves = leaves_of(layers);
  const bool recording = at::GradMode::is_enabled() &&
                         (x1.requires_grad() || x2.requires_grad() ||
                          std::any_of(leaves.begin(), leaves.end(),
                                      [](const at::Tensor& leaf) { return leaf.requires_grad(); }));
  if (!recording) {
    const torch::NoGradGuard no_grad;
    Streams streams(x1, x2, coupling, plan.mode, /*back=*/false);
    for (const ReversibleLayer& layer : layers) streams.forward(layer);
    return {streams.first(), streams.second()};
  }
  if (plan.mode == Reverse::cached) {
    at::Tensor s1 = x1, s2 = x2;
    const auto next = [](const at::Tensor& s, double factor, const Stretch& f, at::Tensor& other) {
      const at::Tensor scaled = factor == 1 ? s : s * factor;
      if (!f) return scaled;
      const variable_list two = Twice::apply(other);
      other = two[1];
      return scaled + f(two[0]);
    };
    for (const ReversibleLayer& layer : layers) {
      s1 = next(s1, coupling.lambda, layer.f, s2);
      s2 = next(s2, coupling.beta, layer.g, s1);
      if (coupling.switched) std::swap(s1, s2);
    }
    return {s1, s2};
  }
  auto held = c10::make_intrusive<Held>();
  held->layers = layers;
  held->coupling = coupling;
  held->plan = plan;
  const variable_list outputs =
      ReversibleFunction::apply(x1, x2, at::TensorList(leaves), std::move(held));
  return {outputs[0], outputs[1]};
}

double Reconstruction::worst() const {
  return errors.empty() ? 0 : *std::max_element(errors.begin(), errors.end());
}

Reconstruction reconstruct(const at::Tensor& x1, const at::Tensor& x2,
                           const std::vector<ReversibleLayer>& layers, const Coupling& coupling,
                           const ReversePlan& plan) {
  const torch::NoGradGuard no_grad;
  Reconstruction found;
  found.errors.assign(layers.size(), 0);
  found.distance.assign(layers.size(), 0);
  if (plan.mode == Reverse::cached) return found;
  if (plan.mode == Reverse::exact) check_exact(coupling, {});
  const size_t count = layers.size(), stride = plan.mode == Reverse::anchors
                                                   ? static_cast<size_t>(plan.anchor_every)
                                                   : std::max<size_t>(1, count);
  Streams streams(x1, x2, coupling, plan.mode, /*back=*/true);
  for (size_t begin = 0; begin < count; begin += stride) {
    const size_t end = std::min(count, begin + stride);
    std::vector<std::pair<at::Tensor, at::Tensor>> before;
    for (size_t n = begin; n < end; ++n) {
      before.push_back(streams.state());
      streams.forward(layers[n]);
    }
    const auto top = streams.state();
    for (size_t n = end; n-- > begin;) {
      streams.backward(layers[n].f, layers[n].g);
      const auto [first, second] = streams.state();
      found.errors[n] =
          std::max(off(first, before[n - begin].first), off(second, before[n - begin].second));
      found.distance[n] = static_cast<int64_t>(end - n);
    }
    streams.start_at(top);
  }
  return found;
}

PassMemory reversible_memory(const std::vector<PassMemory>& f, const std::vector<PassMemory>& g,
                             const Coupling& coupling, const ReversePlan& plan, int64_t elements) {
  const int64_t fp32 = 4 * elements;
  PassMemory m;
  const auto count = static_cast<int64_t>(f.size());
  if (plan.mode == Reverse::cached) {
    // The sums of both lines, which the next layer's parts keep or let go.
    for (size_t n = 0; n < f.size(); ++n) m.then(f[n]).then(g[n]);
    return m.beside(4 * fp32);
  }
  m.kept = 2 * stream_bytes(plan.mode) * elements;
  if (plan.mode == Reverse::anchors)
    m.kept += 2 * fp32 * ((count - 1) / std::max<int64_t>(1, plan.anchor_every));
  if (plan.mode == Reverse::exact) {
    for (const double factor : {coupling.lambda, coupling.beta}) {
      const int64_t k = whole_divisor(factor).value_or(1);
      if (k > 1) m.kept += 8 * elements * ((count + digits(k) - 1) / digits(k));
    }
  }
  for (const auto& parts : {f, g}) {
    for (const PassMemory& part : parts) {
      m.forward = std::max(m.forward, part.forward);
      m.backward = std::max({m.backward, part.forward, part.backward});
    }
  }
  // Both gradients, the streams as they are read, and sums on their way into them.
  m.forward += m.kept + 2 * fp32;
  m.backward += m.kept + 5 * fp32;
  return m;
}

}  // namespace smidgen
