#include "smidgen/eval/evaluate.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <torch/torch.h>

#include "smidgen/base/error.h"
#include "smidgen/nn/packed.h"

namespace smidgen {

double EvalResult::perplexity() const {
  return std::exp(loss());
}

namespace {

// The part of a batch that belongs to one of its sequences, with the hidden states that were
// computed for it.
double sample_loss(const Model& model, const at::Tensor& hidden, const Batch& batch, int64_t s) {
  const int64_t begin = batch.main.starts[static_cast<size_t>(s)],
                end = batch.main.starts[static_cast<size_t>(s) + 1];
  Batch one;
  one.main.ids = batch.main.ids.narrow(0, begin, end - begin);
  one.main.positions = batch.main.positions.narrow(0, begin, end - begin);
  one.main.starts = {0, end - begin};
  one.main.slots = {batch.main.slots[static_cast<size_t>(s)]};
  auto rows = std::make_shared<Rows>();
  rows->count = end - begin;
  rows->segments.push_back({one.main.slots[0], 0, rows->count});
  one.main.rows = std::move(rows);
  one.targets = batch.targets.narrow(0, begin, end - begin);
  one.answers = one.targets.ne(kIgnoreTarget).sum().item<int64_t>();
  return model.loss_sum(hidden.narrow(0, begin, end - begin), one).item<double>();
}

}  // namespace

EvalResult evaluate(const Model& model, const Dataset& data, const EvalOptions& options) {
  if (options.micro_tokens < 1)
    throw Error(ErrorKind::usage, str("micro_tokens is ", options.micro_tokens), "micro_tokens");
  if (data.answer_tokens() == 0)
    throw Error(ErrorKind::data, "the data set has no answer token to score");
  torch::NoGradGuard no_grad;
  std::vector<int64_t> order(static_cast<size_t>(data.size()));
  std::iota(order.begin(), order.end(), 0);
  const auto& lengths = data.lengths();
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return lengths[static_cast<size_t>(a)] > lengths[static_cast<size_t>(b)];
  });
  EvalResult result;
  result.samples = data.size();
  if (options.per_sample) result.per_sample.resize(order.size());
  int64_t done = 0;
  for (size_t at = 0; at < order.size();) {
    if (options.stop && options.stop()) {
      throw Error(ErrorKind::interrupted,
                  str("stopped after ", done, " of ", data.tokens(), " tokens"));
    }
    std::vector<int64_t> micro;
    int64_t tokens = 0;
    do {
      micro.push_back(order[at]);
      tokens += lengths[static_cast<size_t>(order[at])];
      ++at;
    } while (at < order.size() &&
             tokens + lengths[static_cast<size_t>(order[at])] <= options.micro_tokens);
    const Batch batch = to_batch(pack(data, micro), options.slot);
    const at::Tensor hidden = model.forward(batch.main);
    if (options.per_sample) {
      for (size_t s = 0; s < micro.size(); ++s) {
        SampleLoss& sample = result.per_sample[static_cast<size_t>(micro[s])];
        const auto marks = data.answer(micro[s]);
        sample.tokens = std::count(marks.begin(), marks.end(), uint8_t{1});
        sample.loss_sum =
            sample.tokens ? sample_loss(model, hidden, batch, static_cast<int64_t>(s)) : 0.0;
        result.loss_sum += sample.loss_sum;
      }
    } else {
      result.loss_sum += model.loss_sum(hidden, batch).item<double>();
    }
    result.tokens += batch.answers;
    done += tokens;
    if (options.progress) options.progress(done, data.tokens());
  }
  return result;
}

}  // namespace smidgen
