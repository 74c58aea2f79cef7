// Which text a verb that scores or measures reads, and how: fields that such verbs share.
#pragma once

#include <string>
#include <vector>

#include "smidgen/base/schema.h"
#include "smidgen/nn/model.h"
#include "smidgen/text/reading.h"

namespace smidgen {

struct DataChoice : ReadingConfig {
  std::vector<std::string> files;
  int64_t max_length = 0;
  int64_t micro_tokens = 2048;
};

template <class V>
void fields(V& v, DataChoice& c, bool required = true) {
  v("data", c.files,
    {.help = "Files, folders or patterns: .jsonl or .json rows with messages, prompt/completion or "
             "text, or plain text",
     .required = required});
  v("max_length", c.max_length,
    {.help = "Longest sample; 0 is the model's context", .min = 0, .unit = "tokens"});
  fields(v, static_cast<ReadingConfig&>(c));
  v("micro_tokens", c.micro_tokens,
    {.help = "Most tokens of one forward pass", .min = 1, .unit = "tokens"});
}

// Throws usage, naming the flag, where one of these is set although nothing is read: `reason` says
// when it would be.
void refuse_data_settings(const DataChoice& choice, const char* reason);

// Throws usage for a max_length beyond the model's context.
DatasetOptions dataset_options(const DataChoice& choice, const Model& model);

}  // namespace smidgen
