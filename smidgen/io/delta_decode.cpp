// From the codes of a delta back to numbers.
#include <algorithm>
#include <bit>

#include "smidgen/base/memory.h"
#include "smidgen/base/progress.h"
#include "smidgen/base/threads.h"
#include "smidgen/io/delta_files.h"
#include "smidgen/io/little_endian.h"
#include "smidgen/io/owned_tensors.h"
#include "smidgen/io/quantise.h"

namespace smidgen {

namespace {

// One block's bits, and the loop over the blocks that a range of elements touches.
struct BlockBits {
  std::vector<uint64_t> positive, negative;

  SignSpan read(const SignBlocks& blocks, int64_t block) {
    const auto words = static_cast<size_t>(sign_words(blocks.size(block)));
    positive.assign(words, 0);
    negative.assign(words, 0);
    const SignSpan bits{positive, negative, blocks.size(block)};
    blocks.decode(block, bits);
    return bits;
  }
};

// The kept values in place of their signs, in order.
size_t fill_in(const SignView& bits, const std::byte* values, std::span<float> out) {
  std::fill(out.begin(), out.end(), 0.0f);
  size_t used = 0;
  for (size_t word = 0; word < bits.positive.size(); ++word) {
    for (uint64_t left = bits.positive[word] | bits.negative[word]; left; left &= left - 1) {
      out[word * 64 + static_cast<size_t>(std::countr_zero(left))] =
          load<float>(values + 4 * used++);
    }
  }
  return used;
}

// A small file may unfold to more than there is.
void check_memory(const DeltaFiles& files) {
  int64_t all = 0, largest = 0;
  for (const DeltaTensor& tensor : files.tensors) {
    all += tensor.elements() * info(tensor.format).bytes;
    largest = std::max(largest, tensor.elements() * info(Format::f32).bytes);
  }
  const MemoryRoom room = memory_room();
  if (all + largest <= room.bytes) return;
  throw Error(ErrorKind::resource,
              str("the adapter unfolds to ", bytes_text(all), ", and there is room for ",
                  bytes_text(room.bytes), " (", room.limit, ")"),
              files.path.string());
}

class ExpandedTensors : public OwnedTensors {
 public:
  ExpandedTensors(std::string where, std::shared_ptr<const SafetensorsFile> file)
      : OwnedTensors(std::move(where)), file_(std::move(file)) {}

 private:
  std::shared_ptr<const SafetensorsFile> file_;  // holds the exact ones
};

}  // namespace

TensorDelta::TensorDelta(const DeltaFiles& files, const DeltaTensor& tensor)
    : files_(files), tensor_(tensor) {
  if (files.kind == DeltaKind::values) return;
  signs_ = std::make_unique<SignBlocks>(*files.codec->signs(), files.codes(tensor),
                                        tensor.elements(), files.where(tensor));
  if (files.kind != DeltaKind::sparse) return;
  std::vector<size_t> kept(static_cast<size_t>(signs_->blocks()));
  parallel_for(signs_->blocks(), 1, [&](int64_t begin, int64_t end) {
    BlockBits bits;
    for (int64_t b = begin; b < end; ++b)
      kept[static_cast<size_t>(b)] = static_cast<size_t>(SignView(bits.read(*signs_, b)).kept());
  });
  size_t total = 0;
  for (const size_t some : kept) {
    before_.push_back(total);
    total += some;
  }
  if (total != static_cast<size_t>(tensor.kept)) {
    throw Error(ErrorKind::format,
                str("the codes keep ", total, " values, and delta.json says ", tensor.kept),
                files.where(tensor), "the file is damaged, or was edited");
  }
}

void TensorDelta::read(int64_t begin, std::span<float> out) const {
  SMIDGEN_ASSERT(begin >= 0 && begin + static_cast<int64_t>(out.size()) <= tensor_.elements());
  if (files_.kind == DeltaKind::values) {
    const int64_t columns = tensor_.columns();
    const ValueCodec& codec = *files_.codec->values();
    if (columns == 0) return;
    SMIDGEN_ASSERT(begin % columns == 0);
    const auto stride = static_cast<size_t>(codec.row_bytes(columns));
    const std::byte* row =
        files_.codes(tensor_).data() + static_cast<size_t>(begin / columns) * stride;
    const std::string where = files_.where(tensor_);
    for (; !out.empty(); out = out.subspan(static_cast<size_t>(columns)), row += stride)
      codec.decode(row, out.first(static_cast<size_t>(columns)), where);
    return;
  }
  BlockBits bits;
  std::vector<float> whole;
  while (!out.empty()) {
    const int64_t block = begin / kSignBlock, from = begin - block * kSignBlock;
    const SignSpan read = bits.read(*signs_, block);
    const auto some = std::min(out.size(), static_cast<size_t>(read.count - from));
    const bool all = from == 0 && some == static_cast<size_t>(read.count);
    if (!all) whole.resize(static_cast<size_t>(read.count));
    const std::span<float> target = all ? out.first(some) : std::span(whole);
    if (files_.kind == DeltaKind::sparse) {
      const size_t first = tensor_.first_value + before_[static_cast<size_t>(block)];
      fill_in(read, files_.file->view("values").bytes.data() + 4 * first, target);
    } else {
      read.expand(files_.scale, 0, target);
    }
    if (!all) std::copy_n(whole.begin() + from, some, out.begin());
    out = out.subspan(some);
    begin += static_cast<int64_t>(some);
  }
}

std::shared_ptr<const TensorStore> expand_adapter(const DeltaFiles& files) {
  SMIDGEN_ASSERT(files.adapter);
  check_memory(files);
  auto all = std::make_shared<ExpandedTensors>(files.path.string(), files.file);
  std::vector<float> values;
  for (const DeltaTensor& tensor : files.tensors) {
    values.resize(static_cast<size_t>(tensor.elements()));
    TensorDelta(files, tensor).read(0, values);
    const auto start = static_cast<float>(tensor.start);
    if (start != 0) {
      for (float& value : values) value += start;
    }
    from_f32(tensor.format, values, all->make(tensor.name, tensor.format, tensor.shape),
             tensor.name);
  }
  for (const std::string& name : files.exact) all->add(name, files.exact_tensor(name));
  for (const auto& [name, original] : files.copies) all->add(name, all->view(original));
  return all;
}

}  // namespace smidgen
