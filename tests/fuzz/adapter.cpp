// Adapter folders: adapter_config.json, weights and sidecar from one archive, and the configuration
// through a field list with PEFT's names.
#include "smidgen/base/schema.h"
#include "smidgen/io/adapter_files.h"
#include "tests/fuzz/fuzz.h"

using namespace smidgen;

namespace {

struct Lora {
  int64_t rank = 8;
  double alpha = 8;
  Targets target{{"all-linear"}};
  OrderedMap<int64_t> rank_pattern;
  std::string bias = "none";
  bool rslora = false;
};

template <class V>
void fields(V& v, Lora& c) {
  v("rank", c.rank, {.min = 1, .max = 65536, .peft = "r"});
  v("alpha", c.alpha, {.peft = "lora_alpha"});
  v("target", c.target, {.peft = "target_modules"});
  v("rank_pattern", c.rank_pattern, {.peft = "rank_pattern"});
  v.choice("bias", c.bias, {"none", "all", "lora_only"}, {.peft = "bias"});
  v("rslora", c.rslora, {.peft = "use_rslora", .peft_default = false});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static fuzz::Folder folder;
  folder.unpack(fuzz::text_of(data, size));
  fuzz::accepted([&] {
    const AdapterFiles adapter = read_adapter(folder.path());
    for (const std::string& name : adapter.tensors->names())
      (void)adapter.tensors->view(name).elements();
    Json kept = Json::object();
    const PeftOptions options{.handled = {"peft_type", "base_model_name_or_path", "task_type"},
                              .where = "adapter_config.json"};
    const auto config = from_peft<Lora>(adapter.config, options, &kept);
    Json written = to_peft(config);
    written.update(kept);
    fuzz::require(to_peft(from_peft<Lora>(written, options)) == to_peft(config),
                  "PEFT's words and back", written.dump());
  });
  return 0;
}
