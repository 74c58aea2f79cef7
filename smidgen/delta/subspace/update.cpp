#include "smidgen/delta/subspace/update.h"

#include <algorithm>
#include <map>
#include <unordered_map>
#include <unordered_set>

#include <torch/torch.h>

#include "smidgen/base/error.h"
#include "smidgen/base/threads.h"
#include "smidgen/methods/merge.h"

namespace smidgen {

namespace {

class ModelUpdate : public Update {
 public:
  ModelUpdate(std::shared_ptr<const Source> model, std::shared_ptr<const Source> base)
      : model_(std::move(model)), base_(std::move(base)) {
    check_kind();
    std::unordered_map<std::string, const SourceTensor*> there;
    for (const SourceTensor& tensor : base_->tensors()) there.emplace(tensor.name, &tensor);
    for (const SourceTensor& tensor : model_->tensors()) {
      const auto found = there.find(tensor.name);
      if (found == there.end()) {
        left_out_.push_back(tensor.name);
        continue;
      }
      const SourceTensor& other = *found->second;
      there.erase(found);
      if (!info(tensor.stored).floating || !info(other.stored).floating) {
        left_out_.push_back(tensor.name);
        continue;
      }
      if (other.shape != tensor.shape)
        throw Error(ErrorKind::mismatch,
                    str("the shape is [", join(tensor.shape), "] in ", model_->label(), " and [",
                        join(other.shape), "] in ", base_->label()),
                    tensor.name, "only models of one shape have a difference");
      pairs_.emplace(tensor.name, std::pair{&tensor, &other});
      tensors_.push_back({tensor.name, tensor.shape});
    }
    for (const SourceTensor& tensor : base_->tensors()) {
      if (there.contains(tensor.name)) left_out_.push_back(tensor.name);
    }
    if (tensors_.empty())
      throw Error(ErrorKind::mismatch,
                  str("no tensor is in both ", model_->label(), " and ", base_->label()),
                  left_out_.empty() ? "" : left_out_.front(), "are they of one family?");
  }

  std::string label() const override { return model_->label(); }
  const std::vector<UpdateTensor>& tensors() const override { return tensors_; }
  const std::vector<std::string>& left_out() const override { return left_out_; }
  bool low_rank() const override { return false; }

  std::optional<Delta> read(const std::string& name) const override {
    const auto found = pairs_.find(name);
    if (found == pairs_.end()) return std::nullopt;
    const auto [tensor, other] = found->second;
    const int64_t rows = tensor->shape.empty() ? 1 : tensor->shape.front();
    at::Tensor out = at::empty({rows, rows ? tensor->elements() / rows : 0}, at::kFloat);
    float* values = out.mutable_data_ptr<float>();
    const int64_t columns = std::max<int64_t>(1, tensor->columns());
    const int64_t lines = tensor->elements() / columns;
    const int64_t grain = std::max<int64_t>(1, kPiece / columns);
    parallel_for(lines, grain, [&, tensor = tensor, other = other](int64_t first, int64_t last) {
      std::vector<float> base;
      for (int64_t line = first; line < last; line += grain) {
        const int64_t begin = line * columns;
        const int64_t count = (std::min(last, line + grain) - line) * columns;
        base.resize(static_cast<size_t>(count));
        const std::span<float> mine(values + begin, base.size());
        model_->read(*tensor, begin, mine);
        base_->read(*other, begin, base);
        for (size_t i = 0; i < base.size(); ++i) mine[i] -= base[i];
      }
    });
    return DenseDelta{out};
  }

 private:
  // What tells two architectures apart where tensors happen to fit: the family, and the blocks.
  void check_kind() const {
    // A GGUF file of a Mistral says llama.
    const auto family = [](const Source& source) {
      if (source.files() && source.files()->gguf) return Json();
      const Json config = source.config();
      return config.is_object() ? config.value("model_type", Json()) : Json();
    };
    const Json mine = family(*model_), theirs = family(*base_);
    if (!mine.is_null() && !theirs.is_null() && mine != theirs)
      throw Error(ErrorKind::mismatch,
                  str(model_->label(), " is of the family ", mine.dump(), ", and ", base_->label(),
                      " of ", theirs.dump()),
                  "", "only a fine-tune has a difference from its base");
    for (const auto& [one, other] : {std::pair{&model_, &base_}, std::pair{&base_, &model_}}) {
      const std::string block = block_without(**one, **other);
      if (!block.empty())
        throw Error(ErrorKind::mismatch,
                    str((*one)->label(), " has a block that ", (*other)->label(), " has not"),
                    block, "only models of one shape have a difference");
    }
  }

  // The first block of `one` that `other` has no tensor of; empty where there is none.
  static std::string block_without(const Source& one, const Source& other) {
    std::unordered_set<std::string> there;
    for (const SourceTensor& tensor : other.tensors()) there.insert(block_of(tensor.name));
    for (const SourceTensor& tensor : one.tensors()) {
      const std::string block = block_of(tensor.name);
      if (!block.empty() && !there.contains(block)) return block;
    }
    return {};
  }

