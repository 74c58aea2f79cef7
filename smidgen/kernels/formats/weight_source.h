// Where the numbers of a weight come from: a file, a tensor, or a change of either, read by row
// blocks, so that a matrix never stands in memory twice.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "smidgen/io/tensor_store.h"

namespace smidgen {

// A row in its stored format, at any alignment.
struct StoredRow {
  Format format;
  const std::byte* bytes;
};

// `read(row0, row1, out)` writes rows [row0, row1) as fp32, row major, to `out`. It is called from
// several threads at once for disjoint ranges.
struct WeightSource {
  int64_t rows = 0, columns = 0;
  std::function<void(int64_t row0, int64_t row1, float* out)> read;
  std::string name;  // for messages
  // Lets go of the memory that pages of the file take up once they were read. Null where nothing is
  // mapped.
  std::function<void()> release = nullptr;
  // How its values are stored, without repeats.
  std::vector<Format> formats = {Format::f32};
  // Where a row's values lie as they are, for formats that keep them so; valid as long as the
  // source is kept. Null where the values are those of no stored row.
  std::function<StoredRow(int64_t row)> stored = nullptr;
  // Rows of each of the tensors that it joins, for formats that look at a tensor as a whole. Empty:
  // one tensor.
  std::vector<int64_t> parts = {};
};

// A stored tensor [rows, columns] of any floating or block format. The bytes must outlive the
// source.
WeightSource weight_source(const TensorView& view, std::string name = {});

// The same for a tensor of `store`, or a part of one. The source keeps the store open.
WeightSource weight_source(const TensorView& view, std::string name,
                           std::shared_ptr<const TensorStore> store);

// Row r is column r of a stored tensor [columns, rows], which is read in strips. Error unsupported
// for block formats, whose columns cannot be cut.
WeightSource transposed_source(const TensorView& view, std::string name,
                               std::shared_ptr<const TensorStore> store);

// A dense tensor [rows, columns], any floating dtype.
WeightSource weight_source(const at::Tensor& dense, std::string name = {});

// Row r of the result is row order[r] of `source`. Undoes the q/k rotation of llama GGUF files.
WeightSource permute_rows(WeightSource source, std::vector<int64_t> order);

// The parts one below the other: the base of a group of linears with one input. Throws mismatch
// when widths differ.
WeightSource concatenate_rows(std::vector<WeightSource> parts);

}  // namespace smidgen
