// The tokenizer and chat template of a model as GGUF metadata.
#pragma once

#include "smidgen/io/gguf_writer.h"
#include "smidgen/io/model_files.h"

namespace smidgen {

// Adds tokenizer.ggml.* (text/gguf_tokenizer.h says what can be written) and
// tokenizer.chat_template (with several: also .NAME of each); the metadata of a GGUF model are
// copied. Stop tokens of the configuration beside eos become eot and eom, which is how llama.cpp
// stops at them. `vocabulary` is the number of rows of the embedding. A folder without a tokenizer
// adds nothing but the template, with a note.
void add_vocabulary(GgufMetadata& metadata, const ModelFiles& files, int64_t vocabulary);

}  // namespace smidgen
