#include "smidgen/delta/merge/tensor_engine.h"

#include <algorithm>
#include <mutex>

#include "smidgen/base/threads.h"
#include "smidgen/delta/source.h"

namespace smidgen {

namespace {

// What one thread needs to hand chunks to a method.
class Reader {
 public:
  Reader(const MergeTraits& traits, const TensorJob& job, int64_t most)
      : task_(*job.task), ports_(job.ports) {
    const MergeTask& task = task_;
    const int64_t chunk = std::min(most, task.elements);
    const size_t models = task.inputs + (task.base ? 1 : 0);
    values_.resize(models * static_cast<size_t>(chunk));
    for (size_t i = 0; i < models; ++i) at_.push_back(values_.data() + i * chunk);
    if (!traits.deltas) return;
    differences_.resize(task.inputs * static_cast<size_t>(chunk));
    for (size_t i = 0; i < task.inputs; ++i) delta_at_.push_back(differences_.data() + i * chunk);
  }

  Chunk read(int64_t begin, int64_t count, int64_t tile, std::span<int64_t> cursors) {
    for (size_t i = 0; i < at_.size(); ++i)
      ports_.read(i, begin, {at_[i], static_cast<size_t>(count)});
    Chunk chunk{.task = &task_, .begin = begin, .count = count};
    chunk.inputs = std::span<const float* const>(at_.data(), task_.inputs);
    if (task_.base) chunk.base = at_.back();
    for (size_t i = 0; i < delta_at_.size(); ++i) {
      float* delta = delta_at_[i];
      const float* value = at_[i];
      for (int64_t k = 0; k < count; ++k) delta[k] = value[k] - chunk.base[k];
    }
    chunk.deltas = std::span<const float* const>(delta_at_.data(), delta_at_.size());
    chunk.cursors = cursors;
    chunk.tile = tile;
    return chunk;
  }

 private:
  const MergeTask& task_;
  const TensorPorts& ports_;
  std::vector<float> values_, differences_;
  std::vector<float*> at_, delta_at_;
};

template <class Visit>
void for_chunks(const Cut& cut, int64_t tile, Visit&& visit) {
  const int64_t first = tile * cut.tile, last = std::min(cut.elements, first + cut.tile);
  for (int64_t begin = first; begin < last; begin += cut.chunk)
    visit(begin, std::min(cut.chunk, last - begin));
}

// What a pass has collected.
struct Collected {
  std::vector<double> sums;
  std::vector<uint64_t> counts;
};

// `first` is the number of the tensor's first tile.
void reduce_tensor(int pass, const PassSize& size, const MergeTraits& traits,
                   const TensorMerge& merge, const TensorJob& job, int64_t first_tile,
                   Collected& collected) {
  const Cut cut = Cut::of(job.task->elements, job.task->columns);
  const size_t offset = collected.sums.size();
  collected.sums.resize(offset + static_cast<size_t>(cut.tiles()) * size.sums);
  collected.counts.resize(size.counts);
  std::mutex together;
  parallel_claims(cut.tiles(), 1, 1, [&](int64_t first, int64_t last) {
    Reader reader(traits, job, cut.chunk);
    std::vector<uint32_t> mine(size.counts);
    std::vector<int64_t> cursors(merge.cursors());
    for (int64_t tile = first; tile < last; ++tile) {
      std::fill(cursors.begin(), cursors.end(), 0);
      const Partial partial{
          {collected.sums.data() + offset + static_cast<size_t>(tile) * size.sums, size.sums},
          mine};
      for_chunks(cut, tile, [&](int64_t begin, int64_t count) {
        merge.reduce(pass, reader.read(begin, count, first_tile + tile, cursors), partial);
      });
      const int64_t begin = tile * cut.tile;
      job.ports.done(begin, std::min(cut.tile, cut.elements - begin));
    }
    const std::lock_guard<std::mutex> lock(together);
    for (size_t i = 0; i < mine.size(); ++i) collected.counts[i] += mine[i];
  });
}

}  // namespace

Cut Cut::of(int64_t elements, int64_t columns) {
  const auto whole_rows = [&](int64_t wanted) {
    if (columns > kLongRow) return wanted;
    return std::max<int64_t>(1, wanted / std::max<int64_t>(1, columns)) * columns;
  };
  Cut cut{.elements = elements};
  cut.chunk = std::max<int64_t>(1, whole_rows(kChunk));
  // A tile is whole chunks, so that a tile's last chunk alone is short.
  cut.tile = std::max<int64_t>(1, kTile / cut.chunk) * cut.chunk;
  return cut;
}

int64_t Cut::tiles() const {
  return (elements + tile - 1) / tile;
}

void reduce_model(const MergeTraits& traits, TensorMerge& merge, std::span<const TensorJob> jobs) {
  for (int pass = 0;; ++pass) {
    const auto size = merge.pass_size(pass);
    if (!size) return;
    Collected collected;
    collected.counts.resize(size->counts);
    int64_t tile = 0;
    for (const TensorJob& job : jobs) {
      reduce_tensor(pass, *size, traits, merge, job, tile, collected);
      tile += Cut::of(job.task->elements, job.task->columns).tiles();
    }
    merge.finish(pass, collected.sums, collected.counts);
  }
}

void emit_tensor(const MergeTraits& traits, const TensorMerge& merge, const TensorJob& job,
                 int64_t first_tile) {
  const Cut cut = Cut::of(job.task->elements, job.task->columns);
  parallel_claims(cut.tiles(), 1, 1, [&](int64_t first, int64_t last) {
    Reader reader(traits, job, cut.chunk);
    std::vector<int64_t> cursors(merge.cursors());
    std::vector<float> out(static_cast<size_t>(std::min(cut.chunk, cut.elements)));
    for (int64_t tile = first; tile < last; ++tile) {
      std::fill(cursors.begin(), cursors.end(), 0);
      for_chunks(cut, tile, [&](int64_t begin, int64_t count) {
        const Chunk chunk = reader.read(begin, count, first_tile + tile, cursors);
        merge.emit(chunk, out.data());
        job.ports.write(chunk, {out.data(), static_cast<size_t>(count)});
      });
      const int64_t begin = tile * cut.tile;
      job.ports.done(begin, std::min(cut.tile, cut.elements - begin));
    }
  });
}

void merge_tensor(const MergeTraits& traits, TensorMerge& merge, const TensorJob& job) {
  if (job.task->elements == 0) return;
  reduce_model(traits, merge, {&job, 1});
  merge.prepare(*job.task);
  emit_tensor(traits, merge, job);
}

}  // namespace smidgen
