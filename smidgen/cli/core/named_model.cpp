#include "smidgen/cli/core/named_model.h"

#include "smidgen/base/error.h"
#include "smidgen/delta/diff/subject.h"

namespace smidgen {

ModelChoice named_model(const NamedModels& named, const std::string& spec) {
  ModelChoice choice{.model = spec,
                     .allow_config_key = named.allow_config_key,
                     .allow_other_base = named.allow_other_base};
  if (const AdapterChoice adapter = parse_adapter(spec); is_adapter_path(adapter.path)) {
    if (named.base.empty())
      throw Error(ErrorKind::usage, "an adapter alone computes nothing", spec,
                  "name the model that it is on: --base MODEL");
    choice.model = named.base;
    choice.adapter = {spec};
  }
  return choice;
}

}  // namespace smidgen
