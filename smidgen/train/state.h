// What a checkpoint holds beside the parameters: everything a resumed run needs to go on as if it
// had never stopped.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "smidgen/base/json.h"
#include "smidgen/io/checkpoint.h"
#include "smidgen/methods/adapter.h"
#include "smidgen/text/loader.h"
#include "smidgen/train/edit.h"

namespace smidgen {

// What must be equal for a resumed run to be the same run.
struct RunIdentity {
  Json recipe;  // values that decide the result: method, data handling, optimiser, schedule, seed,
                // ...
  std::string base;  // digest of the base model's files
  std::string data;  // digest of the tokenised training data
  int threads = 1;
  std::string target;    // kernel target and arithmetic
  std::string versions;  // smidgen and libtorch

  Json to_json() const;
  // Throws mismatch, naming the first difference and both values. Thread count, target and versions
  // change bits only: with `allow_inexact` they are notes.
  void check(const Json& saved, bool allow_inexact) const;
};

struct Best {
  double loss = 0;
  int64_t step = 0;
};

struct RunState {
  int64_t step = 0;
  LoaderState loader;
  int64_t tokens = 0;        // fed so far
  std::optional<Best> best;  // of the held-out losses
  int64_t stale = 0;         // evaluations since the best
  uint64_t metrics_offset = 0;
  std::string events_file;
  uint64_t events_offset = 0;
  Json watchdog = Json::array();
  Json policy;
  EditLog edits;

  Json to_json() const;
  // What lies in `folder`, the checkpoint's: a missing or wrong member is a format error with its
  // file and key.
  static RunState from_json(const Json& state, const Json& structure, const fs::path& folder);
};

// The trainables with their moments and step counts: params.safetensors, counts.json and
// structure.json in `folder`.
void write_trainables(const fs::path& folder, const ParamStore& store, const EditLog& edits);
// Into a store on which the edits have been replayed.
void read_trainables(const fs::path& folder, ParamStore& store);

}  // namespace smidgen
