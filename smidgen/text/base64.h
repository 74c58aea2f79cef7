// Base64 (RFC 4648, section 4), as JSON carries bytes.
#pragma once

#include <string>
#include <string_view>

namespace smidgen {

std::string to_base64(std::string_view bytes);
// Throws format with `where` for anything but whole groups of four.
std::string from_base64(std::string_view text, const std::string& where);

}  // namespace smidgen
