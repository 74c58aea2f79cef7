// Codes of deltas. Input: a line "CODEC COUNT", and the bytes of one tensor's codes; COUNT is the
// number of elements, for a codec of values of a row. Or an archive of delta.json and
// delta.safetensors (fuzz.h), which is read as a folder.
#include "smidgen/io/adapter_files.h"
#include "smidgen/io/delta_files.h"
#include "tests/fuzz/fuzz.h"

using namespace smidgen;

namespace {

void decode(const std::string& name, int64_t count, std::string_view bytes) {
  if (!codecs().contains(name)) return;
  const Codec& codec = codecs().find(name);
  const Payload payload = std::as_bytes(std::span(bytes.data(), bytes.size()));
  if (codec.values()) {
    if (codec.values()->row_bytes(count) > static_cast<int64_t>(payload.size())) return;
    std::vector<float> row(static_cast<size_t>(count));
    fuzz::accepted([&] { codec.values()->decode(payload.data(), row, "row"); });
    return;
  }
  Signs signs(0);
  if (!fuzz::accepted([&] { signs = SignBlocks(*codec.signs(), payload, count, "x").decode(); }))
    return;
  for (size_t i = 0; i < signs.positive.size(); ++i)
    fuzz::require((signs.positive[i] & signs.negative[i]) == 0, "no element has two signs");
  if (count % 64)
    fuzz::require((signs.positive.back() | signs.negative.back()) >> (count % 64) == 0,
                  "nothing lies behind the last element");
  const std::string coded = encode_signs(*codec.signs(), signs.view());
  const Signs again =
      SignBlocks(*codec.signs(), std::as_bytes(std::span(coded)), count, "x").decode();
  fuzz::require(again.positive == signs.positive && again.negative == signs.negative,
                "what was read can be written and reads back");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static fuzz::Folder folder;
  const std::string_view input = fuzz::text_of(data, size);
  if (input.starts_with("=== ")) {
    folder.unpack(input);
    fuzz::accepted([&] {
      const DeltaFiles files = read_delta(folder.path());
      if (files.adapter) {
        (void)expand_adapter(files);
        return;
      }
      for (const DeltaTensor& tensor : files.tensors) {
        std::vector<float> values(static_cast<size_t>(tensor.elements()));
        TensorDelta(files, tensor).read(0, values);
      }
    });
    return 0;
  }
  const size_t blank = input.find(' '), newline = input.find('\n');
  if (blank == input.npos || newline == input.npos || blank > newline) return 0;
  const long count =
      std::strtol(std::string(input.substr(blank, newline - blank)).c_str(), nullptr, 10);
  if (count < 0 || count > 300'000) return 0;
  decode(std::string(input.substr(0, blank)), count, input.substr(newline + 1));
  return 0;
}
