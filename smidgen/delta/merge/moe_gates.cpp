#include "smidgen/delta/merge/moe_gates.h"

#include <algorithm>
#include <cmath>
#include <map>

#include <torch/torch.h>

#include "smidgen/base/error.h"
#include "smidgen/base/rng.h"
#include "smidgen/methods/open_model.h"

namespace smidgen {

namespace {

using Prompt = std::vector<int32_t>;

at::Tensor unit(const at::Tensor& rows) {  // [..., width]
  return rows / rows.square().sum(-1, true).sqrt().clamp_min(1e-8);
}

std::vector<Prompt> encode(const Tokenizer& tokenizer, const std::vector<std::string>& texts,
                           const ExpertSpec& expert) {
  const std::optional<int32_t> bos = tokenizer.bos();
  const std::string begin = bos ? tokenizer.token(*bos) : std::string();
  std::vector<Prompt> prompts;
  for (const std::string& text : texts) {
    prompts.push_back(tokenizer.encode(begin + text, {.add_special = false}));
    if (prompts.back().empty())
      throw Error(ErrorKind::usage, "a prompt without tokens", expert.place);
  }
  return prompts;
}

// f of some of an expert's prompts: fp64 [layers, width].
class Reader {
 public:
  virtual ~Reader() = default;
  virtual at::Tensor read(const std::vector<std::string>& prompts, const ExpertSpec& expert) = 0;
};

class EmbeddingReader : public Reader {
 public:
  explicit EmbeddingReader(const MoeModel& model)
      : model_(model), tokenizer_(load_tokenizer(*model.files())) {
    table_ = model.find("model.embed_tokens.weight");
    if (!table_ || table_->shape.size() != 2 || table_->shape[1] != model.width())
      throw Error(ErrorKind::mismatch, "the base has no model.embed_tokens.weight of its width",
                  model.label());
  }

  at::Tensor read(const std::vector<std::string>& prompts, const ExpertSpec& expert) override {
    at::Tensor sum = at::zeros({model_.width()}, at::kDouble);
    at::Tensor row = at::empty({model_.width()}, at::kFloat);
    const std::span<float> values(row.mutable_data_ptr<float>(),
                                  static_cast<size_t>(model_.width()));
    for (const Prompt& prompt : encode(*tokenizer_, prompts, expert)) {
      for (const int32_t id : prompt) {
        if (id >= table_->shape[0])
          throw Error(ErrorKind::mismatch,
                      str("token ", id, " has no row among the ", table_->shape[0],
                          " of model.embed_tokens.weight"),
                      model_.label());
        model_.read(*table_, id * model_.width(), values);
        sum += row;
      }
    }
    return unit(sum).expand({model_.layers(), -1});
  }

 private:
  const MoeModel& model_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  const SourceTensor* table_;
};

// Weighs the rows of a pass into one row per prompt.
class Pooled : public Attachment {
 public:
  explicit Pooled(const at::Tensor& weights, const Hooks& hooks)
      : Attachment(hooks, {}), weights_(weights) {}
  at::Tensor post(const at::Tensor& y, const Tensors&) const override { return keep(y); }
  at::Tensor embed(const at::Tensor&, const at::Tensor& y, const Tensors&) const override {
    return keep(y);
  }
  const at::Tensor& sum() const { return sum_; }
  void forget() { sum_ = at::Tensor(); }

 private:
  const at::Tensor& keep(const at::Tensor& y) const {
    const at::Tensor part = at::matmul(weights_, y.to(at::kDouble));
    sum_ = sum_.defined() ? sum_ + part : part;
    return y;
  }
  const at::Tensor& weights_;  // fp64 [rows]
  mutable at::Tensor sum_;     // fp64 [width]
};

class HiddenReader : public Reader {
 public:
  HiddenReader(const MoeRecipe& recipe, const MoeModel& model, const GateOptions& options)
      : mean_(recipe.gates == GateMode::hidden_mean) {
    ModelConfig config;
    config.dtype = "fp32";
    config.base_format = "stored";
    config.choice.model = recipe.base.text();
    config.choice.allow_other_base = options.allow_other_base;
    loaded_ = open(config);
    // Rows of slot 0 pass everything that hangs on a model.
    slot_ = loaded_.slot == 0 ? 1 : loaded_.slot;
    const auto hang = [&](const std::string& site, const Hooks& hooks) {
      before_.push_back(std::make_shared<Pooled>(weights_, hooks));
      loaded_.model->find(site).slots().attach(slot_, before_.back());
    };
    hang("model.embed_tokens", {.embed = true});
    for (const Site& site : loaded_.model->module_sites()) {
      if (site.kind == SiteKind::block && static_cast<int64_t>(before_.size()) < model.layers())
        hang(site.name, {.post = true});
    }
    SMIDGEN_ASSERT(static_cast<int64_t>(before_.size()) == model.layers());
  }

