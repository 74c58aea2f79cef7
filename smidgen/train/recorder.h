// Collects what the report of a run shows beside its curves, and writes report.json and
// report.html.
#pragma once

#include <string>
#include <vector>

#include "smidgen/base/recipe.h"
#include "smidgen/io/run_folder.h"
#include "smidgen/methods/adapter.h"
#include "smidgen/report/run_report.h"
#include "smidgen/text/dataset.h"
#include "smidgen/text/loader.h"
#include "smidgen/text/tokenizer.h"

namespace smidgen {

class RunRecorder {
 public:
  // With `resumed`, goes on from the report.json of the run, so that what was seen before the first
  // step is kept.
  RunRecorder(const RunFolder& run, bool resumed);

  RunReport& report() { return report_; }

  // Decodes the sequences of a batch, with what the loss sees marked.
  void first_batch(const Dataset& data, const std::vector<int64_t>& units,
                   const Tokenizer& tokenizer);
  // What the method says of the way it runs the model's blocks, measured on the first tokens of a
  // unit: a line, start.json with all of it, and the figures for the metrics; nothing where blocks
  // run one after the other. Throws what Model::examine throws.
  std::map<std::string, double> start(const Model& model, const Dataset& data, int64_t unit,
                                      int slot);
  // Reads the gradients after backward. With B = 0 half of a LoRA has none at the first step, so
  // the second is judged.
  void gradients(const ParamStore& store);
  void recipe(const Resolved& resolved);
  void environment();

  void write();

 private:
  const RunFolder& run_;
  RunReport report_;
};

}  // namespace smidgen
