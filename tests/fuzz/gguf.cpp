// GGUF. An input that begins with "GGUF" is a whole file; any other is a recipe from which a mostly
// right file is built, so that mutations get past the counts and lengths of the header.
#include "smidgen/io/gguf.h"

#include <fuzzer/FuzzedDataProvider.h>

#include "smidgen/io/dequantise.h"
#include "smidgen/io/little_endian.h"
#include "smidgen/text/tokenizer.h"
#include "tests/fuzz/fuzz.h"

using namespace smidgen;

namespace {

constexpr const char* kKeys[] = {"general.architecture",
                                 "general.alignment",
                                 "tokenizer.ggml.model",
                                 "tokenizer.ggml.pre",
                                 "tokenizer.ggml.tokens",
                                 "tokenizer.ggml.token_type",
                                 "tokenizer.ggml.merges",
                                 "tokenizer.ggml.scores",
                                 "tokenizer.ggml.bos_token_id",
                                 "tokenizer.ggml.eos_token_id",
                                 "tokenizer.ggml.add_bos_token",
                                 "tokenizer.chat_template",
                                 "llama.block_count"};

void put_text(std::string& out, std::string_view text) {
  append_bytes<uint64_t>(out, text.size());
  out += text;
}

// Numbers are right most of the time and any of the edges at others.
uint64_t count(FuzzedDataProvider& in, uint64_t right) {
  switch (in.ConsumeIntegralInRange<int>(0, 15)) {
    case 0:
      return in.ConsumeIntegral<uint64_t>();
    case 1:
      return right + 1;
    case 2:
      return uint64_t{1} << in.ConsumeIntegralInRange<int>(0, 63);
    default:
      return right;
  }
}

void put_value(std::string& out, FuzzedDataProvider& in, uint32_t type, bool nested) {
  constexpr int kWidth[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  if (type == 8) {
    const std::string text = in.ConsumeRandomLengthString(24);
    append_bytes<uint64_t>(out, count(in, text.size()));
    out += text;
  } else if (type == 9 && !nested) {
    const auto element = in.ConsumeIntegralInRange<uint32_t>(0, 13);
    const auto items = in.ConsumeIntegralInRange<uint64_t>(0, 6);
    append_bytes<uint32_t>(out, element);
    append_bytes<uint64_t>(out, count(in, items));
    for (uint64_t i = 0; i < items; ++i) put_value(out, in, element, true);
  } else if (type < 13) {
    for (int i = 0; i < kWidth[type]; ++i) out += static_cast<char>(in.ConsumeIntegral<uint8_t>());
  }
}

std::string build(FuzzedDataProvider& in) {
  const auto pairs = in.ConsumeIntegralInRange<uint64_t>(0, 12);
  const auto tensors = in.ConsumeIntegralInRange<uint64_t>(0, 5);
  std::string out = "GGUF";
  append_bytes<uint32_t>(out, in.ConsumeBool() ? 3 : 2);
  append_bytes<uint64_t>(out, count(in, tensors));
  append_bytes<uint64_t>(out, count(in, pairs));
  for (uint64_t i = 0; i < pairs; ++i) {
    const bool known = in.ConsumeIntegralInRange<int>(0, 7) != 0;
    put_text(out,
             known ? std::string(in.PickValueInArray(kKeys)) : in.ConsumeRandomLengthString(12));
    const auto type = in.ConsumeIntegralInRange<uint32_t>(0, 13);
    append_bytes<uint32_t>(out, type);
    put_value(out, in, type, false);
  }
  uint64_t offset = 0;
  for (uint64_t i = 0; i < tensors; ++i) {
    put_text(out, in.ConsumeBool() ? str("t", i) : in.ConsumeRandomLengthString(70));
    const auto dims = in.ConsumeIntegralInRange<uint32_t>(0, 5);
    append_bytes<uint32_t>(out, dims);
    uint64_t elements = 1;
    for (uint32_t d = 0; d < dims; ++d) {
      const uint64_t size = count(in, d == 0 ? 256 : in.ConsumeIntegralInRange<uint64_t>(0, 3));
      elements *= size;
      append_bytes<uint64_t>(out, size);
    }
    append_bytes<uint32_t>(out, in.ConsumeIntegralInRange<uint32_t>(0, 42));
    append_bytes<uint64_t>(out, count(in, offset));
    offset += (std::min<uint64_t>(elements, 1024) * 4 + 31) / 32 * 32;
  }
  out.append((32 - out.size() % 32) % 32, '\0');
  out += in.ConsumeRemainingBytesAsString();
  out.append(in.ConsumeBool() ? 4096 : 0, '\1');
  return out;
}

void read_everything(const GgufFile& file) {
  for (const std::string& key : file.keys()) {
    fuzz::accepted([&] { (void)file.get_int(key); });
    fuzz::accepted([&] { (void)file.get_float(key); });
    fuzz::accepted([&] { (void)file.get_bool(key); });
    fuzz::accepted([&] { (void)file.get_string(key); });
    fuzz::accepted([&] { (void)file.get_strings(key); });
    fuzz::accepted([&] { (void)file.get_ints(key); });
    fuzz::accepted([&] { (void)file.get_floats(key); });
  }
  for (const std::string& name : file.names()) {
    const TensorView view = file.view(name);
    const int64_t elements = view.elements();
    if (elements > 1 << 16 || !info(view.format).readable) continue;
    std::vector<float> out(static_cast<size_t>(elements));
    to_f32(view, out);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static fuzz::Folder folder;
  std::string bytes(fuzz::text_of(data, size));
  if (!bytes.starts_with("GGUF")) {
    FuzzedDataProvider in(data, size);
    bytes = build(in);
  }
  const fs::path path = folder.put("x.gguf", bytes);
  fuzz::accepted([&] {
    const GgufFile file(path);
    read_everything(file);
    const Tokenizer tokenizer(read_tokenizer_gguf(file));
    (void)tokenizer.decode(tokenizer.encode("Zwei  42 \xff <|im_end|>"));
  });
  return 0;
}
