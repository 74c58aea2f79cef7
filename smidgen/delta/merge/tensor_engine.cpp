#include "smidgen/delta/merge/tensor_engine.h"

#include <algorithm>
#include <mutex>
#include <optional>
#include <vector>

#include "smidgen/base/threads.h"
#include "smidgen/delta/source.h"

namespace smidgen {

namespace {

constexpr int64_t kTilesAtOnce = 16;  // every claim adds up tables of its own

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
  // Tiles of all tensors in one list: those of a small model are shorter than a thread's share.
  struct Tile {
    size_t job;
    int64_t number;  // in its tensor
  };
  std::vector<Tile> tiles;
  std::vector<Cut> cuts;
  for (size_t job = 0; job < jobs.size(); ++job) {
    cuts.push_back(Cut::of(jobs[job].task->elements, jobs[job].task->columns));
    for (int64_t k = 0; k < cuts[job].tiles(); ++k) tiles.push_back({job, k});
  }
  for (int pass = 0;; ++pass) {
    const auto size = merge.pass_size(pass);
    if (!size) return;
    std::vector<double> sums(tiles.size() * size->sums);
    std::vector<uint64_t> counts(size->counts);
    std::mutex together;
    const auto reduce = [&](int64_t first, int64_t last) {
      std::optional<Reader> reader;
      std::vector<uint32_t> mine(size->counts);
      std::vector<int64_t> cursors(merge.cursors());
      for (int64_t at = first; at < last; ++at) {
        const Tile& tile = tiles[static_cast<size_t>(at)];
        const TensorJob& job = jobs[tile.job];
        const Cut& cut = cuts[tile.job];
        if (at == first || tile.number == 0) reader.emplace(traits, job, cut.chunk);
        std::fill(cursors.begin(), cursors.end(), 0);
        const Partial partial{{sums.data() + static_cast<size_t>(at) * size->sums, size->sums},
                              mine};
        for_chunks(cut, tile.number, [&](int64_t begin, int64_t count) {
          merge.reduce(pass, reader->read(begin, count, at, cursors), partial);
        });
      }
      const std::lock_guard<std::mutex> lock(together);
      for (size_t i = 0; i < mine.size(); ++i) counts[i] += mine[i];
    };
    parallel_claims(static_cast<int64_t>(tiles.size()), 1, kTilesAtOnce, reduce);
    merge.finish(pass, sums, counts);
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
