#include "smidgen/io/gguf_types.h"

namespace smidgen {

namespace {

struct GgmlType {
  uint32_t id;
  Format format;
};

// ggml's numbers; the gaps are types that were withdrawn.
constexpr GgmlType kTypes[] = {
    {0, Format::f32},      {1, Format::f16},     {2, Format::q4_0},     {3, Format::q4_1},
    {6, Format::q5_0},     {7, Format::q5_1},    {8, Format::q8_0},     {9, Format::q8_1},
    {10, Format::q2_k},    {11, Format::q3_k},   {12, Format::q4_k},    {13, Format::q5_k},
    {14, Format::q6_k},    {15, Format::q8_k},   {16, Format::iq2_xxs}, {17, Format::iq2_xs},
    {18, Format::iq3_xxs}, {19, Format::iq1_s},  {20, Format::iq4_nl},  {21, Format::iq3_s},
    {22, Format::iq2_s},   {23, Format::iq4_xs}, {24, Format::i8},      {25, Format::i16},
    {26, Format::i32},     {27, Format::i64},    {28, Format::f64},     {29, Format::iq1_m},
    {30, Format::bf16},    {34, Format::tq1_0},  {35, Format::tq2_0},   {39, Format::mxfp4},
    {40, Format::nvfp4},
};

}  // namespace

std::optional<Format> ggml_format(uint32_t id) {
  for (const GgmlType& known : kTypes) {
    if (known.id == id) return known.format;
  }
  return {};
}

std::optional<uint32_t> ggml_id(Format format) {
  for (const GgmlType& known : kTypes) {
    if (known.format == format) return known.id;
  }
  return {};
}

}  // namespace smidgen
