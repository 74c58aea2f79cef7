// Importers: what a recipe of another tool means here. An importer is a table of that tool's keys,
// each with what becomes of it, and a few lines for what depends on several keys.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "smidgen/base/registry.h"
#include "smidgen/io/importers/draft.h"

namespace smidgen {

class Importer {
 public:
  virtual ~Importer() = default;
  virtual std::string summary() const = 0;  // the tool and the release whose meaning is meant
  virtual const std::vector<ImportRule>& rules() const = 0;
  // Whether the document looks like one of this tool's.
  virtual bool recognises(const Json& theirs) const = 0;
  // After all rules: what depends on several keys.
  virtual void finish(Draft&) const {}
};

void register_all(Registry<Importer>& registry);  // written by the build
const Registry<Importer>& importers();

// Reads the recipe of another tool. `from` names the tool, or is empty: then exactly one importer
// has to recognise the file. `document` is what the tune verb of this build knows; a setting that
// it does not have becomes a remark. Throws format for what is not YAML or no map, unsupported for
// a file that nothing recognises or that does not train an adapter.
Imported import_recipe(const std::string& file, const std::string& from, const Json& document);

}  // namespace smidgen
