#include "smidgen/nn/nan_trace.h"

#include <cmath>
#include <memory>

#include <torch/torch.h>

#include "smidgen/base/error.h"

namespace smidgen {

namespace {

// Hooks may outlive the trace, in a graph that somebody keeps: they hold this.
struct Place {
  std::string where;
};
std::shared_ptr<Place> current;

void check(const at::Tensor& t, const Place& place, const std::string& module,
           const char* direction) {
  const at::Tensor flat = t.detach().reshape({-1});
  const at::Tensor bad = at::isfinite(flat).logical_not();
  if (!bad.any().item<bool>()) return;
  const int64_t first = bad.to(at::kByte).argmax().item<int64_t>();
  const auto value = flat[first].item<double>();
  const int64_t columns = t.dim() > 1 ? t.numel() / t.size(0) : 1;
  throw Error(ErrorKind::diverged,
              str(place.where, ", ", direction, ": ", module, " gives ",
                  std::isnan(value) ? std::string("nan") : str(value), " at row ", first / columns,
                  ", column ", first % columns, " of ", shape_str(t.sizes()), " (",
                  bad.sum().item<int64_t>(), " such values)"),
              module, "everything computed before it in this step was finite");
}

}  // namespace

NanTrace::NanTrace(std::string where) {
  SMIDGEN_ASSERT(!current);
  current = std::make_shared<Place>(Place{std::move(where)});
}

NanTrace::~NanTrace() {
  current.reset();
}

bool NanTrace::on() {
  return current != nullptr;
}

at::Tensor traced(at::Tensor y, const at::Tensor& x, const std::string& module) {
  if (!current) return y;
  check(y, *current, module, "forward");
  const auto watch = [&](const at::Tensor& t, const char* direction) {
    if (!t.defined() || !t.requires_grad()) return;
    t.register_hook([place = current, module, direction](const at::Tensor& gradient) {
      check(gradient, *place, module, direction);
    });
  };
  watch(y, "backward, in the gradient of its output");
  watch(x, "backward");
  // A view, so that the next module's look at this gradient, its input's, comes before ours.
  return y.requires_grad() ? y.view_as(y) : y;
}

at::Tensor traced(at::Tensor y, const at::Tensor& x, const std::vector<Site>& sites) {
  if (!current) return y;
  const std::string& first = sites.front().name;
  if (sites.size() == 1) return traced(std::move(y), x, first);
  std::string module = first.substr(0, first.rfind('.') + 1) + "{";
  for (const Site& site : sites)
    module += (&site == &sites.front() ? "" : ",") + site.name.substr(site.name.rfind('.') + 1);
  return traced(std::move(y), x, module + "}");
}

}  // namespace smidgen
