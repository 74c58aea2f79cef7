#include "smidgen/delta/merge/merge_models.h"

#include <algorithm>
#include <map>
#include <mutex>

#include "smidgen/base/error.h"
#include "smidgen/base/sha256.h"
#include "smidgen/base/threads.h"
#include "smidgen/delta/merge/narrow.h"
#include "smidgen/delta/merge/statistics.h"
#include "smidgen/delta/merge/tensor_engine.h"
#include "smidgen/io/sharded_writer.h"
#include "smidgen/kernels/plain_values.h"

namespace smidgen {

namespace {

using Sources = std::vector<std::shared_ptr<const Source>>;

// A tensor as one of the sources has it.
struct Place {
  const Source* source = nullptr;
  const SourceTensor* tensor = nullptr;
};

Place find(const Sources& sources, const PlannedInput& input) {
  const Source* source = sources.at(input.model).get();
  const SourceTensor* tensor = source->find(input.tensor);
  SMIDGEN_ASSERT(tensor);  // the plan was made from these sources
  return {source, tensor};
}

void require_finite(std::span<const float> values, const Place& place) {
  if (all_finite(static_cast<int64_t>(values.size()), values.data())) return;
  throw Error(ErrorKind::data,
              str("tensor ", place.tensor->name, " holds values that are no numbers"),
              place.source->label(), "merging would spread them");
}

// One tensor on its way from the sources to the writer.
class TensorRun {
 public:
  TensorRun(const PlannedTensor& planned, Format format, const Sources& sources,
            const ShardedWriter& writer, size_t number, bool statistics)
      : planned_(planned),
        format_(format),
        writer_(writer),
        number_(number),
        statistics_(planned.task.inputs) {
    for (const PlannedInput& input : planned.inputs) places_.push_back(find(sources, input));
    cut_ = Cut::of(planned.task.elements, planned.task.columns);
    if (statistics) sums_.resize(static_cast<size_t>(cut_.tiles()) * statistics_.size());
  }

  TensorJob job() {
    return {&planned_.task,
            {.read = [this](size_t input, int64_t begin,
                            std::span<float> out) { read(places_[input], begin, out); },
             .write = [this](const Chunk& chunk,
                             std::span<const float> values) { write(chunk, values); }}};
  }

  Json statistics() const {
    return sums_.empty() ? Json() : statistics_.finish(sums_, planned_.task.elements);
  }

 private:
  void read(const Place& place, int64_t begin, std::span<float> out) const {
    place.source->read(*place.tensor, begin, out);
    narrow_values(planned_.task.arithmetic, out);
    require_finite(out, place);
  }

  void write(const Chunk& chunk, std::span<const float> values) {
    thread_local std::vector<std::byte> bytes;
    const auto wanted = static_cast<size_t>(info(format_).bytes) * values.size();
    bytes.resize(wanted);
    write_values(format_, chunk.count, values.data(), bytes.data(), planned_.task.tensor.c_str());
    writer_.write(number_, static_cast<uint64_t>(chunk.begin * info(format_).bytes), bytes);
    if (sums_.empty()) return;
    const size_t tile = static_cast<size_t>(chunk.begin / cut_.tile);
    statistics_.observe(chunk, values,
                        {sums_.data() + tile * statistics_.size(), statistics_.size()});
  }

