#include "smidgen/delta/merge/row_mapped.h"

#include <algorithm>

#include "smidgen/base/error.h"
#include "smidgen/base/sha256.h"

namespace smidgen {

namespace {

int64_t width_of(const SourceTensor& tensor) {
  return tensor.shape[0] == 0 ? 0 : tensor.elements() / tensor.shape[0];
}

}  // namespace

bool RowPlan::is_identity(int64_t count) const {
  if (count != size()) return false;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows[i] != static_cast<int32_t>(i)) return false;
  }
  return true;
}

struct RowMapped::State {
  MappedTensor mapped;
  int64_t width = 0;
  bool identity = false;
  mutable std::once_flag mean_once, all_once;
  mutable std::vector<float> mean;
  // A bias, whole: its source need not give single elements of it.
  mutable std::vector<float> all;

  bool is_bias() const { return mapped.shown.shape.size() == 1; }

  void part_rows(size_t part, int64_t row, std::span<float> out) const {
    const MappedTensor::Part& from = mapped.parts[part];
    from.source->read(*from.tensor, row * width, out);
  }

  // Rows [begin, end), none of them a mean.
  void plain_rows(int64_t begin, int64_t end, float* out) const {
    const std::vector<int32_t>& rows = mapped.plan->rows;
    for (int64_t at = begin; at < end;) {
      const int32_t old = rows[static_cast<size_t>(at)];
      if (old == RowPlan::kShares) {
        sum_row(at, {out + (at - begin) * width, static_cast<size_t>(width)});
        ++at;
        continue;
      }
      int64_t next = at + 1;
      while (next < end && rows[static_cast<size_t>(next)] == old + (next - at)) ++next;
      part_rows(0, old, {out + (at - begin) * width, static_cast<size_t>((next - at) * width)});
      at = next;
    }
  }

  void sum_row(int64_t row, std::span<float> out) const {
    const RowPlan& plan = *mapped.plan;
    const auto at = static_cast<size_t>(row);
    const RowShare* share = plan.first.empty() ? nullptr : plan.shares.data() + plan.first[at];
    const RowShare* last = plan.first.empty() ? nullptr : plan.shares.data() + plan.first[at + 1];
    if (last - share == 1 && share->weight == 1) return part_rows(share->part, share->row, out);
    std::fill(out.begin(), out.end(), 0.f);
    std::vector<float> one(out.size());
    for (; share != last; ++share) {
      part_rows(share->part, share->row, one);
      for (size_t k = 0; k < one.size(); ++k) out[k] += share->weight * one[k];
    }
  }

  // Visits the stretches without a mean.
  template <class Visit>
  void for_plain(int64_t begin, int64_t end, Visit&& visit) const {
    const std::vector<int32_t>& rows = mapped.plan->rows;
    for (int64_t at = begin; at < end;) {
      int64_t next = at;
      while (next < end && rows[static_cast<size_t>(next)] != RowPlan::kMean) ++next;
      if (next > at) visit(at, next);
      at = next == at ? at + 1 : next;
    }
  }

  const std::vector<float>& mean_row() const {
    std::call_once(mean_once, [&] {
      std::vector<double> sums(static_cast<size_t>(width));
      int64_t count = 0;
      const int64_t block = std::max<int64_t>(1, (int64_t{1} << 18) / std::max<int64_t>(1, width));
      std::vector<float> values(static_cast<size_t>(block * width));
      for_plain(0, mapped.plan->size(), [&](int64_t first, int64_t last) {
        for (int64_t at = first; at < last; at += block) {
          const int64_t end = std::min(last, at + block);
          plain_rows(at, end, values.data());
          for (int64_t row = 0; row < end - at; ++row) {
            const float* value = values.data() + row * width;
            for (int64_t k = 0; k < width; ++k) sums[static_cast<size_t>(k)] += value[k];
          }
          count += end - at;
        }
      });
      mean.resize(sums.size());
      for (size_t k = 0; k < sums.size(); ++k)
        mean[k] = count ? static_cast<float>(sums[k] / static_cast<double>(count)) : 0.f;
    });
    return mean;
  }

  void read_rows(int64_t begin, int64_t end, float* out) const {
    for_plain(begin, end, [&](int64_t first, int64_t last) {
      plain_rows(first, last, out + (first - begin) * width);
    });
    for (int64_t row = begin; row < end; ++row) {
      if (mapped.plan->rows[static_cast<size_t>(row)] != RowPlan::kMean) continue;
      const std::vector<float>& values = mean_row();
      std::copy(values.begin(), values.end(), out + (row - begin) * width);
    }
  }

  const std::vector<float>& whole_bias() const {
    std::call_once(all_once, [&] {
      std::vector<std::vector<float>> from;
      for (const MappedTensor::Part& part : mapped.parts) {
        from.emplace_back(static_cast<size_t>(part.tensor->elements()));
        part.source->read(*part.tensor, 0, from.back());
      }
      const RowPlan& plan = *mapped.plan;
      all.resize(plan.rows.size());
      double sum = 0;
      int64_t count = 0;
      for (size_t i = 0; i < all.size(); ++i) {
        if (plan.rows[i] == RowPlan::kMean) continue;
        if (plan.rows[i] >= 0) {
          all[i] = from[0][static_cast<size_t>(plan.rows[i])];
        } else if (!plan.first.empty()) {
          for (uint32_t s = plan.first[i]; s < plan.first[i + 1]; ++s)
            all[i] += plan.shares[s].weight *
                      from[plan.shares[s].part][static_cast<size_t>(plan.shares[s].row)];
        }
        sum += all[i];
        ++count;
      }
      for (size_t i = 0; i < all.size(); ++i) {
        if (plan.rows[i] == RowPlan::kMean)
          all[i] = count ? static_cast<float>(sum / static_cast<double>(count)) : 0.f;
      }
    });
    return all;
  }
};

