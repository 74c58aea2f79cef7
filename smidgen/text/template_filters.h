// The filters, in two tables: over one value, and over many.
#pragma once

#include <vector>

#include "smidgen/text/template_eval.h"

namespace smidgen::tmpl {

struct Filter {
  const char* name;
  std::vector<const char*> parameters;  // after the input; {"*"}: anything
  Value (*call)(Renderer&, const Value&, const Given&);
};

const std::vector<Filter>& value_filters();
const std::vector<Filter>& list_filters();

}  // namespace smidgen::tmpl
