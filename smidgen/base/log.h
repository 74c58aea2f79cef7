// Lines for the user on stderr, from any thread and any room.
#pragma once

#include "smidgen/base/console.h"
#include "smidgen/base/str.h"

namespace smidgen {

// Something worth knowing that changes nothing; --quiet hides it.
template <class... Parts>
void log_note(const Parts&... parts) {
  console().note(str(parts...));
}

// Something that may be wrong and does not stop the work. Always shown.
template <class... Parts>
void log_warning(const Parts&... parts) {
  console().warning(str(parts...));
}

// Plain narration ("loading model ..."); --quiet hides it.
template <class... Parts>
void log_line(const Parts&... parts) {
  console().line(str(parts...));
}

}  // namespace smidgen
