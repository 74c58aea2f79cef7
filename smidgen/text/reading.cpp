#include "smidgen/text/reading.h"

#include "smidgen/text/token_cache.h"

namespace smidgen {

DatasetOptions dataset_options(const ReadingConfig& c, int64_t max_length) {
  DatasetOptions options;
  options.max_length = max_length;
  options.too_long = c.too_long == "skip"       ? TooLong::skip
                     : c.too_long == "truncate" ? TooLong::truncate
                                                : TooLong::error;
  options.chat_template = c.chat_template == "none" ? TemplateUse::none : TemplateUse::automatic;
  options.cache = data_cache(c.data_cache);
  return options;
}

}  // namespace smidgen
