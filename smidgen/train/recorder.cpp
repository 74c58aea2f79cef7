#include "smidgen/train/recorder.h"

#include <ctime>

#include <torch/torch.h>
#include <torch/version.h>

#include "smidgen/base/cpu.h"
#include "smidgen/base/log.h"
#include "smidgen/base/memory.h"
#include "smidgen/kernels/target.h"

namespace smidgen {

namespace {

std::string now() {
  const std::time_t t = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&t, &utc);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M UTC", &utc);
  return text;
}

void flatten(const Resolved& resolved, const Json& values, const std::string& prefix,
             std::vector<RecipeRow>& rows) {
  for (const auto& [key, value] : values.items()) {
    const std::string path = prefix + key;
    if (value.is_object()) {
      flatten(resolved, value, path + ".", rows);
    } else {
      rows.push_back({path, value.is_string() ? value.get<std::string>() : value.dump(),
                      resolved.origin(path).text()});
    }
  }
}

}  // namespace

RunRecorder::RunRecorder(const RunFolder& run, bool resumed) : run_(run) {
  if (resumed && fs::exists(run.root() / "report.json"))
    report_ = from_run_folder(run.root().string());
}

void RunRecorder::first_batch(const Dataset& data, const std::vector<int64_t>& units,
                              const Tokenizer& tokenizer) {
  report_.first_batch.clear();
  std::vector<int64_t> sequences;
  for (const int64_t u : units) {
    if (data.form() == DataForm::pairs) {
      sequences.insert(sequences.end(), {2 * u, 2 * u + 1});
    } else {
      sequences.push_back(u);
    }
  }
  for (const int64_t i : sequences) {
    std::vector<TokenSpan> spans;
    const auto ids = data.ids(i);
    const auto answer = data.answer(i);
    for (size_t k = 0; k < ids.size(); ++k) {
      const std::string_view bytes = tokenizer.bytes(ids[k]);
      if (!spans.empty() && spans.back().answer == (answer[k] != 0)) {
        spans.back().text += bytes;
        ++spans.back().tokens;
      } else {
        spans.push_back({std::string(bytes), answer[k] != 0, 1});
      }
    }
    report_.first_batch.push_back(std::move(spans));
  }
}

std::map<std::string, double> RunRecorder::start(const Model& model, const Dataset& data,
                                                 int64_t unit, int slot) {
  constexpr size_t kTokens = 256;  // every layer's streams are held for the comparison
  const auto ids = data.ids(data.form() == DataForm::pairs ? 2 * unit : unit);
  const Json facts = model.examine(make_stream(ids.first(std::min(ids.size(), kTokens)), slot));
  if (facts.is_null()) return {};
  write_file(run_.root() / "start.json", facts.dump(2) + "\n");
  std::map<std::string, double> figures;
  for (const char* key : {"reconstruction_error", "starting_distance"})
    figures[key] = facts.at(key).get<double>();
  log_line("reversed layers differ from what they were by at most ",
           figures["reconstruction_error"], " of their size; the last hidden states start ",
           figures["starting_distance"], " of theirs away from the base's");
  report_.summary["reconstruction error"] = figures["reconstruction_error"];
  report_.summary["distance from the base at the start"] = figures["starting_distance"];
  return figures;
}

void RunRecorder::gradients(const ParamStore& store) {
  report_.trainables.clear();
  report_.without_gradient.clear();
  for (const auto& p : store.parameters()) {
    const double norm = p->gradient().norm().item<double>();
    report_.trainables.push_back({p->spec().path(), p->spec().shape, p->size(), "fp32", norm});
    if (norm == 0) report_.without_gradient.push_back(p->spec().path());
  }
}

void RunRecorder::recipe(const Resolved& resolved) {
  report_.recipe.clear();
  flatten(resolved, resolved.values, "", report_.recipe);
}

void RunRecorder::environment() {
  const CpuInfo cpu = cpu_info();
  report_.environment = {{"processor", cpu.model},
                         {"instruction sets", join(cpu.isa)},
                         {"threads", std::to_string(at::get_num_threads())},
                         {"memory", str(total_memory() / (int64_t{1} << 20), " MB")},
                         {"kernel target", std::string(kernel_target())},
                         {"libtorch", TORCH_VERSION}};
}

void RunRecorder::write() {
  report_.generated_at = now();
  write_file(run_.root() / "report.json", report_json(report_));
  // Read back, so that the page shows exactly what the folder holds, curves included. Before the
  // first step there are none.
  if (fs::exists(run_.metrics()))
    write_file(run_.report(), render(from_run_folder(run_.root().string())));
}

}  // namespace smidgen
