#include "smidgen/kernels/formats/weight_source.h"

#include <algorithm>
#include <memory>
#include <utility>

#include <ATen/ops/from_blob.h>

#include "smidgen/base/error.h"
#include "smidgen/io/dequantise.h"

namespace smidgen {
namespace {

void require_matrix(size_t dims, const std::string& shape, const std::string& name) {
  if (dims != 2) {
    throw Error(ErrorKind::mismatch, str("a base weight is a matrix, not ", shape), name);
  }
}

}  // namespace

WeightSource weight_source(const TensorView& view, std::string name) {
  require_matrix(view.shape.size(), shape_str(view.shape), name);
  WeightSource source{view.shape[0], view.shape[1], nullptr, std::move(name)};
  source.read = [view](int64_t row0, int64_t row1, float* out) {
    to_f32_rows(view, row0, row1, {out, static_cast<size_t>((row1 - row0) * view.shape[1])});
  };
  const FormatInfo& type = info(view.format);
  source.formats = {view.format};
  source.stored = [format = view.format, first = view.bytes.data(),
                   size = view.shape[1] / type.elements * type.bytes](int64_t row) {
    return StoredRow{format, first + row * size};
  };
  return source;
}

WeightSource weight_source(const TensorView& view, std::string name,
                           std::shared_ptr<const TensorStore> store) {
  WeightSource source = weight_source(view, std::move(name));
  source.release = [bytes = view.bytes, kept = std::move(store)] { kept->release(bytes); };
  return source;
}

WeightSource transposed_source(const TensorView& view, std::string name,
                               std::shared_ptr<const TensorStore> store) {
  const FormatInfo& type = info(view.format);
  if (type.elements != 1) {
    throw Error(ErrorKind::unsupported, str("a matrix of ", type.name, " cannot be turned"), name);
  }
  WeightSource source = weight_source(view, std::move(name), std::move(store));
  std::swap(source.rows, source.columns);
  source.stored = nullptr;
  source.read = [view, size = type.bytes](int64_t row0, int64_t row1, float* out) {
    const int64_t columns = view.shape[0], rows = view.shape[1], n = row1 - row0;
    std::vector<float> strip(static_cast<size_t>(n));
    for (int64_t c = 0; c < columns; ++c) {
      to_f32(view.format, view.bytes.data() + (c * rows + row0) * size, n, strip.data());
      for (int64_t r = 0; r < n; ++r) out[r * columns + c] = strip[static_cast<size_t>(r)];
    }
  };
  return source;
}

WeightSource weight_source(const at::Tensor& dense, std::string name) {
  require_matrix(static_cast<size_t>(dense.dim()), shape_str(dense.sizes()), name);
  WeightSource source{dense.size(0), dense.size(1), nullptr, std::move(name)};
  source.read = [kept = dense.detach()](int64_t row0, int64_t row1, float* out) {
    at::from_blob(out, {row1 - row0, kept.size(1)}, at::kFloat)
        .copy_(kept.narrow(0, row0, row1 - row0));
  };
  return source;
}

WeightSource permute_rows(WeightSource source, std::vector<int64_t> order) {
  for (int64_t row : order) {
    if (row < 0 || row >= source.rows) {
      throw Error(ErrorKind::mismatch, str("row ", row, " of ", source.rows), source.name);
    }
  }
  WeightSource permuted{static_cast<int64_t>(order.size()), source.columns, nullptr, source.name,
                        source.release};
  permuted.formats = source.formats;
  if (source.stored) {
    permuted.stored = [inner = source.stored, order](int64_t row) {
      return inner(order[static_cast<size_t>(row)]);
    };
  }
  permuted.read = [inner = std::move(source), order = std::move(order)](int64_t row0, int64_t row1,
                                                                        float* out) {
    // Neighbours that stay neighbours are read together.
    for (int64_t row = row0; row < row1;) {
      const int64_t first = order[static_cast<size_t>(row)];
      int64_t count = 1;
      while (row + count < row1 && order[static_cast<size_t>(row + count)] == first + count)
        ++count;
      inner.read(first, first + count, out + (row - row0) * inner.columns);
      row += count;
    }
  };
  return permuted;
}

WeightSource concatenate_rows(std::vector<WeightSource> parts) {
  SMIDGEN_ASSERT(!parts.empty());
  if (parts.size() == 1) return std::move(parts[0]);
  WeightSource whole{0, parts[0].columns, nullptr, parts[0].name};
  whole.formats.clear();
  for (size_t i = 0; i < parts.size(); ++i) {
    if (parts[i].columns != whole.columns) {
      throw Error(
          ErrorKind::mismatch,
          str("weights of one group have ", whole.columns, " and ", parts[i].columns, " columns"),
          str(parts[0].name, ", ", parts[i].name));
    }
    whole.rows += parts[i].rows;
    whole.parts.push_back(parts[i].rows);
    for (const Format format : parts[i].formats) {
      if (std::find(whole.formats.begin(), whole.formats.end(), format) == whole.formats.end())
        whole.formats.push_back(format);
    }
    if (i > 0) whole.name += "+" + parts[i].name;
  }
  const bool mapped =
      std::any_of(parts.begin(), parts.end(), [](const WeightSource& p) { return !!p.release; });
  if (mapped) {
    whole.release = [parts] {
      for (const WeightSource& part : parts) {
        if (part.release) part.release();
      }
    };
  }
  if (std::all_of(parts.begin(), parts.end(), [](const WeightSource& p) { return !!p.stored; })) {
    whole.stored = [parts](int64_t row) {
      size_t part = 0;
      for (; row >= parts[part].rows; ++part) row -= parts[part].rows;
      return parts[part].stored(row);
    };
  }
  whole.read = [parts = std::move(parts)](int64_t row0, int64_t row1, float* out) {
    int64_t start = 0;  // of the part, in rows of the whole
    for (const WeightSource& part : parts) {
      const int64_t begin = std::max(row0, start), end = std::min(row1, start + part.rows);
      if (begin < end) part.read(begin - start, end - start, out + (begin - row0) * part.columns);
      start += part.rows;
    }
  };
  return whole;
}

}  // namespace smidgen
