#include "smidgen/cli/core/bench_load.h"

#include <algorithm>
#include <chrono>
#include <map>

#include "smidgen/base/memory.h"
#include "smidgen/base/sha256.h"

namespace smidgen {

namespace {

class Watch {
 public:
  // Seconds since the last call.
  double lap() {
    const auto now = std::chrono::steady_clock::now();
    const double seconds = std::chrono::duration<double>(now - last_).count();
    last_ = now;
    return seconds;
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

double median(std::vector<double> x) {
  std::sort(x.begin(), x.end());
  return x[x.size() / 2];
}

}  // namespace

Json measure_load(const ModelConfig& config, int64_t runs) {
  std::map<std::string, std::vector<double>> laps;
  double base_mb = 0;
  for (int64_t run = 0; run < runs; ++run) {
    Watch watch;
    const ModelFiles files = open_model(config.choice.model);
    laps["open_s"].push_back(watch.lap());
    const auto model =
        load_model(files, {.dtype = config.dtype, .base_format = config.base_format});
    laps["weights_s"].push_back(watch.lap());
    const auto tokenizer = load_tokenizer(files);
    laps["tokenizer_s"].push_back(watch.lap());
    for (const std::string& text : config.choice.adapter) {
      const AdapterChoice choice = parse_adapter(text);
      const AdapterFiles opened = open_adapter(choice.path, files);
      check_base(opened, files, config.choice.allow_other_base);
      const auto adapter =
          Adapter::load(*model, opened, {.allow_config_keys = config.choice.allow_config_key});
      adapter->attach(*model, /*slot=*/1, choice.scale);
      laps["adapter_s"].push_back(watch.lap());
      Adapter::detach(*model, 1);
      watch.lap();
    }
    base_mb = static_cast<double>(model->weight_bytes()) / (1 << 20);
  }
  Watch watch;
  for (const fs::path& file : open_model(config.choice.model).weight_files) sha256_file(file);
  Json result = {{"digest_s", watch.lap()},
                 {"base_mb", base_mb},
                 {"peak_mb", static_cast<double>(peak_rss()) / (1 << 20)}};
  double total = 0;
  for (const auto& [name, seconds] : laps) {
    result[name] = median(seconds);
    if (name != "adapter_s") total += median(seconds);
  }
  result["total_s"] = total;
  return result;
}

}  // namespace smidgen
