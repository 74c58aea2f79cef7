// The one style sheet of every page that smidgen writes.
#pragma once

#include <string_view>

namespace smidgen {

// Light and dark by the reader's preference, black on white on paper, one column on a phone. Chart
// colours are told apart by lightness too, so they survive a grey printer and the common colour
// blindnesses.
extern const std::string_view kPageStyle;

}  // namespace smidgen