  static constexpr int64_t kPiece = int64_t{1} << 16;  // elements
  std::shared_ptr<const Source> model_, base_;
  std::vector<UpdateTensor> tensors_;
  std::unordered_map<std::string, std::pair<const SourceTensor*, const SourceTensor*>> pairs_;
  std::vector<std::string> left_out_;
};

// D^T.
Delta turned(const Delta& delta) {
  if (const auto* low = std::get_if<LowRankDelta>(&delta))
    return LowRankDelta{low->b.t().contiguous(), low->a.t().contiguous(), low->scale};
  return DenseDelta{tile(delta, 0, rows(delta)).t().contiguous()};
}

bool same(const Delta& x, const Delta& y) {
  if (x.index() != y.index()) return false;
  if (const auto* low = std::get_if<LowRankDelta>(&x)) {
    const auto& other = std::get<LowRankDelta>(y);
    return low->scale == other.scale && at::equal(low->a, other.a) && at::equal(low->b, other.b);
  }
  if (const auto* signs = std::get_if<TernaryDelta>(&x)) {
    const auto& other = std::get<TernaryDelta>(y);
    return signs->scale == other.scale && at::equal(signs->positive, other.positive) &&
           at::equal(signs->negative, other.negative);
  }
  if (const auto* some = std::get_if<RowsDelta>(&x)) {
    const auto& other = std::get<RowsDelta>(y);
    return at::equal(some->index, other.index) && at::equal(some->values, other.values);
  }
  return at::equal(std::get<DenseDelta>(x).values, std::get<DenseDelta>(y).values);
}

class AdapterUpdate : public Update {
 public:
  AdapterUpdate(std::string label, const Model& model, const std::vector<const Adapter*>& adapters,
                const std::vector<double>& weights)
      : label_(std::move(label)) {
    const torch::NoGradGuard no_grad;
    const Combined sums = combine(model, adapters, weights);
    for (const Site& site : model.sites()) {
      if (const auto found = sums.weights.find(site.name);
          found != sums.weights.end() && !follows(site, found->second, sums))
        put(site.name + ".weight", site.transposed ? turned(found->second) : found->second);
      if (const auto found = sums.biases.find(site.name); found != sums.biases.end())
        put(site.name + ".bias", DenseDelta{found->second.reshape({-1, 1})});
    }
  }

  std::string label() const override { return label_; }
  const std::vector<UpdateTensor>& tensors() const override { return tensors_; }
  const std::vector<std::string>& left_out() const override { return left_out_; }
  bool low_rank() const override { return low_rank_; }
  std::optional<Delta> read(const std::string& name) const override {
    const auto found = deltas_.find(name);
    if (found == deltas_.end()) return std::nullopt;
    return found->second;
  }

 private:
  // A tied head that moves as its embedding does: the file has one weight for both.
  static bool follows(const Site& site, const Delta& delta, const Combined& sums) {
    const auto owner = sums.weights.find(site.tied_to);
    return owner != sums.weights.end() && same(owner->second, delta);
  }

  void put(std::string name, Delta delta) {
    const int64_t width = columns(delta);
    low_rank_ = low_rank_ && (width == 1 || std::holds_alternative<LowRankDelta>(delta));
    tensors_.push_back({name, width == 1 ? std::vector<int64_t>{rows(delta)}
                                         : std::vector<int64_t>{rows(delta), width}});
    deltas_.emplace(std::move(name), std::move(delta));
  }

  std::string label_;
  std::vector<UpdateTensor> tensors_;
  std::map<std::string, Delta> deltas_;
  std::vector<std::string> left_out_;
  bool low_rank_ = true;
};

}  // namespace

Update::~Update() = default;

int64_t UpdateTensor::columns() const {
  int64_t product = 1;
  for (size_t i = 1; i < shape.size(); ++i) product *= shape[i];
  return product;
}

const UpdateTensor* Update::find(const std::string& name) const {
  for (const UpdateTensor& tensor : tensors()) {
    if (tensor.name == name) return &tensor;
  }
  return nullptr;
}

std::shared_ptr<const Update> model_update(std::shared_ptr<const Source> model,
                                           std::shared_ptr<const Source> base) {
  return std::make_shared<ModelUpdate>(std::move(model), std::move(base));
}

std::shared_ptr<const Update> adapter_update(std::string label, const Model& model,
                                             const std::vector<const Adapter*>& adapters,
                                             const std::vector<double>& weights) {
  return std::make_shared<AdapterUpdate>(std::move(label), model, adapters, weights);
}

std::string block_of(const std::string& name) {
  for (size_t at = 0; at < name.size();) {
    const size_t end = std::min(name.find('.', at), name.size());
    const bool digits = end > at && std::all_of(name.begin() + static_cast<ptrdiff_t>(at),
                                                name.begin() + static_cast<ptrdiff_t>(end),
                                                [](char c) { return c >= '0' && c <= '9'; });
    if (digits) return name.substr(0, end);
    at = end + 1;
  }
  return {};
}

}  // namespace smidgen
