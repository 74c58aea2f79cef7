#include "smidgen/kernels/block.h"

// clang-format off: Highway needs this order
#include "smidgen/kernels/target.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "smidgen/kernels/block.cpp"
#include <hwy/foreach_target.h>

#include "smidgen/kernels/simd-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace smidgen {
namespace HWY_NAMESPACE {

template <class T>
HWY_INLINE void store_rows(int64_t rows, int64_t columns, const float* block, int64_t stride,
                           T* out, int64_t ldo) {
  for (int64_t row = 0; row < rows; ++row, block += stride, out += ldo) {
    for_vectors(columns, [&](int64_t, auto get, auto put) HWY_ATTR { put(get(block), out); });
  }
}

void StoreFloat(int64_t rows, int64_t columns, const float* block, int64_t stride, float* out,
                int64_t ldo) {
  store_rows(rows, columns, block, stride, out, ldo);
}
void StoreBf16(int64_t rows, int64_t columns, const float* block, int64_t stride, Bf16* out,
               int64_t ldo) {
  store_rows(rows, columns, block, stride, out, ldo);
}

void AddFloat(int64_t rows, int64_t columns, const float* block, int64_t stride, float scale,
              const float* stream, int64_t lds, float* out, int64_t ldo) {
  const V factor = hn::Set(D(), scale);
  for (int64_t row = 0; row < rows; ++row, block += stride, stream += lds, out += ldo) {
    for_vectors(columns, [&](int64_t, auto get, auto put)
                             HWY_ATTR { put(hn::MulAdd(factor, get(block), get(stream)), out); });
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace smidgen
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace smidgen {
namespace {

HWY_EXPORT(AddFloat);
HWY_EXPORT(StoreFloat);
HWY_EXPORT(StoreBf16);

}  // namespace

void store_block(int64_t rows, int64_t columns, const float* block, int64_t stride, float* out,
                 int64_t ldo) {
  choose_kernel_target();
  HWY_DYNAMIC_DISPATCH(StoreFloat)(rows, columns, block, stride, out, ldo);
}

void store_block(int64_t rows, int64_t columns, const float* block, int64_t stride, Bf16* out,
                 int64_t ldo) {
  choose_kernel_target();
  HWY_DYNAMIC_DISPATCH(StoreBf16)(rows, columns, block, stride, out, ldo);
}

void add_block(int64_t rows, int64_t columns, const float* block, int64_t stride, float scale,
               const float* stream, int64_t lds, float* out, int64_t ldo) {
  choose_kernel_target();
  HWY_DYNAMIC_DISPATCH(AddFloat)(rows, columns, block, stride, scale, stream, lds, out, ldo);
}

}  // namespace smidgen
#endif  // HWY_ONCE
