// The table of weight formats. A new one: NAME.cpp with make_NAME_weight_format(), NAME_test.cpp, a
// line in formats.list, a row in docs/weight_formats.md.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "smidgen/base/registry.h"
#include "smidgen/kernels/formats/base_weight.h"
#include "smidgen/kernels/formats/weight_source.h"

namespace smidgen {

class WeightFormat {
 public:
  virtual ~WeightFormat() = default;
  virtual std::string_view name() const = 0;
  virtual std::vector<std::string> aliases() const { return {}; }
  virtual std::string_view summary() const = 0;  // one line
  // The format of tables with a row for each token, which make logits where they are tied.
  virtual std::string_view vocabulary_format() const { return name(); }
  // Reads the whole source once, or keeps it (`stored`), so it must own what it reads. Throws
  // mismatch when the format cannot hold the shape.
  virtual std::shared_ptr<const BaseWeight> pack(const WeightSource& source,
                                                 Arithmetic arithmetic) const = 0;
};

void register_all(Registry<WeightFormat>& registry);  // generated

const Registry<WeightFormat>& weight_formats();

// By name or alias; throws usage with the nearest names.
const WeightFormat& find_weight_format(const std::string& name);

}  // namespace smidgen