RowMapped::RowMapped(std::shared_ptr<const Source> model, std::vector<MappedTensor> mapped)
    : model_(std::move(model)), tensors_(model_->tensors()) {
  for (MappedTensor& each : mapped) {
    const std::string name = each.shown.name;
    SMIDGEN_ASSERT(!each.parts.empty() && !each.shown.shape.empty());
    const RowPlan& plan = *each.plan;
    SMIDGEN_ASSERT(plan.size() == each.shown.shape[0]);
    auto state = std::make_unique<State>();
    state->width = width_of(each.shown);
    for (const MappedTensor::Part& part : each.parts) {
      if (part.tensor->shape.size() != each.shown.shape.size() ||
          !std::equal(part.tensor->shape.begin() + 1, part.tensor->shape.end(),
                      each.shown.shape.begin() + 1))
        throw Error(
            ErrorKind::mismatch,
            str(part.tensor->name, " of ", part.source->label(), " has the shape ",
                shape_str(part.tensor->shape), ", ", name, " of ", model_->label(), " ",
                shape_str(each.parts[0].tensor->shape), ": only the first number may differ"),
            name);
    }
    const auto outside = [&](size_t part, int64_t row) {
      const int64_t rows = each.parts[part].tensor->shape[0];
      if (row < rows) return;
      throw Error(ErrorKind::mismatch,
                  str("row ", row, " is needed, and ", each.parts[part].source->label(), " has ",
                      rows, " rows there"),
                  each.parts[part].tensor->name);
    };
    for (const int32_t row : plan.rows) outside(0, row);
    for (const RowShare& share : plan.shares) {
      SMIDGEN_ASSERT(share.part < each.parts.size() && share.row >= 0);
      outside(share.part, share.row);
    }
    state->identity = plan.is_identity(each.parts[0].tensor->shape[0]);
    const auto at = std::find_if(tensors_.begin(), tensors_.end(),
                                 [&](const SourceTensor& tensor) { return tensor.name == name; });
    if (at == tensors_.end()) {
      tensors_.push_back(each.shown);
    } else {
      *at = each.shown;
    }
    state->mapped = std::move(each);
    states_.emplace(name, std::move(state));
  }
}

RowMapped::~RowMapped() = default;

const RowMapped::State* RowMapped::find_state(const std::string& name) const {
  const auto at = states_.find(name);
  return at == states_.end() ? nullptr : at->second.get();
}

// Sources may know their tensors by address.
const SourceTensor& RowMapped::original(const SourceTensor& tensor) const {
  const auto at = static_cast<size_t>(&tensor - tensors_.data());
  if (at < model_->tensors().size()) return model_->tensors()[at];
  const SourceTensor* found = model_->find(tensor.name);
  SMIDGEN_ASSERT(found);
  return *found;
}

void RowMapped::read(const SourceTensor& tensor, int64_t begin, std::span<float> out) const {
  const State* state = find_state(tensor.name);
  if (!state) return model_->read(original(tensor), begin, out);
  const auto count = static_cast<int64_t>(out.size());
  SMIDGEN_ASSERT(begin >= 0 && begin + count <= state->mapped.shown.elements());
  if (state->is_bias()) {
    std::copy_n(state->whole_bias().begin() + begin, count, out.begin());
    return;
  }
  if (count == 0) return;
  SMIDGEN_ASSERT(begin % state->width == 0 && count % state->width == 0);
  state->read_rows(begin / state->width, (begin + count) / state->width, out.data());
}

std::optional<TensorView> RowMapped::stored(const SourceTensor& tensor) const {
  const State* state = find_state(tensor.name);
  if (!state) return model_->stored(original(tensor));
  if (!state->identity) return {};
  return state->mapped.parts[0].source->stored(*state->mapped.parts[0].tensor);
}

void RowMapped::release(const SourceTensor& tensor) const {
  const State* state = find_state(tensor.name);
  if (!state) return model_->release(original(tensor));
  if (!state->identity) return;
  const MappedTensor::Part& own = state->mapped.parts[0];
  own.source->release(*own.tensor);
}

std::string RowMapped::row_digest() const {
  Sha256 sum;
  for (const auto& [name, state] : states_) {
    const MappedTensor& mapped = state->mapped;
    sum.update(str(name, "\n", mapped.plan->size(), "\n"));
    for (const MappedTensor::Part& part : mapped.parts)
      sum.update(str(part.source->label(), "\n", part.tensor->name, "\n"));
    sum.update(std::as_bytes(std::span(mapped.plan->rows)));
    sum.update(std::as_bytes(std::span(mapped.plan->first)));
    sum.update(std::as_bytes(std::span(mapped.plan->shares)));
  }
  return sum.hex();
}

}  // namespace smidgen
