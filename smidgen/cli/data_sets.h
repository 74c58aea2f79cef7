// The data sets that the command can make, and a look at any data file. Thin: fetching is a Python
// script each.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "smidgen/base/json.h"

namespace smidgen {

struct DataSet {
  const char* name;
  const char* script;  // in share/smidgen/data or scripts/data of the source tree
  const char* summary;
};

const std::vector<DataSet>& data_sets();

// Runs the script of `name` with --out (no shell). Its output goes to stdout, or to
// stderr where stdout must stay JSON. Throws usage for an unknown name, not_found without script or
// Python, resource when the script fails (it has said why).
void fetch_data(const std::string& name, const std::string& out, bool json);

// {"file", "rows", "format", "characters": {"min", "p50", "p90", "p99", "max"}, "tokens": the same
// or null, "first"}. Lengths count the text of a row's messages, without the chat template. Every
// row is checked: throws format with file:line for broken JSON, unknown or missing keys, wrong
// types and rows of two forms; data for an empty file.
Json show_data(const std::filesystem::path& file, const std::string& model);

// That as lines for a terminal.
std::string describe_data(const Json& shown);

}  // namespace smidgen