  at::Tensor read(const std::vector<std::string>& prompts, const ExpertSpec& expert) override {
    const torch::NoGradGuard no_grad;
    for (const auto& layer : before_) layer->forget();
    for (const Prompt& ids : encode(loaded_.tokenizer(), prompts, expert)) {
      const auto n = static_cast<int64_t>(ids.size());
      if (n > loaded_.model->context())
        throw Error(
            ErrorKind::usage,
            str("a prompt has ", n, " tokens, and the base's context ", loaded_.model->context()),
            expert.place);
      if (mean_) {
        weights_ = at::full({n}, 1 / static_cast<double>(n), at::kDouble);
      } else {
        weights_ = at::zeros({n}, at::kDouble);
        weights_.narrow(0, n - 1, 1).fill_(1);
      }
      loaded_.model->forward(make_stream(ids, slot_));
    }
    std::vector<at::Tensor> layers;
    for (const auto& layer : before_)
      layers.push_back(layer->sum() / static_cast<double>(prompts.size()));
    return at::stack(layers);
  }

 private:
  bool mean_;
  LoadedModel loaded_;
  int slot_ = 0;
  at::Tensor weights_;
  std::vector<std::shared_ptr<Pooled>> before_;  // of each layer
};

at::Tensor drawn(GateMode mode, uint64_t seed, int64_t layers, int64_t experts, int64_t width) {
  at::Tensor gates = at::empty({layers, experts, width}, at::kFloat);
  float* out = gates.mutable_data_ptr<float>();
  const double bound = 1 / std::sqrt(static_cast<double>(width));
  for (int64_t layer = 0; layer < layers; ++layer) {
    const Rng rng(seed, "router", static_cast<uint64_t>(layer));
    for (int64_t i = 0; i < experts * width; ++i) {
      const auto element = static_cast<uint64_t>(i);
      *out++ = static_cast<float>(
          mode == GateMode::normal ? rng.normal(element) : bound * (2 * rng.uniform(element) - 1));
    }
  }
  return gates;
}

}  // namespace

at::Tensor moe_gates(const MoeRecipe& recipe, const MoeModel& model, const GateOptions& options) {
  if (!recipe.prompted())
    return drawn(recipe.gates, options.seed, model.layers(),
                 static_cast<int64_t>(recipe.experts.size()), model.width());
  std::unique_ptr<Reader> reader;
  if (recipe.gates == GateMode::embeddings) {
    reader = std::make_unique<EmbeddingReader>(model);
  } else {
    reader = std::make_unique<HiddenReader>(recipe, model, options);
  }
  std::vector<at::Tensor> rows;
  for (const ExpertSpec& expert : recipe.experts) {
    at::Tensor x = reader->read(expert.positive, expert);
    if (!expert.negative.empty()) x = x - reader->read(expert.negative, expert);
    if (x.norm().item<double>() == 0)
      throw Error(ErrorKind::data, "an expert's prompts and negative prompts cancel", expert.place,
                  "its rows of the routers would be zero");
    rows.push_back(unit(x));
  }
  return at::stack(rows, 1).to(at::kFloat).contiguous();
}

std::vector<int64_t> alike_layers(const at::Tensor& gates, double limit) {
  std::vector<int64_t> alike;
  for (int64_t layer = 0; layer < gates.size(0); ++layer) {
    const at::Tensor s = at::linalg_svdvals(gates[layer].to(at::kDouble));
    const double largest = s[0].item<double>(), least = s[s.size(0) - 1].item<double>();
    if (largest > limit * least) alike.push_back(layer);
  }
  return alike;
}

}  // namespace smidgen
