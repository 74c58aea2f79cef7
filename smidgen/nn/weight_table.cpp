#include "smidgen/nn/weight_table.h"

#include "smidgen/base/regex.h"
#include "smidgen/kernels/formats/registry.h"

namespace smidgen {

namespace {

// "model.layers.7.mlp" against "model.layers.{}.mlp": the number, -1 for a pattern without one,
// nothing on a mismatch.
std::optional<int64_t> match_row(const std::string& pattern, const std::string& name) {
  const size_t hole = pattern.find("{}");
  if (hole == std::string::npos) return pattern == name ? std::optional<int64_t>(-1) : std::nullopt;
  const std::string head = pattern.substr(0, hole), tail = pattern.substr(hole + 2);
  if (!name.starts_with(head) || !name.ends_with(tail) || name.size() <= head.size() + tail.size())
    return {};
  const std::string middle = name.substr(head.size(), name.size() - head.size() - tail.size());
  if (middle.size() > 6 || middle.find_first_not_of("0123456789") != std::string::npos) return {};
  return std::stoll(middle);
}

std::string fill(const std::string& pattern, int64_t number) {
  const size_t hole = pattern.find("{}");
  return hole == std::string::npos
             ? pattern
             : pattern.substr(0, hole) + std::to_string(number) + pattern.substr(hole + 2);
}

}  // namespace

WeightReader::WeightReader(const ModelFiles& files, std::vector<TensorRow> table,
                           std::vector<std::string> ignorable)
    : files_(files), table_(std::move(table)), ignorable_(std::move(ignorable)) {}

WeightReader::Location WeightReader::locate(const std::string& hf_name) const {
  if (files_.kind == ModelFiles::Kind::folder) return {hf_name};
  for (const TensorRow& row : table_) {
    if (const auto number = match_row(row.hf, hf_name))
      return {fill(row.gguf, *number), row.layout};
  }
  SMIDGEN_ASSERT(!"tensor without a row in the family's table");
}

bool WeightReader::contains(const std::string& hf_name) const {
  return files_.tensors->contains(locate(hf_name).name);
}

Format WeightReader::stored_format(const std::string& hf_name) const {
  return files_.tensors->view(locate(hf_name).name).format;
}

WeightSource WeightReader::source(const std::string& hf_name, int64_t rows, int64_t columns,
                                  int64_t heads) {
  const Location location = locate(hf_name);
  const TensorView view = files_.tensors->view(location.name);
  taken_.insert(location.name);
  const std::vector<int64_t> expected =
      columns == 1 ? std::vector<int64_t>{rows} : std::vector<int64_t>{rows, columns};
  if (view.shape != expected) {
    throw Error(ErrorKind::mismatch,
                str("tensor ", location.name, " has shape ", shape_str(view.shape),
                    " where the configuration asks for ", shape_str(expected)),
                files_.tensors->where());
  }
  TensorView matrix = view;
  matrix.shape = {rows, columns};
  WeightSource source = weight_source(matrix, hf_name);
  if (location.layout == TensorRow::Layout::rotated) {
    SMIDGEN_ASSERT(heads > 0 && rows % heads == 0);
    const int64_t head_dim = rows / heads, half = head_dim / 2;
    std::vector<int64_t> order(static_cast<size_t>(rows));
    for (int64_t h = 0; h < heads; ++h) {
      for (int64_t i = 0; i < half; ++i) {
        order[static_cast<size_t>(h * head_dim + i)] = h * head_dim + 2 * i;
        order[static_cast<size_t>(h * head_dim + half + i)] = h * head_dim + 2 * i + 1;
      }
    }
    source = permute_rows(std::move(source), std::move(order));
  }
  return source;
}

void WeightReader::finish() const {
  std::vector<std::string> left;
  std::vector<Regex> ignorable;
  for (const std::string& pattern : ignorable_) ignorable.emplace_back(pattern);
  for (const std::string& name : files_.tensors->names()) {
    if (taken_.contains(name)) continue;
    const bool fine = std::any_of(ignorable.begin(), ignorable.end(),
                                  [&](const Regex& r) { return r.full_match(name); });
    if (!fine) left.push_back(name);
  }
  if (!left.empty()) {
    throw Error(ErrorKind::mismatch,
                str(left.size(),
                    " tensors of the file belong to no part of the model: ", join(left, ", ", 8)),
                files_.tensors->where(), "the configuration may describe another architecture");
  }
}

std::string storage_format(const LoadOptions& options, Format stored, Arithmetic arithmetic) {
  if (options.base_format != "native")
    return std::string(find_weight_format(options.base_format).name());
  if (stored == Format::f32) return "fp32";
  if (stored == Format::bf16) return "bf16";
  // F16 and GGUF's block formats have no products of their own yet: they are unpacked to what the
  // arithmetic reads.
  return arithmetic == Arithmetic::bf16 ? "bf16" : "fp32";
}

Arithmetic resolve_arithmetic(const LoadOptions& options) {
  if (options.dtype == "fp32") return Arithmetic::fp32;
  if (options.dtype == "bf16") return Arithmetic::bf16;
  if (options.dtype == "auto") return native_bf16() ? Arithmetic::bf16 : Arithmetic::fp32;
  throw Error(ErrorKind::usage, str("dtype '", options.dtype, "' is not one of auto, fp32, bf16"),
              "dtype");
}

}  // namespace smidgen
