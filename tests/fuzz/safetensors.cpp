// safetensors. Input: the JSON header, and after its last newline what follows it in the file; an
// input that does not begin with '{' is a whole file.
#include "smidgen/io/safetensors.h"

#include "tests/fuzz/fuzz.h"

using namespace smidgen;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static fuzz::Folder folder;
  const std::string_view input = fuzz::text_of(data, size);
  std::string file(input);
  if (input.starts_with('{')) {
    const size_t newline = input.rfind('\n');
    const size_t header = newline == input.npos ? input.size() : newline;
    file = fuzz::safetensors(input.substr(0, header), 0);
    if (newline != input.npos) file += input.substr(newline + 1);
  }
  const fs::path path = folder.put("x.safetensors", file);
  fuzz::accepted([&] {
    const SafetensorsFile opened(path);
    size_t total = 0;
    for (const std::string& name : opened.names()) {
      const TensorView view = opened.view(name);
      const auto bytes = packed_bytes(view.format, view.shape);
      fuzz::require(bytes && static_cast<size_t>(*bytes) == view.bytes.size(),
                    "a view is its shape");
      for (const std::byte& byte : view.bytes) total += static_cast<size_t>(byte);
    }
    fuzz::require(total <= 255 * file.size(), "views lie in the file and do not overlap");
    // What was read can be written, and reads back the same.
    std::vector<NamedTensor> tensors;
    for (const std::string& name : opened.names()) tensors.push_back({name, opened.view(name)});
    const fs::path copy = folder.path() / "copy.safetensors";
    write_safetensors(copy, tensors, opened.metadata());
    const SafetensorsFile again(copy);
    fuzz::require(again.names().size() == tensors.size() && again.metadata() == opened.metadata(),
                  "a written file reads back");
  });
  return 0;
}
