// Fine-tunes of one base as updates of it, as a user names them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "smidgen/delta/subspace/update.h"
#include "smidgen/io/model_files.h"
#include "smidgen/methods/open_model.h"
#include "smidgen/nn/model.h"

namespace smidgen {

// The base is opened once, and as no more than the updates need: of an adapter only the factors are
// read, and of its base what it says of its sites.
class UpdateOpener {
 public:
  UpdateOpener(std::string base, bool allow_other_base,
               std::vector<std::string> allow_config_keys = {});

  // An adapter or a compressed fine-tune (PATH or PATH:SCALE), a model folder, a GGUF file, or
  // BASE+ADAPTER, which is its adapters where it names the same base. Throws mismatch with both
  // digests where an adapter says that it is of another base, usage for an adapter on a base that
  // has adapters itself, and what model_update() throws.
  std::shared_ptr<const Update> open(const std::string& spec);

  // The base as a model's tensors, and as what adapters are put on.
  std::shared_ptr<const Source> source();
  const Model& model();
  const ModelFiles& files();

 private:
  std::shared_ptr<const Update> adapters(const std::string& label,
                                         const std::vector<AdapterChoice>& choices);

  std::string base_;
  bool allow_other_base_;
  std::vector<std::string> allow_config_keys_;
  ModelFiles files_;
  std::unique_ptr<Model> model_;
  std::shared_ptr<const Source> source_;
};

}  // namespace smidgen
