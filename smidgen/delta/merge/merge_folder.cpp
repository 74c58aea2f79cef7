#include "smidgen/delta/merge/merge_folder.h"

#include <map>
#include <optional>

#include "smidgen/base/error.h"
#include "smidgen/base/log.h"
#include "smidgen/base/sha256.h"
#include "smidgen/base/version.h"
#include "smidgen/convert/hf_folder.h"
#include "smidgen/delta/merge/card.h"
#include "smidgen/delta/merge/layer_config.h"
#include "smidgen/delta/merge/row_mapped.h"
#include "smidgen/delta/merge/statistics_files.h"

namespace smidgen {

namespace {

constexpr const char* kPlanFile = ".plan";  // of the run that wrote what lies there
constexpr const char* kLock = ".lock";

// What the bytes of the result depend on. Inputs by name, size and time: their digests would cost a
// pass over all of them.
std::string fingerprint(const MergePlan& plan,
                        const std::vector<std::shared_ptr<const Source>>& sources,
                        const MergeOptions& options) {
  Json all = {{"version", version()},
              {"method", plan.method},
              {"shard_bytes", options.shard_bytes},
              {"tensors", Json::array()},
              {"files", Json::array()}};
  const auto place = [](const PlannedInput& input) {
    return Json::array({input.model, input.tensor, input.statistics});
  };
  for (size_t i = 0; i < plan.tensors.size(); ++i) {
    const PlannedTensor& t = plan.tensors[i];
    Json tensor =
        Json::array({t.task.tensor, t.task.shape, std::string(to_string(options.formats[i])),
                     t.task.seed, static_cast<int>(t.action), t.task.base,
                     std::string(to_string(t.task.arithmetic)), t.task.as_mergekit});
    tensor.push_back(t.task.shared);
    tensor.push_back(t.task.by_input);
    for (const PlannedInput& input : t.inputs) tensor.push_back(place(input));
    all["tensors"].push_back(std::move(tensor));
  }
  const auto add_file = [&](const fs::path& file) {
    const auto time = fs::last_write_time(file).time_since_epoch().count();
    all["files"].push_back(Json::array({fs::absolute(file).string(), fs::file_size(file), time}));
  };
  for (const fs::path& file : statistics_files(plan)) add_file(file);
  for (const auto& source : sources) {
    // Which rows a vocabulary is made of is not seen in shapes.
    if (const auto* mapped = dynamic_cast<const RowMapped*>(source.get()))
      all["files"].push_back(mapped->row_digest());
    std::vector<fs::path> files = source->files()->weight_files;
    for (const fs::path& adapter : source->files()->adapters) {
      for (const auto& entry : fs::recursive_directory_iterator(adapter)) files.push_back(entry);
    }
    for (const fs::path& file : files) {
      if (fs::is_regular_file(file)) add_file(file);
    }
  }
  return sha256(all.dump());
}

// The folder under construction. What lies there stays when a run ends early.
class Workplace {
 public:
  Workplace(const fs::path& out, const std::string& plan)
      : path_(out.parent_path() / str(".", out.filename().string(), ".merging")) {
    make_folder(path_);
    lock_.emplace(path_ / kLock);
    const fs::path mark = path_ / kPlanFile;
    const bool same = path_exists(mark) && read_file(mark) == plan;
    bool other = false;
    for (const auto& entry : fs::directory_iterator(path_)) {
      const std::string name = entry.path().filename().string();
      const bool begun = name.find(".tmp-") != name.npos;  // a file of a run that was killed
      if (name == kLock || (same && !begun)) continue;
      other = other || !begun;
      remove_tree(entry.path());
    }
    if (same) return;
    if (other) log_line("an interrupted merge with other settings is dropped: ", path_.string());
    write_file(mark, plan);
  }

  const fs::path& path() const { return path_; }
  void become(const fs::path& out) {
    fs::remove(path_ / kPlanFile);
    fs::remove(path_ / kLock);
    sync_tree(path_);
    replace_folder(path_, out);
  }

 private:
  fs::path path_;
  std::optional<FileLock> lock_;
};

// The format of most values, as config.json names it.
std::string_view torch_name(const MergePlan& plan, const std::vector<Format>& formats) {
  std::map<Format, int64_t> elements;
  for (size_t i = 0; i < formats.size(); ++i) elements[formats[i]] += plan.tensors[i].task.elements;
  Format most = Format::f32;
  for (const auto& [format, count] : elements) {
    if (count > elements[most]) most = format;
  }
  return most == Format::bf16  ? "bfloat16"
         : most == Format::f16 ? "float16"
         : most == Format::f64 ? "float64"
                               : "float32";
}

void write_configuration(const MergePlan& plan, const Source& donor,
                         const MergeFolderOptions& given, const fs::path& folder) {
  const ModelFiles& files = *donor.files();
  const MergeOptions& options = given.merge;
  Json config = donor.config(), generation = files.generation_config;
  for (const PlannedStack& stack : plan.stacks) set_layers(config, stack, donor.label());
  for (const char* key : {"dtype", "torch_dtype"})
    config[key] = std::string(torch_name(plan, options.formats));
  // A head of its own is read only where the configuration says that it is not the embedding.
  for (const PlannedTensor& tensor : plan.tensors) {
    if (tensor.task.tensor == "lm_head.weight" && config.value("tie_word_embeddings", false))
      config["tie_word_embeddings"] = false;
  }
  if (given.tokenizer) {
    std::vector<std::string> notes;
    set_vocabulary(config, vocabulary_rows(plan, *given.tokenizer), *given.tokenizer, notes);
    for (const std::string& note : notes) log_line(note);
    set_vocabulary(generation, 0, *given.tokenizer, notes);
  }
  write_file(folder / "config.json", config.dump(2) + "\n");
  if (!generation.is_null())
    write_file(folder / "generation_config.json", generation.dump(2) + "\n");
}

}  // namespace

Json merge_into_folder(const MergePlan& plan,
                       const std::vector<std::shared_ptr<const Source>>& sources,
                       const fs::path& given, const MergeFolderOptions& options) {
  const fs::path out =
      fs::absolute(given.filename().empty() ? given.parent_path() : given).lexically_normal();
  check_new_folder(out);
  make_folder(out.parent_path());
  Workplace work(out, fingerprint(plan, sources, options.merge));
  const MergeOutcome outcome = merge_weights(plan, sources, work.path(), options.merge);
  const Source& donor = *sources.at(plan.donor);
  write_configuration(plan, donor, options, work.path());
  if (options.tokenizer) {
    write_tokenizer(*options.tokenizer, work.path());
  } else {
    write_tokenizer_files(*donor.files(), work.path());
  }
  write_file(work.path() / "mergekit_config.yml", options.recipe_text);
  write_file(work.path() / "README.md",
             merge_card(plan, sources, options.recipe_text, outcome.statistics, options.digests));
  Json result = {{"out", out.string()},
                 {"method", plan.method},
                 {"tensors", plan.tensors.size()},
                 {"shards", outcome.shards},
                 {"kept", outcome.kept}};
  if (!outcome.statistics.empty()) {
    result.update(whole_statistics(plan, outcome.statistics));
    Json sidecar = {{"version", version()}, {"merge", result}};
    sidecar["merge"].erase("out");
    sidecar["merge"]["by_tensor"] = outcome.statistics;
    write_file(work.path() / "smidgen.json", sidecar.dump(2) + "\n");
  }
  work.become(out);
  return result;
}

}  // namespace smidgen
