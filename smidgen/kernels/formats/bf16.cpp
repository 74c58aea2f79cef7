// Brain floating point, rounded to nearest even: two bytes a weight, and the fastest plain product
// where the machine multiplies it.
#include "smidgen/kernels/formats/dense_weight.h"
#include "smidgen/kernels/formats/registry.h"

namespace smidgen {
namespace {

class Bf16Format final : public WeightFormat {
 public:
  std::string_view name() const override { return "bf16"; }
  std::vector<std::string> aliases() const override { return {"bfloat16"}; }
  std::string_view summary() const override { return "brain floating point, 2 bytes a weight"; }
  std::shared_ptr<const BaseWeight> pack(const WeightSource& source,
                                         Arithmetic arithmetic) const override {
    return pack_dense(source, at::kBFloat16, "bf16", arithmetic);
  }
};

}  // namespace

std::unique_ptr<const WeightFormat> make_bf16_weight_format() {
  return std::make_unique<Bf16Format>();
}

}  // namespace smidgen
