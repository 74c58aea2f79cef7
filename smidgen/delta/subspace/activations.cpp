#include "smidgen/delta/subspace/activations.h"

#include <algorithm>
#include <cmath>

#include <torch/torch.h>

#include "smidgen/base/error.h"
#include "smidgen/nn/attachment.h"

namespace smidgen {

namespace {

// Keeps the rows that it is told of what a block computes.
class Observer : public Attachment {
 public:
  explicit Observer(const at::Tensor& picked) : Attachment({.post = true}, {}), picked_(picked) {}
  at::Tensor post(const at::Tensor& y, const Tensors&) const override {
    kept_.push_back(y.index_select(0, picked_).to(at::kFloat).clone());
    return y;
  }
  at::Tensor take() const { return at::cat(kept_); }

 private:
  const at::Tensor& picked_;  // int64, rows of the pass under way
  mutable Tensors kept_;
};

std::vector<const Site*> blocks_of(const Model& model) {
  std::vector<const Site*> blocks;
  for (const Site& site : model.module_sites()) {
    if (site.kind == SiteKind::block) blocks.push_back(&site);
  }
  return blocks;
}

void check_prompts(const Model& model, const std::vector<std::vector<int32_t>>& prompts) {
  if (prompts.empty()) throw Error(ErrorKind::usage, "a set of prompts is empty");
  for (size_t i = 0; i < prompts.size(); ++i) {
    const auto length = static_cast<int64_t>(prompts[i].size());
    if (length == 0 || length > model.context())
      throw Error(ErrorKind::usage, str("prompt ", i + 1, " has ", length, " tokens"), "",
                  str("from 1 to ", model.context(), " have a last hidden state"));
  }
}

}  // namespace

std::pair<int64_t, int64_t> default_layers(int64_t blocks) {
  const auto states = static_cast<double>(blocks + 1);
  const int64_t first = std::clamp<int64_t>(static_cast<int64_t>(0.65 * states), 1, blocks);
  return {first, std::max(first + 1, static_cast<int64_t>(0.90 * states))};
}

std::vector<at::Tensor> last_token_states(Model& model,
                                          const std::vector<std::vector<int32_t>>& prompts,
                                          int64_t first, int64_t last, int slot,
                                          int64_t batch_tokens) {
  const torch::NoGradGuard no_grad;
  check_prompts(model, prompts);
  const std::vector<const Site*> blocks = blocks_of(model);
  if (first < 1 || last <= first || last > static_cast<int64_t>(blocks.size()) + 1)
    throw Error(ErrorKind::usage,
                str("hidden states ", first, " to ", last - 1, " are not of this model"), "",
                str("after its ", blocks.size(), " blocks there are 1 to ", blocks.size()));
  struct Cleared {
    Model& model;
    int slot;
    ~Cleared() { model.detach(slot); }
  } cleared{model, slot};
  at::Tensor picked;
  std::vector<std::shared_ptr<const Observer>> observers;
  for (int64_t layer = first; layer < last; ++layer) {
    observers.push_back(std::make_shared<Observer>(picked));
    model.find(blocks[static_cast<size_t>(layer - 1)]->name).slots().attach(slot, observers.back());
  }
  for (size_t from = 0; from < prompts.size();) {
    std::vector<std::span<const int32_t>> sequences;
    int64_t tokens = 0;
    for (; from < prompts.size(); ++from) {
      tokens += static_cast<int64_t>(prompts[from].size());
      if (!sequences.empty() && tokens > batch_tokens) break;
      sequences.emplace_back(prompts[from]);
    }
    const Stream stream = make_stream(sequences, std::vector<int>(sequences.size(), slot));
    std::vector<int64_t> ends;
    for (size_t i = 1; i < stream.starts.size(); ++i) ends.push_back(stream.starts[i] - 1);
    picked = at::tensor(ends, at::kLong);
    model.forward(stream);
  }
  std::vector<at::Tensor> states;
  for (const auto& observer : observers) states.push_back(observer->take());
  return states;
}

std::vector<ActivationLayer> activation_overlap(Model& model,
                                                const std::vector<std::vector<int32_t>>& a,
                                                const std::vector<std::vector<int32_t>>& b,
                                                int slot, const ActivationOptions& options) {
  const torch::NoGradGuard no_grad;
  auto [first, last] = std::pair{options.first, options.last};
  if (first == 0 && last == 0)
    std::tie(first, last) = default_layers(static_cast<int64_t>(blocks_of(model).size()));
  check_prompts(model, a);
  check_prompts(model, b);
  std::vector<std::vector<int32_t>> both = a;
  both.insert(both.end(), b.begin(), b.end());
  const auto states = last_token_states(model, both, first, last, slot, options.batch_tokens);
  const auto count_a = static_cast<int64_t>(a.size()), count_b = static_cast<int64_t>(b.size());
  const auto basis_of = [&](const at::Tensor& x) {
    return left_basis((options.centre ? x - x.mean(0, true) : x).t());
  };
  std::vector<ActivationLayer> layers;
  for (size_t i = 0; i < states.size(); ++i) {
    ActivationLayer layer{.layer = first + static_cast<int64_t>(i)};
    const LeftBasis x = basis_of(states[i].narrow(0, 0, count_a));
    const LeftBasis y = basis_of(states[i].narrow(0, count_a, count_b));
    if (x.rank() == 0 || y.rank() == 0)
      throw Error(ErrorKind::data, "the states are all the same: they span nothing",
                  str("hidden state ", layer.layer));
    layer.norm_a = std::sqrt(x.energy / static_cast<double>(a.size()));
    layer.norm_b = std::sqrt(y.energy / static_cast<double>(b.size()));
    const OverlapTable table(x, y);
    for (const double eta : options.energies) layer.overlaps.push_back(table.at(eta));
    layers.push_back(std::move(layer));
  }
  return layers;
}

Json to_json(const std::vector<ActivationLayer>& layers) {
  Json out = Json::array();
  for (const ActivationLayer& layer : layers) {
    Json row = {{"layer", layer.layer},
                {"norms", {layer.norm_a, layer.norm_b}},
                {"overlaps", Json::array()}};
    for (const Overlap& o : layer.overlaps)
      row["overlaps"].push_back(
          {{"energy", o.eta}, {"ranks", {o.k1, o.k2}}, {"overlap", o.value}, {"random", o.random}});
    out.push_back(std::move(row));
  }
  return out;
}

}  // namespace smidgen
