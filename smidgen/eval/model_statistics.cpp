#include "smidgen/eval/model_statistics.h"

#include <algorithm>
#include <map>
#include <memory>

#include <torch/torch.h>

#include "smidgen/base/error.h"
#include "smidgen/io/safetensors.h"
#include "smidgen/methods/adapter.h"
#include "smidgen/nn/packed.h"

namespace smidgen {

namespace {

struct Cleared {
  Model& model;
  int slot;
  ~Cleared() { model.detach(slot); }
};

void ask(const StatisticsOptions& options, int64_t done, int64_t total) {
  if (options.progress) options.progress(done);
  if (options.stop && options.stop())
    throw Error(ErrorKind::interrupted, str("stopped after ", done, " of ", total, " tokens"));
}

ModelStatistics diagonal_fisher(Model& model, const Dataset& data, const StatisticsOptions& options,
                                int slot) {
  if (data.answer_tokens() == 0)
    throw Error(ErrorKind::data, "the data set has no answer token to differentiate");
  ModelStatistics result{.kind = StatisticsKind::fisher};
  // Every weight as a leaf of the graph: the second moment of its gradient is what is asked for,
  // and its place in the store is free.
  const auto every = Adapter::create(model, "full", Json::object(), /*seed=*/0);
  const Cleared cleared{model, slot};
  every->attach(model, slot);
  int64_t done = 0;
  for (int64_t i = 0; i < data.size(); ++i) {
    const std::vector<int64_t> one{i};
    const Batch batch = to_batch(pack(data, one), slot);
    done += data.lengths()[static_cast<size_t>(i)];
    if (batch.answers > 0) {
      every->store().zero_grad();
      const at::Tensor hidden = model.forward(batch.main);
      model.loss_sum(hidden, batch).backward();
      const torch::NoGradGuard no_grad;
      for (const auto& p : every->store().parameters())
        p->second_moment().addcmul_(p->gradient(), p->gradient());
      ++result.samples;
      result.tokens += batch.answers;
    }
    ask(options, done, data.tokens());
  }
  const torch::NoGradGuard no_grad;
  for (const ModelTensor& tensor : model.tensors()) {
    const Parameter* p = every->store().find_or_null(tensor.name);
    SMIDGEN_ASSERT(p && p->spec().shape == tensor.shape);
    result.tensors.emplace_back(tensor.name,
                                p->second_moment().div_(static_cast<double>(result.samples)));
  }
  return result;
}

// Sums the products of what a linear layer reads.
class GramObserver : public Attachment {
 public:
  explicit GramObserver(int64_t inputs)
      : Attachment({.pre = true}, {}), sum_(at::zeros({inputs, inputs}, at::kFloat)) {}
  at::Tensor pre(const at::Tensor& x, const Tensors&) const override {
    observe(x);
    return x;
  }
  void observe(const at::Tensor& x) const { sum_.addmm_(x.t(), x); }
  const at::Tensor& sum() const { return sum_; }

 private:
  mutable at::Tensor sum_;
};

ModelStatistics input_grams(Model& model, const Dataset& data, const StatisticsOptions& options,
                            int slot) {
  const torch::NoGradGuard no_grad;
  ModelStatistics result{.kind = StatisticsKind::gram};
  std::map<std::string, std::shared_ptr<const GramObserver>> by_tensor;
  std::shared_ptr<const GramObserver> head;
  const Cleared cleared{model, slot};
  for (const auto& host : model.hosts()) {
    const auto* group = dynamic_cast<const LinearGroup*>(host.get());
    if (!group) continue;
    const Site& first = group->sites().front();
    if (first.transposed)
      throw Error(ErrorKind::unsupported,
                  str("the files hold ", first.name,
                      " as [in, out], and Gram matrices are used "
                      "for weights [out, in] only"),
                  first.name);
    if (model.tied(first)) continue;  // its tensor is the embedding's
    const auto observer = std::make_shared<const GramObserver>(group->in_features());
    // The head reads the hidden states, and is not run for them.
    if (first.output_head)
      head = observer;
    else
      host->slots(0).attach(slot, observer);
    for (const Site& site : group->sites()) by_tensor[site.name + ".weight"] = observer;
  }
  int64_t done = 0;
  for (int64_t at = 0; at < data.size();) {
    std::vector<int64_t> micro;
    int64_t tokens = 0;
    const auto length = [&](int64_t i) { return data.lengths()[static_cast<size_t>(i)]; };
    do {
      tokens += length(at);
      micro.push_back(at++);
    } while (at < data.size() && tokens + length(at) <= options.micro_tokens);
    const Batch batch = to_batch(pack(data, micro), slot);
    const at::Tensor hidden = model.forward(batch.main);
    if (head) head->observe(hidden);
    done += tokens;
    ask(options, done, data.tokens());
  }
  result.samples = data.size();
  result.tokens = done;
  for (const ModelTensor& tensor : model.tensors()) {
    const auto found = by_tensor.find(tensor.name);
    if (found != by_tensor.end()) result.tensors.emplace_back(tensor.name, found->second->sum());
  }
  return result;
}

}  // namespace

const char* to_string(StatisticsKind kind) {
  return kind == StatisticsKind::fisher ? "fisher" : "gram";
}

ModelStatistics measure(StatisticsKind kind, Model& model, const Dataset& data,
                        const StatisticsOptions& options) {
  if (options.micro_tokens < 1)
    throw Error(ErrorKind::usage, str("micro_tokens is ", options.micro_tokens), "micro_tokens");
  const int slot = options.slot == 0 ? 1 : options.slot;
  return kind == StatisticsKind::fisher ? diagonal_fisher(model, data, options, slot)
                                        : input_grams(model, data, options, slot);
}

void write_statistics(const fs::path& path, const ModelStatistics& statistics) {
  std::vector<NamedTensor> tensors;
  Tensors alive;
  for (const auto& [name, values] : statistics.tensors) {
    alive.push_back(values.contiguous());
    const auto* bytes = static_cast<const std::byte*>(alive.back().const_data_ptr());
    tensors.push_back({name,
                       {.format = Format::f32,
                        .shape = values.sizes().vec(),
                        .bytes = {bytes, static_cast<size_t>(alive.back().nbytes())}}});
  }
  write_safetensors(path, tensors,
                    {{"format", "pt"},
                     {"statistics", to_string(statistics.kind)},
                     {"samples", std::to_string(statistics.samples)},
                     {"tokens", std::to_string(statistics.tokens)}});
}

}  // namespace smidgen
