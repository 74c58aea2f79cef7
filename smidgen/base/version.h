// The release that this is, as runs, adapters and checkpoints record it.
#pragma once

namespace smidgen {

const char* version();  // "0.1.0"

}  // namespace smidgen