  const PlannedTensor& planned_;
  Format format_;
  const ShardedWriter& writer_;
  size_t number_;
  TensorStatistics statistics_;
  Cut cut_;
  std::vector<Place> places_;
  std::vector<double> sums_;
};

// Tensors that cannot be mixed, because they hold no real numbers.
void require_equal(const PlannedTensor& planned, const Sources& sources) {
  const Place first = find(sources, planned.inputs.front());
  for (const PlannedInput& input : planned.inputs) {
    const Place other = find(sources, input);
    const auto a = first.source->stored(*first.tensor), b = other.source->stored(*other.tensor);
    SMIDGEN_ASSERT(a && b);
    if (first.tensor->stored == other.tensor->stored &&
        std::equal(a->bytes.begin(), a->bytes.end(), b->bytes.begin(), b->bytes.end())) {
      continue;
    }
    throw Error(ErrorKind::mismatch,
                str("tensor ", planned.task.tensor, " holds no real numbers, and differs between ",
                    first.source->label(), " and ", other.source->label()),
                planned.task.tensor, "such tensors can only be kept");
  }
}

void copy(const PlannedTensor& planned, Format format, const Sources& sources,
          const ShardedWriter& writer, size_t number) {
  const Place place = find(sources, planned.inputs.front());
  const auto stored = place.source->stored(*place.tensor);
  const Format arithmetic = planned.task.arithmetic;
  const bool rounds = is_narrow(arithmetic) && place.tensor->stored != arithmetic &&
                      planned.action == PlannedTensor::Action::copy;
  if (stored && place.tensor->stored == format && !rounds) {
    constexpr size_t kPiece = size_t{1} << 22;
    const auto bytes = stored->bytes;
    for (size_t at = 0; at < bytes.size(); at += kPiece)
      writer.write(number, at, bytes.subspan(at, std::min(kPiece, bytes.size() - at)));
    place.source->release(*place.tensor);
    return;
  }
  const int64_t elements = place.tensor->elements();
  const Cut cut = Cut::of(elements, place.tensor->columns());
  const auto size = static_cast<size_t>(info(format).bytes);
  std::vector<float> values(static_cast<size_t>(std::min(cut.chunk, elements)));
  std::vector<std::byte> bytes(values.size() * size);
  for (int64_t begin = 0; begin < elements; begin += cut.chunk) {
    const auto count = static_cast<size_t>(std::min(cut.chunk, elements - begin));
    place.source->read(*place.tensor, begin, std::span(values).first(count));
    if (rounds) narrow_values(arithmetic, std::span(values).first(count));
    const auto part = std::span(bytes).first(count * size);
    write_values(format, static_cast<int64_t>(count), values.data(), part.data(),
                 planned.task.tensor.c_str());
    writer.write(number, static_cast<uint64_t>(begin) * size, part);
  }
}

// Whether a tensor is taken as it is from its first input.
bool copies(const PlannedTensor& tensor) {
  return tensor.action != PlannedTensor::Action::merge;
}

// A method at work on the tensors of one plan.
class Merger {
 public:
  Merger(const MergePlan& plan, const Sources& sources, const MergeOptions& options)
      : plan_(plan),
        sources_(sources),
        options_(options),
        method_(merge_methods().find(plan.method)),
        traits_(method_.traits()) {}

  // The passes of a method that looks at the whole model, before any shard.
  void look(const ShardedWriter& writer) {
    if (!traits_.whole_model) return;
    std::vector<size_t> order;
    MergeTask all;
    for (size_t i = 0; i < plan_.tensors.size(); ++i) {
      const PlannedTensor& tensor = plan_.tensors[i];
      if (copies(tensor) || tensor.task.elements == 0) continue;
      order.push_back(i);
      const int64_t elements = all.elements + tensor.task.elements;
      all = tensor.task;
      all.elements = elements;
    }
    if (order.empty()) return;
    all.tensor = "the whole model";
    // The order of files is no property of a model.
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
      return plan_.tensors[a].task.tensor < plan_.tensors[b].task.tensor;
    });
    int64_t tile = 0;
    for (const size_t number : order) {
      const MergeTask& task = plan_.tensors[number].task;
      first_tile_[number] = tile;
      tile += Cut::of(task.elements, task.columns).tiles();
    }
    const std::string key = options_.passes ? key_of(order) : std::string();
    if (options_.passes && options_.passes->found && options_.passes->key == key) {
      whole_ = options_.passes->found;
      return;
    }
    whole_ = method_.start(all);
    std::vector<std::unique_ptr<TensorRun>> runs;
    std::vector<TensorJob> jobs;
    for (const size_t number : order) {
      runs.push_back(std::make_unique<TensorRun>(plan_.tensors[number], options_.formats[number],
                                                 sources_, writer, number, false));
      jobs.push_back(runs.back()->job());
    }
    reduce_model(traits_, *whole_, jobs);
    if (options_.passes) *options_.passes = {key, whole_};
  }

