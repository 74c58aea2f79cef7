// Python's three ways to put values into text: format(), str.format() and the operator '%'.
#pragma once

#include <string>

#include "smidgen/text/template_eval.h"

namespace smidgen::tmpl {

// format(value, spec), by the "format specification mini-language".
std::string formatted(Renderer& renderer, const Value& value, const std::string& spec);

// text.format(*plain, **named)
std::string brace_format(Renderer& renderer, const std::string& text, const Arguments& arguments);

// text % values: a tuple is several values, a dict can be named, anything else is one.
std::string percent_format(Renderer& renderer, const std::string& text, const Value& values);

}  // namespace smidgen::tmpl
