// Several adapters on one model, by name: switched, scaled, summed, or different ones for the rows
// of one batch. What a row sees is its slot; a slot stands for a weighted sum of adapters, and slot
// 0 for the bare base.
//
//   AdapterSet set(model);
//   set.add("fr", Adapter::load(model, "run/fr"));
//   set.add("de", Adapter::load(model, "run/de"));
//   const Stream stream = make_stream({a, b, c}, {0, set.slot("fr"), set.slot({{"fr", 0.5}, {"de",
//   0.5}})});
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "smidgen/methods/adapter.h"

namespace smidgen {

struct Share {
  std::string name;
  double scale = 1;
  bool operator==(const Share&) const = default;
};
using Mix = std::vector<Share>;  // in the order in which they apply

class AdapterSet {
 public:
  explicit AdapterSet(Model& model) : model_(model) {}
  ~AdapterSet();
  AdapterSet(const AdapterSet&) = delete;
  AdapterSet& operator=(const AdapterSet&) = delete;

  // Throws usage when the name is taken.
  Adapter& add(const std::string& name, std::unique_ptr<Adapter> adapter);
  // Takes the adapter away, and every slot that holds it: rows must not ask for those again.
  void remove(const std::string& name);

  Adapter& find(const std::string& name) const;  // not_found with the nearest name
  const std::vector<std::string>& names() const { return names_; }  // in the order of add()
  bool empty() const { return names_.empty(); }

  // The slot of a mix: made when first asked for, the same ever after. Throws what Adapter::attach
  // throws, and then leaves nothing attached.
  int slot(const Mix& mix);
  int slot(const std::string& name) { return slot(Mix{{name, 1}}); }

 private:
  Model& model_;
  std::vector<std::string> names_;
  std::map<std::string, std::unique_ptr<Adapter>> adapters_;
  std::map<int, Mix> slots_;
};

}  // namespace smidgen
