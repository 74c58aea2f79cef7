#include "smidgen/delta/subspace/open_update.h"

#include "smidgen/base/error.h"
#include "smidgen/delta/diff/subject.h"

namespace smidgen {

UpdateOpener::UpdateOpener(std::string base, bool allow_other_base,
                           std::vector<std::string> allow_config_keys)
    : base_(std::move(base)),
      allow_other_base_(allow_other_base),
      allow_config_keys_(std::move(allow_config_keys)) {}

std::shared_ptr<const Source> UpdateOpener::source() {
  if (!source_) source_ = open_source(base_, allow_other_base_);
  return source_;
}

const ModelFiles& UpdateOpener::files() {
  if (files_.path.empty()) files_ = open_model(base_);
  if (!files_.adapters.empty())
    throw Error(ErrorKind::usage, "adapters are compared on a plain base", base_,
                "leave the adapter out of it, or merge it first: smidgen export");
  return files_;
}

const Model& UpdateOpener::model() {
  if (!model_) model_ = load_model(files(), {.dtype = "fp32", .base_format = "stored"});
  return *model_;
}

std::shared_ptr<const Update> UpdateOpener::open(const std::string& spec) {
  if (const AdapterChoice choice = parse_adapter(spec); is_adapter_path(choice.path))
    return adapters(spec, {choice});
  const ModelFiles named = open_model(spec);
  std::error_code ignored;
  if (!named.adapters.empty() && fs::equivalent(named.path, base_, ignored)) {
    std::vector<AdapterChoice> choices;
    for (const fs::path& path : named.adapters) choices.push_back(parse_adapter(path.string()));
    return adapters(spec, choices);
  }
  return model_update(open_source(spec, allow_other_base_), source());
}

std::shared_ptr<const Update> UpdateOpener::adapters(const std::string& label,
                                                     const std::vector<AdapterChoice>& choices) {
  std::vector<std::unique_ptr<Adapter>> owned;
  std::vector<const Adapter*> pointers;
  std::vector<double> weights;
  for (const AdapterChoice& choice : choices) {
    const AdapterFiles adapter = open_adapter(choice.path, files());
    check_base(adapter, files(), allow_other_base_);
    owned.push_back(Adapter::load(model(), adapter, {.allow_config_keys = allow_config_keys_}));
    pointers.push_back(owned.back().get());
    weights.push_back(choice.scale);
  }
  return adapter_update(label, model(), pointers, weights);
}

}  // namespace smidgen