  void merge_shard(const ShardedWriter& writer, size_t shard, Json& statistics) {
    // Large tensors one after the other on all threads, then the small ones side by side.
    std::vector<size_t> small;
    for (const size_t number : writer.tensors(shard)) {
      const PlannedTensor& tensor = plan_.tensors[number];
      const int64_t tiles = Cut::of(tensor.task.elements, tensor.task.columns).tiles();
      if (copies(tensor) || (!traits_.alone && tiles < 2 * thread_count())) {
        small.push_back(number);
      } else {
        merge_one(writer, number, statistics);
      }
    }
    parallel_claims(static_cast<int64_t>(small.size()), 1, 1, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) merge_one(writer, small[i], statistics);
    });
  }

 private:
  // What the passes over these tensors depend on.
  std::string key_of(const std::vector<size_t>& order) const {
    Json key = Json::array({plan_.method});
    for (const size_t number : order) {
      const PlannedTensor& planned = plan_.tensors[number];
      const MergeTask& task = planned.task;
      Json settings = Json::array({task.shared, task.by_input});
      for (const MergeField& field : method_.fields()) {
        if (!field.late) continue;
        settings[0].erase(field.name);
        for (Json& own : settings[1]) own.erase(field.name);
      }
      key.push_back({task.tensor, task.shape, std::move(settings), task.seed});
      for (const PlannedInput& input : planned.inputs)
        key.back().push_back({sources_.at(input.model)->label(), input.tensor});
    }
    return sha256(key.dump());
  }

  void merge_one(const ShardedWriter& writer, size_t number, Json& statistics) {
    const PlannedTensor& planned = plan_.tensors[number];
    Json found;
    const Format format = options_.formats[number];
    if (copies(planned)) {
      copy(planned, format, sources_, writer, number);
    } else {
      TensorRun run(planned, format, sources_, writer, number, options_.statistics);
      if (whole_ && planned.task.elements > 0) {
        emit_tensor(traits_, *whole_, run.job(), first_tile_.at(number));
      } else {
        merge_tensor(traits_, *method_.start(planned.task), run.job());
      }
      found = run.statistics();
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!found.is_null()) statistics[planned.task.tensor] = std::move(found);
    written_ += packed_bytes(format, planned.task.shape).value_or(0);
    if (options_.wrote) options_.wrote(written_);
  }

  const MergePlan& plan_;
  const Sources& sources_;
  const MergeOptions& options_;
  const MergeMethod& method_;
  const MergeTraits traits_;
  std::shared_ptr<TensorMerge> whole_;
  std::map<size_t, int64_t> first_tile_;  // of each tensor, where the method counts through
  std::mutex mutex_;
  int64_t written_ = 0;
};

}  // namespace

MergeOutcome merge_weights(const MergePlan& plan, const Sources& sources, const fs::path& folder,
                           const MergeOptions& options) {
  std::vector<TensorSpec> specs;
  SMIDGEN_ASSERT(options.formats.size() == plan.tensors.size());
  for (size_t i = 0; i < plan.tensors.size(); ++i) {
    const PlannedTensor& tensor = plan.tensors[i];
    specs.push_back({tensor.task.tensor, options.formats[i], tensor.task.shape});
    if (tensor.action == PlannedTensor::Action::copy_if_equal) require_equal(tensor, sources);
  }
  ShardedWriter writer(folder, std::move(specs), options.shard_bytes);
  uint64_t missing = 0;
  for (size_t shard = 0; shard < writer.shards(); ++shard) {
    if (!writer.finished(shard)) missing += writer.bytes(shard);
  }
  if (const uint64_t free = free_space(folder); free < missing) {
    throw Error(
        ErrorKind::resource,
        str("the result takes ", bytes_str(missing), ", and ", bytes_str(free), " are free"),
        folder.string(), "make room, or write elsewhere");
  }
  MergeOutcome outcome{.shards = writer.shards()};
  Merger merger(plan, sources, options);
  merger.look(writer);
  for (size_t shard = 0; shard < writer.shards(); ++shard) {
    const fs::path notes = folder / str(".", shard_name(shard + 1, writer.shards()), ".json");
    if (writer.finished(shard) && path_exists(notes)) {
      outcome.statistics.update(Json::parse(read_file(notes)));
      ++outcome.kept;
      continue;
    }
    Json statistics = Json::object();
    writer.open(shard);
    merger.merge_shard(writer, shard, statistics);
    write_file(notes, statistics.dump());
    writer.close();
    outcome.statistics.update(statistics);
  }
  writer.finish();
  for (size_t shard = 0; shard < writer.shards(); ++shard)
    fs::remove(folder / str(".", shard_name(shard + 1, writer.shards()), ".json"));
  return outcome;
}

}  // namespace smidgen
