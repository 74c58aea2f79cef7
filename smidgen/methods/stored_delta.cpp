#include "smidgen/methods/stored_delta.h"

#include <bit>
#include <map>
#include <set>

#include <torch/torch.h>

#include "smidgen/base/threads.h"

namespace smidgen {

namespace {

// Bits [begin, begin + count) of `from`, at the beginning of `to`.
void copy_bits(const std::vector<uint64_t>& from, int64_t begin, int64_t count, uint64_t* to) {
  const auto shift = static_cast<int>(begin % 64);
  auto at = static_cast<size_t>(begin / 64);
  for (; count > 0; count -= 64, ++at, ++to) {
    *to = from[at] >> shift;
    if (shift && at + 1 < from.size()) *to |= from[at + 1] << (64 - shift);
    if (count < 64) *to &= (uint64_t{1} << count) - 1;
  }
}

uint64_t* words(at::Tensor& bits) {
  return reinterpret_cast<uint64_t*>(bits.mutable_data_ptr<int64_t>());
}

at::Tensor turned(at::Tensor bits, int64_t columns) {
  const int64_t rows = bits.size(0), from_words = bits.size(1), to_words = sign_words(rows);
  at::Tensor out = at::zeros({columns, to_words}, at::kLong);
  const uint64_t* const from = words(bits);
  uint64_t* const to = words(out);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t w = 0; w < from_words; ++w) {
      for (uint64_t left = from[r * from_words + w]; left; left &= left - 1) {
        const int64_t column = w * 64 + std::countr_zero(left);
        to[column * to_words + r / 64] |= uint64_t{1} << (r % 64);
      }
    }
  }
  return out;
}

TernaryDelta turned(const TernaryDelta& t) {
  return {turned(t.positive, t.columns), turned(t.negative, t.columns), t.positive.size(0),
          t.scale};
}

// ---- what a site's plan holds: constants {+, -} or {values}, then the bias's difference

struct Held {
  std::optional<Delta> weight;
  at::Tensor bias;
};

Held held(const SitePlan& site) {
  Held out;
  const auto form = site.settings.at("form").get<std::string>();
  if (form == "ternary") {
    out.weight = TernaryDelta{site.constants[0], site.constants[1],
                              site.settings.at("columns").get<int64_t>(),
                              site.settings.at("scale").get<double>()};
  } else if (form == "dense") {
    out.weight = DenseDelta{site.constants[0]};
  }
  if (site.settings.at("bias").get<bool>()) out.bias = site.constants.back();
  return out;
}

class DeltaAttachment : public Attachment {
 public:
  DeltaAttachment(Hooks hooks, Held values, double scale, at::Tensor weight, at::Tensor bias)
      : Attachment(hooks, {}),
        values_(std::move(values)),
        scale_(scale),
        weight_(std::move(weight)),
        bias_(std::move(bias)) {}

  at::Tensor add(const at::Tensor& x, const at::Tensor&, const Tensors&) const override {
    const auto* signs = std::get_if<TernaryDelta>(&*values_.weight);
    return scaled(signs ? times_transposed(x, *signs) : at::linear(x, dense()));
  }
  Grads add_backward(const at::Tensor&, const at::Tensor&, const Tensors&,
                     const at::Tensor& dy) const override {
    const auto* signs = std::get_if<TernaryDelta>(&*values_.weight);
    return {scaled(signs ? times(dy, *signs) : at::matmul(dy, dense())), {}, {}};
  }
  at::Tensor embed(const at::Tensor& ids, const at::Tensor& y, const Tensors&) const override {
    const auto* signs = std::get_if<TernaryDelta>(&*values_.weight);
    const at::Tensor change =
        scaled(signs ? gather_rows(*signs, ids) : dense().index_select(0, ids));
    return y + change.to(y.scalar_type());
  }
  at::Tensor weight(const Tensors&) const override { return weight_; }
  Tensors weight_backward(const Tensors&, const at::Tensor&) const override { return {}; }
  at::Tensor bias(const Tensors&) const override { return bias_; }
  Tensors bias_backward(const Tensors&, const at::Tensor&) const override { return {}; }

