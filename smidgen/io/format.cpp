// The table behind tensor_view.h. Block sizes of GGUF types: PyPI gguf 0.19.0, GGML_QUANT_SIZES.
#include "smidgen/base/error.h"
#include "smidgen/io/tensor_view.h"

namespace smidgen {

namespace {

constexpr FormatInfo kFormats[] = {
    {Format::f64, "f64", "F64", 1, 8, true, true},
    {Format::f32, "f32", "F32", 1, 4, true, true},
    {Format::f16, "f16", "F16", 1, 2, true, true},
    {Format::bf16, "bf16", "BF16", 1, 2, true, true},
    {Format::i64, "i64", "I64", 1, 8, false, false},
    {Format::i32, "i32", "I32", 1, 4, false, false},
    {Format::i16, "i16", "I16", 1, 2, false, false},
    {Format::i8, "i8", "I8", 1, 1, false, false},
    {Format::u64, "u64", "U64", 1, 8, false, false},
    {Format::u32, "u32", "U32", 1, 4, false, false},
    {Format::u16, "u16", "U16", 1, 2, false, false},
    {Format::u8, "u8", "U8", 1, 1, false, false},
    {Format::boolean, "bool", "BOOL", 1, 1, false, false},
    {Format::c64, "c64", "C64", 1, 8, false, false},
    {Format::f8_e5m2, "f8_e5m2", "F8_E5M2", 1, 1, true, true},
    {Format::f8_e4m3, "f8_e4m3", "F8_E4M3", 1, 1, true, true},
    {Format::f8_e8m0, "f8_e8m0", "F8_E8M0", 1, 1, true, false},
    {Format::f8_e4m3fnuz, "f8_e4m3fnuz", "F8_E4M3FNUZ", 1, 1, true, false},
    {Format::f8_e5m2fnuz, "f8_e5m2fnuz", "F8_E5M2FNUZ", 1, 1, true, false},
    // Six bits an element: four elements in three bytes.
    {Format::f6_e2m3, "f6_e2m3", "F6_E2M3", 4, 3, true, false},
    {Format::f6_e3m2, "f6_e3m2", "F6_E3M2", 4, 3, true, false},
    {Format::f4, "f4", "F4", 2, 1, true, false},
    {Format::q4_0, "q4_0", "", 32, 18, true, true},
    {Format::q4_1, "q4_1", "", 32, 20, true, true},
    {Format::q8_0, "q8_0", "", 32, 34, true, true},
    {Format::q5_0, "q5_0", "", 32, 22, true, true},
    {Format::q5_1, "q5_1", "", 32, 24, true, true},
    // ggml's struct has 36 bytes (PyPI gguf says 40); never stored in files.
    {Format::q8_1, "q8_1", "", 32, 36, true, false},
    {Format::q2_k, "q2_k", "", 256, 84, true, true},
    {Format::q3_k, "q3_k", "", 256, 110, true, true},
    {Format::q4_k, "q4_k", "", 256, 144, true, true},
    {Format::q5_k, "q5_k", "", 256, 176, true, true},
    {Format::q6_k, "q6_k", "", 256, 210, true, true},
    {Format::q8_k, "q8_k", "", 256, 292, true, false},
    {Format::iq2_xxs, "iq2_xxs", "", 256, 66, true, true},
    {Format::iq2_xs, "iq2_xs", "", 256, 74, true, true},
    {Format::iq3_xxs, "iq3_xxs", "", 256, 98, true, true},
    {Format::iq1_s, "iq1_s", "", 256, 50, true, true},
    {Format::iq4_nl, "iq4_nl", "", 32, 18, true, true},
    {Format::iq3_s, "iq3_s", "", 256, 110, true, true},
    {Format::iq2_s, "iq2_s", "", 256, 82, true, true},
    {Format::iq4_xs, "iq4_xs", "", 256, 136, true, true},
    {Format::iq1_m, "iq1_m", "", 256, 56, true, true},
    {Format::tq1_0, "tq1_0", "", 256, 54, true, true},
    {Format::tq2_0, "tq2_0", "", 256, 66, true, true},
    {Format::mxfp4, "mxfp4", "", 32, 17, true, true},
    {Format::nvfp4, "nvfp4", "", 64, 36, true, true},
};

// info() indexes the table by the value of the enumerator.
constexpr bool in_order() {
  for (size_t i = 0; i < std::size(kFormats); ++i) {
    if (static_cast<size_t>(kFormats[i].format) != i) return false;
  }
  return std::size(kFormats) == static_cast<size_t>(Format::nvfp4) + 1;
}
static_assert(in_order());

}  // namespace

const FormatInfo& info(Format format) {
  const auto index = static_cast<size_t>(format);
  SMIDGEN_ASSERT(index < std::size(kFormats));
  return kFormats[index];
}

std::span<const FormatInfo> formats() {
  return kFormats;
}

std::optional<int64_t> packed_bytes(Format format, std::span<const int64_t> shape) {
  const FormatInfo& type = info(format);
  int64_t elements = 1, bytes = 0;
  for (const int64_t size : shape) {
    if (size < 0 || __builtin_mul_overflow(elements, size, &elements)) return std::nullopt;
  }
  // A block of a GGUF type never crosses a row; safetensors packs its sub-byte types over the whole
  // tensor.
  const int64_t row = type.safetensors.empty() ? (shape.empty() ? 1 : shape.back()) : elements;
  if (row % type.elements != 0) return std::nullopt;
  if (__builtin_mul_overflow(elements / type.elements, type.bytes, &bytes)) return std::nullopt;
  return bytes;
}

int64_t TensorView::elements() const {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return count;
}

}  // namespace smidgen
