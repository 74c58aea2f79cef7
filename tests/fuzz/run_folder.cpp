// What a resumed run reads back: checkpoints, the metrics log, the event file, and the parts of the
// report.
#include "smidgen/io/checkpoint.h"
#include "smidgen/io/events.h"
#include "smidgen/io/metrics_log.h"
#include "smidgen/io/safetensors.h"
#include "smidgen/report/run_report.h"
#include "tests/fuzz/fuzz.h"

using namespace smidgen;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static fuzz::Folder folder;
  static const fs::path run = folder.path() / "run", step = run / "checkpoints" / "step-00000007";
  static const bool made = fs::create_directories(step) && (std::ofstream(step / "DONE"), true);
  (void)made;
  std::error_code ignored;
  folder.unpack(fuzz::text_of(data, size));
  // The archive's files, where a run has them.
  for (const char* name : {"metrics.jsonl", "recipe.yaml", "report.json", "events"}) {
    fs::remove(run / name, ignored);
    fs::rename(folder.path() / name, run / name, ignored);
  }
  for (const char* name : {"state.json", "structure.json", "params.safetensors"}) {
    fs::remove(step / name, ignored);
    fs::rename(folder.path() / name, step / name, ignored);
  }
  uint64_t offset = 0;
  fuzz::accepted([&] {
    const CheckpointStore store(run / "checkpoints");
    const auto latest = store.latest();
    fuzz::require(latest && latest->step == 7, "the checkpoint is listed");
    const Json state = latest->state();
    if (state.is_object() && state.contains("offset") && state["offset"].is_number_unsigned())
      offset = state["offset"];
    const SafetensorsFile params(step / "params.safetensors");
  });
  fuzz::accepted([&] { (void)from_run_folder(run.string()); });
  fuzz::accepted([&] { EventWriter::resume(run / "events", offset).scalar("loss", 1, 2, 3); });
  fuzz::accepted([&] { MetricsLog(run / "metrics.jsonl", offset).append({{"step", 1}}); });
  return 0;
}
