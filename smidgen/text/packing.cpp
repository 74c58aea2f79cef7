#include "smidgen/text/packing.h"

#include <limits>

#include "smidgen/base/error.h"

namespace smidgen {
namespace {

void append(PackedBatch& batch, std::span<const int32_t> ids, std::span<const uint8_t> answer,
            int64_t index) {
  if (batch.ids.size() + ids.size() > static_cast<size_t>(std::numeric_limits<int32_t>::max()))
    throw Error(ErrorKind::data, "a packed batch of more than 2^31 - 1 tokens");
  for (size_t i = 0; i < ids.size(); ++i) {
    const bool trained = i + 1 < ids.size() && answer[i + 1];
    batch.ids.push_back(ids[i]);
    batch.positions.push_back(static_cast<int32_t>(i));
    batch.targets.push_back(trained ? ids[i + 1] : kIgnoreTarget);
    batch.answer_tokens += trained;
  }
  batch.starts.push_back(static_cast<int32_t>(batch.ids.size()));
  batch.sample_index.push_back(index);
}

}  // namespace

PackedBatch pack(const Dataset& data, std::span<const int64_t> indices) {
  PackedBatch batch;
  batch.starts.push_back(0);
  for (const int64_t index : indices) append(batch, data.ids(index), data.answer(index), index);
  return batch;
}

PackedBatch pack(std::span<const Sample> samples) {
  PackedBatch batch;
  batch.starts.push_back(0);
  for (size_t i = 0; i < samples.size(); ++i) {
    if (samples[i].ids.size() != samples[i].answer.size())
      throw Error(ErrorKind::usage,
                  str(samples[i].answer.size(), " marks for ", samples[i].ids.size(), " tokens"),
                  samples[i].where);
    append(batch, samples[i].ids, samples[i].answer, static_cast<int64_t>(i));
  }
  return batch;
}

}  // namespace smidgen