 private:
  const at::Tensor& dense() const { return std::get<DenseDelta>(*values_.weight).values; }
  at::Tensor scaled(at::Tensor fresh) const { return scale_ == 1 ? fresh : fresh.mul_(scale_); }

  Held values_;
  double scale_;
  at::Tensor weight_, bias_;  // in place of the base's
};

class StoredDelta : public SitePart {
 public:
  void init(const SitePlan&, const std::vector<Parameter*>&, const BaseView&, const Json&,
            uint64_t) const override {}

  AttachmentPtr attach(const SitePlan& site, const Tensors&, const BaseView& base,
                       const AttachOptions& options) const override {
    Held values = held(site);
    const SiteKind kind = site.site.kind;
    const bool moves = values.weight.has_value();
    const Hooks hooks{.add = moves && kind == SiteKind::linear,
                      .weight = moves && kind == SiteKind::norm,
                      .bias = values.bias.defined(),
                      .embed = moves && kind == SiteKind::embedding};
    at::Tensor weight, bias;
    if (hooks.weight) {
      weight =
          base.tile(0, site.site.out) + std::get<DenseDelta>(*values.weight).values * options.scale;
    }
    if (hooks.bias) bias = base.bias() + values.bias * options.scale;
    return std::make_shared<DeltaAttachment>(hooks, std::move(values), options.scale, weight, bias);
  }

  std::optional<Delta> delta(const SitePlan& site, const Tensors&, const BaseView&) const override {
    return held(site).weight;
  }
  at::Tensor bias_delta(const SitePlan& site, const Tensors&, const BaseView&) const override {
    return held(site).bias;
  }
  bool scalable() const override { return true; }
};

const StoredDelta kStoredDelta;

// ---- from the file to the sites

std::vector<int64_t> shape_of(const Site& site) {
  if (site.kind == SiteKind::norm) return {site.out};
  if (site.transposed) return {site.in, site.out};
  return {site.out, site.in};
}

class DeltaReader {
 public:
  explicit DeltaReader(const DeltaFiles& files) : files_(files) {
    for (const DeltaTensor& tensor : files.tensors) tensors_[tensor.name] = &tensor;
    for (const auto& [name, original] : files.copies) {
      const auto found = tensors_.find(original);
      if (found != tensors_.end()) tensors_[name] = found->second;
    }
  }

  // The weight's difference at a site; nothing where it did not move.
  const std::optional<Delta>& weight(const Site& site) {
    const std::string owner = site.tied_to.empty() ? site.name : site.tied_to;
    const DeltaTensor* tensor = take(owner + ".weight", shape_of(site));
    // A head that is tied may lie in the file a second time.
    if (!site.tied_to.empty() && tensor && find(site.name + ".weight") == tensor)
      used_.insert(site.name + ".weight");
    auto& made = made_[{owner, site.transposed}];
    if (made || !tensor) return made;
    if (files_.kind == DeltaKind::ternary && site.kind != SiteKind::norm) {
      const TernaryDelta signs = ternary_delta(files_, *tensor);
      made = site.transposed ? turned(signs) : signs;
    } else {
      const at::Tensor values = numbers(*tensor);
      made = DenseDelta{site.kind == SiteKind::norm ? values.reshape({-1, 1})
                        : site.transposed           ? values.t().contiguous()
                                                    : values};
    }
    return made;
  }

  at::Tensor bias(const Site& site) {
    const DeltaTensor* tensor = take(site.name + ".bias", {site.out});
    return tensor ? numbers(*tensor) : at::Tensor();
  }

