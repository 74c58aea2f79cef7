#include "smidgen/text/loader.h"

#include <algorithm>

#include "smidgen/base/error.h"

namespace smidgen {

Loader::Loader(std::vector<int32_t> lengths, LoaderConfig config)
    : lengths_(std::move(lengths)), config_(config) {
  if (lengths_.empty()) throw Error(ErrorKind::data, "the data set is empty");
  if (config_.batch_tokens < 1)
    throw Error(ErrorKind::usage,
                str("batch_tokens should be at least 1, not ", config_.batch_tokens));
  if (config_.micro_tokens < 0)
    throw Error(ErrorKind::usage,
                str("micro_tokens should be at least 0, not ", config_.micro_tokens));
  if (config_.micro_tokens == 0) config_.micro_tokens = config_.batch_tokens;
  for (size_t i = 0; i < lengths_.size(); ++i) {
    if (lengths_[i] < 1) throw Error(ErrorKind::data, str("sample ", i, " has no tokens"));
    tokens_per_epoch_ += lengths_[i];
  }
}

// The sample at the present state.
int64_t Loader::peek() {
  if (!config_.shuffle) return static_cast<int64_t>(state_.position);
  if (!order_ || order_epoch_ != state_.epoch) {
    order_.emplace(lengths_.size(), config_.seed, "loader", state_.epoch);
    order_epoch_ = state_.epoch;
  }
  return static_cast<int64_t>((*order_)(state_.position));
}

void Loader::advance() {
  if (++state_.position == lengths_.size()) state_ = {state_.epoch + 1, 0};
}

Step Loader::next() {
  Step step;
  step.begin = state_;
  std::vector<int64_t> taken;
  for (;;) {
    const int64_t sample = peek();
    const int64_t length = lengths_[static_cast<size_t>(sample)];
    if (!taken.empty() && step.tokens + length > config_.batch_tokens) break;
    taken.push_back(sample);
    step.tokens += length;
    advance();
  }
  // Stable, so that equal lengths keep the order of the permutation.
  std::stable_sort(taken.begin(), taken.end(), [this](int64_t a, int64_t b) {
    return lengths_[static_cast<size_t>(a)] > lengths_[static_cast<size_t>(b)];
  });
  std::vector<int64_t> room;
  for (const int64_t sample : taken) {
    const int64_t length = lengths_[static_cast<size_t>(sample)];
    size_t bin = 0;
    while (bin < room.size() && room[bin] < length) ++bin;
    if (bin == room.size()) {
      room.push_back(std::max(config_.micro_tokens, length));
      step.micro.emplace_back();
    }
    room[bin] -= length;
    step.micro[bin].push_back(sample);
  }
  return step;
}

void Loader::restore(LoaderState state) {
  if (state.position >= lengths_.size())
    throw Error(ErrorKind::mismatch,
                str("the loader's position ", state.position, " lies outside a data set of ",
                    lengths_.size(), " samples"));
  state_ = state;
}

double Loader::epochs_done() const {
  return static_cast<double>(state_.epoch) +
         static_cast<double>(state_.position) / static_cast<double>(lengths_.size());
}

}  // namespace smidgen
