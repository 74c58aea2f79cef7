// Plain IEEE single precision: the exact base, four bytes a weight.
#include "smidgen/kernels/formats/dense_weight.h"
#include "smidgen/kernels/formats/registry.h"

namespace smidgen {
namespace {

class Fp32Format final : public WeightFormat {
 public:
  std::string_view name() const override { return "fp32"; }
  std::vector<std::string> aliases() const override { return {"float32", "f32"}; }
  std::string_view summary() const override { return "single precision, 4 bytes a weight"; }
  std::shared_ptr<const BaseWeight> pack(const WeightSource& source,
                                         Arithmetic arithmetic) const override {
    return pack_dense(source, at::kFloat, "fp32", arithmetic);
  }
};

}  // namespace

std::unique_ptr<const WeightFormat> make_fp32_weight_format() {
  return std::make_unique<Fp32Format>();
}

}  // namespace smidgen