  void check_all_used() const {
    std::vector<std::string> left;
    for (const auto& [name, tensor] : tensors_) {
      if (!used_.contains(name)) left.push_back(name);
    }
    left.insert(left.end(), files_.exact.begin(), files_.exact.end());
    if (left.empty()) return;
    throw Error(ErrorKind::mismatch,
                str(left.size(), left.size() == 1 ? " tensor" : " tensors",
                    " of the delta apply to nothing: ", join(left, ", ", 4)),
                files_.path.string(),
                "it was made from another base, or from a model that only smidgen decompress can "
                "put together");
  }

 private:
  const DeltaTensor* find(const std::string& name) const {
    const auto found = tensors_.find(name);
    return found == tensors_.end() ? nullptr : found->second;
  }

  const DeltaTensor* take(const std::string& name, const std::vector<int64_t>& shape) {
    const DeltaTensor* tensor = find(name);
    if (!tensor) return nullptr;
    used_.insert(name);
    if (tensor->shape == shape) return tensor;
    throw Error(ErrorKind::mismatch,
                str("the delta is of shape ", shape_str(tensor->shape), ", the base's tensor of ",
                    shape_str(shape)),
                files_.where(*tensor), "it was made from another base");
  }

  at::Tensor numbers(const DeltaTensor& tensor) const {
    at::Tensor values = at::empty(tensor.shape, at::kFloat);
    TensorDelta(files_, tensor)
        .read(0, {values.mutable_data_ptr<float>(), static_cast<size_t>(values.numel())});
    return values;
  }

  const DeltaFiles& files_;
  std::map<std::string, const DeltaTensor*> tensors_;
  std::map<std::pair<std::string, bool>, std::optional<Delta>> made_;  // by owner
  std::set<std::string> used_;
};

}  // namespace

TernaryDelta ternary_delta(const DeltaFiles& files, const DeltaTensor& tensor) {
  SMIDGEN_ASSERT(files.kind == DeltaKind::ternary);
  const Signs signs = TensorDelta(files, tensor).signs().decode();
  const int64_t columns = tensor.columns();
  const int64_t rows = columns ? tensor.elements() / columns : 0, width = sign_words(columns);
  TernaryDelta delta{at::empty({rows, width}, at::kLong), at::empty({rows, width}, at::kLong),
                     columns, static_cast<double>(files.scale)};
  const auto fill = [&](const std::vector<uint64_t>& from, at::Tensor& to) {
    uint64_t* const bits = words(to);
    parallel_for(rows, std::max<int64_t>(1, (1 << 12) / std::max<int64_t>(1, width)),
                 [&](int64_t begin, int64_t end) {
                   for (int64_t r = begin; r < end; ++r)
                     copy_bits(from, r * columns, columns, bits + r * width);
                 });
  };
  fill(signs.positive, delta.positive);
  fill(signs.negative, delta.negative);
  return delta;
}

Plan plan_delta(const Model& model, const DeltaFiles& files) {
  DeltaReader reader(files);
  Plan plan;
  for (const Site& site : model.sites()) {
    const std::optional<Delta>& weight = reader.weight(site);
    const at::Tensor bias = reader.bias(site);
    if (!weight && !bias.defined()) continue;
    SitePlan made{.site = site, .part = &kStoredDelta};
    made.settings = {{"form", ""}, {"bias", bias.defined()}};
    if (const auto* signs = weight ? std::get_if<TernaryDelta>(&*weight) : nullptr) {
      made.settings["form"] = "ternary";
      made.settings["columns"] = signs->columns;
      made.settings["scale"] = signs->scale;
      made.constants = {signs->positive, signs->negative};
    } else if (weight) {
      made.settings["form"] = "dense";
      made.constants = {std::get<DenseDelta>(*weight).values};
    }
    if (bias.defined()) made.constants.push_back(bias);
    plan.sites.push_back(std::move(made));
  }
  reader.check_all_used();
  return plan;
}

}  // namespace smidgen
