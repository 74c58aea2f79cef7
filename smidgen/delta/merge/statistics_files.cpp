#include "smidgen/delta/merge/statistics_files.h"

#include <map>
#include <set>
#include <unordered_set>

#include "smidgen/base/error.h"
#include "smidgen/delta/stored_values.h"
#include "smidgen/io/safetensors.h"
#include "smidgen/kernels/plain_values.h"

namespace smidgen {

namespace {

using File = std::shared_ptr<const SafetensorsFile>;

class FileStatistics : public MergeStatistics {
 public:
  void add(File file, const std::string& tensor) { inputs_.push_back({std::move(file), tensor}); }

  std::vector<int64_t> shape(size_t input) const override {
    const Input& from = inputs_.at(input);
    if (!from.file->contains(from.tensor)) return {};
    return from.file->view(from.tensor).shape;
  }

  void read(size_t input, int64_t begin, std::span<float> out) const override {
    const Input& from = inputs_.at(input);
    read_stored(*from.file, from.tensor, begin, out);
    if (!all_finite(static_cast<int64_t>(out.size()), out.data()))
      throw Error(ErrorKind::data,
                  str("statistics of ", from.tensor, " hold values that are no numbers"),
                  from.file->where());
  }

 private:
  struct Input {
    File file;
    std::string tensor;
  };
  std::vector<Input> inputs_;
};

File open_file(const std::string& path, const std::string& kind, const Source& model) {
  auto file = std::make_shared<const SafetensorsFile>(path);
  const auto said = file->metadata().find("statistics");
  if (said != file->metadata().end() && said->second != kind)
    throw Error(ErrorKind::mismatch,
                str("the file holds ", said->second, " statistics, and the method needs ", kind),
                path, str("`smidgen statistics --kind ", kind, "` writes them"));
  std::unordered_set<std::string> names;
  for (const SourceTensor& tensor : model.tensors()) names.insert(tensor.name);
  std::vector<std::string> strange;
  for (const std::string& name : file->names()) {
    if (!names.contains(name)) strange.push_back(name);
    const FormatInfo& format = info(file->view(name).format);
    if (!format.floating || format.elements != 1)
      throw Error(ErrorKind::unsupported,
                  str("statistics of ", name, " are stored as ", format.name), path,
                  "f32, f16, bf16 or f64");
  }
  if (!strange.empty())
    throw Error(ErrorKind::mismatch,
                str("the file holds statistics of ", join(strange, ", ", 8), ", which '",
                    model.label(), "' does not have"),
                path, "they belong to another model");
  return file;
}

}  // namespace

std::vector<fs::path> statistics_files(const MergePlan& plan) {
  std::set<std::string> paths;
  for (const PlannedTensor& tensor : plan.tensors) {
    for (const PlannedInput& input : tensor.inputs) {
      if (!input.statistics.empty()) paths.insert(input.statistics);
    }
  }
  return {paths.begin(), paths.end()};
}

void open_statistics(MergePlan& plan, const std::vector<std::shared_ptr<const Source>>& sources) {
  const char* kind = merge_methods().find(plan.method).traits().statistics;
  if (!kind) return;
  std::map<std::pair<std::string, size_t>, File> files;
  for (PlannedTensor& planned : plan.tensors) {
    if (planned.action != PlannedTensor::Action::merge) continue;
    auto statistics = std::make_shared<FileStatistics>();
    for (size_t i = 0; i < planned.task.inputs; ++i) {
      const PlannedInput& input = planned.inputs[i];
      File& file = files[{input.statistics, input.model}];
      if (!file) file = open_file(input.statistics, kind, *sources.at(input.model));
      statistics->add(file, input.tensor);
    }
    planned.task.statistics = std::move(statistics);
  }
}

}  // namespace smidgen
