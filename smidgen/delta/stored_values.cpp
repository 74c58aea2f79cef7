#include "smidgen/delta/stored_values.h"

#include <vector>

#include "smidgen/base/error.h"
#include "smidgen/kernels/plain_values.h"

namespace smidgen {

void read_stored(const TensorStore& store, const std::string& name, int64_t begin,
                 std::span<float> out) {
  thread_local std::vector<std::byte> packed;  // of a thread: asked for once
  const TensorView view = store.view(name);
  const FormatInfo& format = info(view.format);
  const auto count = static_cast<int64_t>(out.size());
  SMIDGEN_ASSERT(begin % format.elements == 0 && count % format.elements == 0);
  const auto bytes =
      view.bytes.subspan(static_cast<size_t>(begin / format.elements * format.bytes),
                         static_cast<size_t>(count / format.elements * format.bytes));
  packed.resize(bytes.size());
  store.read(bytes, packed.data());
  read_values(view.format, packed.data(), count, out.data());
}

}  // namespace smidgen
