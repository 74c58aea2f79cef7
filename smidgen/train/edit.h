// What a budget policy may do to the trainable part of a run. Edits are applied between steps,
// recorded in order, and replayed when a run resumes, so that structure never has to be guessed
// from tensor shapes.
#pragma once

#include <string>
#include <vector>

#include "smidgen/base/json.h"
#include "smidgen/nn/param_store.h"

namespace smidgen {

struct Edit {
  enum class Kind {
    freeze,    // no gradient, no optimiser step; value and moments stay as they are
    thaw,      // the reverse
    activate,  // the first `rows` rows take part; storage stays
    grow,      // append `rows` zero rows
    shrink,    // keep the rows of `keep`, in that order
  } kind = Kind::freeze;
  std::string parameter;  // path in the store
  int64_t rows = 0;
  std::vector<int64_t> keep;

  Json to_json() const;
  static Edit from_json(const Json& json, const std::string& where);
  // True when tensors move, so that attachments must be made again.
  bool moves_storage() const { return kind == Kind::grow || kind == Kind::shrink; }
};

// Throws mismatch when an edit does not fit its parameter. Rows that survive keep value, moments
// and step counts.
void apply(ParamStore& store, const Edit& edit);

// Every edit of a run with the step before which it was applied.
class EditLog {
 public:
  void record(int64_t step, const std::vector<Edit>& edits);
  void replay(ParamStore& store) const;
  Json to_json() const;
  // `where` is the file, for errors.
  static EditLog from_json(const Json& json, const std::string& where);
  size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    int64_t step;
    Edit edit;
  };
  std::vector<Entry> entries_;
};

}  // namespace smidgen
