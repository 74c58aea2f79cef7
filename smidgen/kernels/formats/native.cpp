// What the file has: fp32 and bf16 as they are, GGUF's block formats in their blocks, where they
// lie. Formats that no vector code unpacks (fp16, eight-bit floats, the blocks that index tables)
// are unpacked once, to what the arithmetic reads: their products would wait for their weights.
#include <algorithm>

#include "smidgen/kernels/formats/block_weight.h"
#include "smidgen/kernels/formats/dense_weight.h"
#include "smidgen/kernels/formats/registry.h"
#include "smidgen/kernels/formats/unpack_row.h"

namespace smidgen {
namespace {

template <class Test>
bool any(const std::vector<Format>& formats, Test&& test) {
  return std::any_of(formats.begin(), formats.end(), test);
}

// The plain format that holds all values of the source, or what the arithmetic makes of them.
std::string plain(const std::vector<Format>& formats, Arithmetic arithmetic) {
  const bool exact =
      !any(formats, [](Format format) { return format != Format::f32 && format != Format::bf16; });
  if (!exact) return arithmetic == Arithmetic::bf16 ? "bf16" : "fp32";
  return any(formats, [](Format format) { return format == Format::f32; }) ? "fp32" : "bf16";
}

class NativeFormat final : public WeightFormat {
 public:
  std::string_view name() const override { return "native"; }
  std::string_view summary() const override { return "as in the model's file"; }
  std::shared_ptr<const BaseWeight> pack(const WeightSource& source,
                                         Arithmetic arithmetic) const override {
    const bool slow = any(source.formats, [](Format format) { return !unpacks_fast(format); });
    if (source.stored && !slow) return std::make_shared<BlockWeight>(source, arithmetic);
    const std::string format = plain(source.formats, arithmetic);
    return pack_dense(source, format == "fp32" ? at::kFloat : at::kBFloat16, format, arithmetic);
  }
};

}  // namespace

std::unique_ptr<const WeightFormat> make_native_weight_format() {
  return std::make_unique<NativeFormat>();
}

}  // namespace smidgen
