// How rows of data become tokens: settings that every verb which reads data has.
#pragma once

#include <string>

#include "smidgen/text/dataset.h"

namespace smidgen {

struct ReadingConfig {
  std::string too_long = "error";
  std::string chat_template = "auto";
  std::string data_cache = "auto";
};

template <class V>
void fields(V& v, ReadingConfig& c) {
  v.choice("too_long", c.too_long, {"error", "skip", "truncate"},
           {.help = "What to do with a longer one"});
  v("chat_template", c.chat_template,
    {.help =
         "auto: the model's chat template where it has one; none; or the name of one of several"});
  v("data_cache", c.data_cache,
    {.help = "Folder that keeps the tokens of data files; auto: the user's cache folder, for files "
             "of 16 MiB and more; none: memory"});
}

DatasetOptions dataset_options(const ReadingConfig& config, int64_t max_length);

}  // namespace smidgen
