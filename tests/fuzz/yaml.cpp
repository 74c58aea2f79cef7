// YAML as recipes are written in it.
#include "smidgen/base/yaml.h"

#include "tests/fuzz/fuzz.h"

using namespace smidgen;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::accepted([&] {
    const YamlNode root = parse_yaml(fuzz::text_of(data, size), "input.yaml");
    (void)to_json(root).dump(-1, ' ', true, Json::error_handler_t::replace);
  });
  return 0;
}
