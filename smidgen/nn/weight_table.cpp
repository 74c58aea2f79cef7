#include "smidgen/nn/weight_table.h"

#include <algorithm>

#include <ATen/ops/empty.h>

#include "smidgen/base/regex.h"

namespace smidgen {

namespace {

// `number` in place of the first "{}".
std::string fill(const std::string& pattern, int64_t number) {
  const size_t hole = pattern.find("{}");
  if (hole == std::string::npos || number < 0) return pattern;
  return pattern.substr(0, hole) + std::to_string(number) + pattern.substr(hole + 2);
}

// The numbers in `name` where `pattern` has "{}"; nothing on a mismatch.
std::optional<std::vector<int64_t>> match_pattern(std::string_view pattern, std::string_view name) {
  std::vector<int64_t> numbers;
  for (size_t hole; (hole = pattern.find("{}")) != std::string_view::npos;) {
    if (!name.starts_with(pattern.substr(0, hole))) return {};
    name.remove_prefix(hole);
    pattern.remove_prefix(hole + 2);
    const size_t digits = std::min(name.find_first_not_of("0123456789"), name.size());
    if (digits == 0 || digits > 6) return {};
    numbers.push_back(std::stoll(std::string(name.substr(0, digits))));
    name.remove_prefix(digits);
  }
  if (name != pattern) return {};
  return numbers;
}

WeightSource minus_one(WeightSource source) {
  WeightSource moved{source.rows, source.columns, nullptr, source.name, source.release};
  moved.formats = source.formats;
  moved.read = [inner = std::move(source)](int64_t row0, int64_t row1, float* out) {
    inner.read(row0, row1, out);
    for (int64_t i = 0; i < (row1 - row0) * inner.columns; ++i) out[i] -= 1;
  };
  return moved;
}

}  // namespace

std::string TensorPlace::hf() const {
  return fill(fill(row->hf, layer), expert);
}

std::string TensorPlace::gguf() const {
  return fill(row->gguf, layer);
}

std::optional<TensorPlace> find_place(const TensorRows& rows, const std::string& hf_module) {
  for (const TensorRow& row : rows) {
    const auto numbers = match_pattern(row.hf, hf_module);
    if (!numbers) continue;
    return TensorPlace{&row, numbers->empty() ? -1 : numbers->at(0),
                       numbers->size() < 2 ? -1 : numbers->at(1)};
  }
  return {};
}

std::vector<int64_t> gguf_row_order(Layout layout, int64_t rows, int64_t head_dim) {
  if (layout != Layout::rotated && layout != Layout::interleaved) return {};
  std::vector<int64_t> order(static_cast<size_t>(rows));
  const int64_t half = head_dim / 2, heads = rows / (3 * head_dim);
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t block = row / head_dim, i = row % head_dim;
    order[static_cast<size_t>(row)] =
        layout == Layout::rotated
            ? block * head_dim + 2 * (i % half) + i / half
            : ((block % 3) * heads + block / 3) * head_dim + i;  // q, k or v of a head
  }
  return order;
}

WeightReader::WeightReader(const ModelFiles& files, TensorRows rows,
                           std::vector<std::string> ignorable, int64_t head_dim)
    : files_(files),
      rows_(std::move(rows)),
      ignorable_(std::move(ignorable)),
      head_dim_(head_dim) {}

const TensorRow* WeightReader::row(Part part) const {
  for (const TensorRow& row : rows_) {
    if (row.part == part) return &row;
  }
  return nullptr;
}

TensorPlace WeightReader::place(Part part, int64_t layer, int64_t expert) const {
  const TensorRow* found = row(part);
  SMIDGEN_ASSERT(found);
  return {found, layer, expert};
}

std::string WeightReader::name_of(const TensorPlace& place, std::string_view suffix) const {
  if (files_.kind == ModelFiles::Kind::gguf) return str(place.gguf(), suffix);
  const std::string name = str(place.hf(), suffix);
  // Checkpoints of the bare model, without its head, leave out the first word of the path.
  const std::string bare = name.substr(name.find('.') + 1);
  return !files_.tensors->contains(name) && files_.tensors->contains(bare) ? bare : name;
}

Format WeightReader::stored_format(const TensorPlace& place) const {
  return files_.tensors->view(name_of(place, ".weight")).format;
}

WeightSource WeightReader::read(const TensorPlace& place, std::string_view suffix, int64_t out,
                                int64_t in) {
  const std::string name = name_of(place, suffix);
  TensorView view = files_.tensors->view(name);
  taken_.insert(name);
  const bool gguf = files_.kind == ModelFiles::Kind::gguf;
  const bool turned = !gguf && place.row->layout == Layout::transposed && in > 1;
  const bool stacked = gguf && place.expert >= 0;
  std::vector<int64_t> expected{out};
  if (in > 1) expected = turned ? std::vector{in, out} : std::vector{out, in};
  std::vector<int64_t> found = view.shape;
  if (stacked && found.size() == 3 && place.expert < found[0]) found.erase(found.begin());
  if (found != expected) {
    throw Error(ErrorKind::mismatch,
                str("tensor ", name, " has shape ", shape_str(view.shape),
                    " where the configuration asks for ", shape_str(expected)),
                files_.tensors->where());
  }
  if (stacked) {
    const size_t size = view.bytes.size() / static_cast<size_t>(view.shape[0]);
    view.bytes = view.bytes.subspan(static_cast<size_t>(place.expert) * size, size);
  }
  view.shape = turned ? std::vector{in, out} : std::vector{out, in};
  if (turned) return transposed_source(view, str(place.hf(), suffix), files_.tensors);
  WeightSource source = weight_source(view, str(place.hf(), suffix), files_.tensors);
  if (!gguf) return source;
  if (place.row->layout == Layout::offset && suffix == ".weight")
    return minus_one(std::move(source));
  std::vector<int64_t> order = gguf_row_order(place.row->layout, out, head_dim_);
  return order.empty() ? source : permute_rows(std::move(source), std::move(order));
}

WeightSource WeightReader::weight(const TensorPlace& place, int64_t out, int64_t in) {
  return read(place, ".weight", out, in);
}

at::Tensor WeightReader::vector(const TensorPlace& place, std::string_view suffix, int64_t out) {
  at::Tensor values = at::empty({out}, at::kFloat);
  read(place, suffix, out, 1).read(0, out, values.mutable_data_ptr<float>());
  return values;
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

Arithmetic resolve_arithmetic(const LoadOptions& options) {
  if (options.dtype == "fp32") return Arithmetic::fp32;
  if (options.dtype == "bf16") return Arithmetic::bf16;
  if (options.dtype == "auto") return native_bf16() ? Arithmetic::bf16 : Arithmetic::fp32;
  throw Error(ErrorKind::usage, str("dtype '", options.dtype, "' is not one of auto, fp32, bf16"),
              "dtype");
}

}  // namespace smidgen
