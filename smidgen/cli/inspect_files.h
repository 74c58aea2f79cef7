// What a file or folder is and holds.
#pragma once

#include "smidgen/base/fs.h"
#include "smidgen/base/json.h"

namespace smidgen {

// {"kind": gguf | gguf adapter | model | adapter | run | checkpoint | safetensors | json | jsonl |
// file, "path", ...}. Reads headers only, unless `digest` asks for the SHA-256 of a model's
// weights. A path that does not exist is tried as BASE+ADAPTER; else Error not_found.
Json inspect_path(const fs::path& path, bool digest);

}  // namespace smidgen
