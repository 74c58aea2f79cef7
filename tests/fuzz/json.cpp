// JSON: configurations, lines of data, headers. What was read is written and read again without a
// difference.
#include "smidgen/base/json.h"

#include "smidgen/io/json_file.h"
#include "smidgen/io/python_json.h"
#include "tests/fuzz/fuzz.h"

using namespace smidgen;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text = fuzz::text_of(data, size);
  fuzz::accepted([&] {
    const Json value = parse_json(text, "input.json");
    const Json again = parse_json(value.dump(), "again.json");
    fuzz::require(value.dump() == again.dump(), "dump and parse", value.dump());
    fuzz::require(parse_json(python_json(value), "python.json").size() == value.size(),
                  "Python's spelling is JSON", python_json(value));
  });
  return 0;
}
