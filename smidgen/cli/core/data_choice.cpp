#include "smidgen/cli/core/data_choice.h"

#include "smidgen/base/error.h"

namespace smidgen {

void refuse_data_settings(const DataChoice& c, const char* reason) {
  const DataChoice plain;
  const auto refuse = [&](const char* flag) { throw Error(ErrorKind::usage, reason, flag); };
  if (c.max_length != plain.max_length) refuse("--max-length");
  if (c.too_long != plain.too_long) refuse("--too-long");
  if (c.chat_template != plain.chat_template) refuse("--chat-template");
  if (c.data_cache != plain.data_cache) refuse("--data-cache");
  if (c.micro_tokens != plain.micro_tokens) refuse("--micro-tokens");
}

DatasetOptions dataset_options(const DataChoice& c, const Model& model) {
  if (c.max_length > model.context()) {
    throw Error(ErrorKind::usage,
                str("max_length is ", c.max_length, ", and the model's context holds ",
                    model.context(), " tokens"),
                "max_length");
  }
  return dataset_options(c, c.max_length == 0 ? model.context() : c.max_length);
}

}  // namespace smidgen
