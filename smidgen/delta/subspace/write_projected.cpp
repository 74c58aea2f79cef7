#include "smidgen/delta/subspace/write_projected.h"

#include <map>
#include <mutex>

#include <torch/torch.h>

#include "smidgen/base/error.h"
#include "smidgen/base/unfinished_folder.h"
#include "smidgen/convert/hf_folder.h"
#include "smidgen/delta/merge/merge_models.h"
#include "smidgen/io/dequantise.h"
#include "smidgen/io/quantise.h"

namespace smidgen {

namespace {

constexpr std::string_view kPrefix = "base_model.model.", kB = ".lora_B.weight";

[[noreturn]] void no_plain_lora(const std::string& tensor) {
  throw Error(ErrorKind::unsupported, "only plain LoRA matrices can be projected", tensor,
              "merge it with smidgen export and project the model");
}

// The weight that a lora_B belongs to; empty for a lora_A.
std::string weight_of(const std::string& tensor) {
  if (tensor.starts_with(kPrefix) && tensor.ends_with(kB))
    return tensor.substr(kPrefix.size(), tensor.size() - kPrefix.size() - kB.size()) + ".weight";
  if (!tensor.ends_with(".lora_A.weight")) no_plain_lora(tensor);
  return {};
}

// The bytes of B, projected.
std::vector<std::byte> projected_b(const std::string& name, const TensorView& view,
                                   const std::string& weight, const Delta& v,
                                   const Subspace& subspace, ProjectionMode mode) {
  at::Tensor b = at::empty(view.shape, at::kFloat);
  to_f32(view, {b.mutable_data_ptr<float>(), static_cast<size_t>(b.numel())});
  if (b.dim() != 2) no_plain_lora(name);
  const LeftBasis basis = left_basis(v);
  if (basis.rows() != b.size(0))
    throw Error(ErrorKind::mismatch,
                str("the adapter writes ", b.size(0), " rows, and the weight has ", basis.rows()),
                weight);
  const int64_t n = tile(v, 0, 1).size(1);
  const Delta moved = project(directions(basis, n, subspace, weight), DenseDelta{b}, mode);
  const at::Tensor values = std::get<DenseDelta>(moved).values.contiguous();
  std::vector<std::byte> bytes(view.bytes.size());
  from_f32(view.format, {values.const_data_ptr<float>(), static_cast<size_t>(values.numel())},
           bytes, name);
  return bytes;
}

// A model moved by an update, as it is read.
class MovedSource : public Source {
 public:
  MovedSource(std::shared_ptr<const Source> model, std::shared_ptr<const Update> change)
      : model_(std::move(model)), change_(std::move(change)) {}
  std::string label() const override { return model_->label(); }
  const std::vector<SourceTensor>& tensors() const override { return model_->tensors(); }
  const ModelFiles* files() const override { return model_->files(); }
  Json config() const override { return model_->config(); }
  std::optional<TensorView> stored(const SourceTensor& tensor) const override {
    return change_->find(tensor.name) ? std::nullopt : model_->stored(tensor);
  }
  void read(const SourceTensor& tensor, int64_t begin, std::span<float> out) const override {
    model_->read(tensor, begin, out);
    if (!change_->find(tensor.name)) return;
    const at::Tensor p = change_of(tensor);
    const float* values = p.const_data_ptr<float>() + begin;
    for (size_t i = 0; i < out.size(); ++i) out[i] += values[i];
    // Read from front to back, once.
    if (begin + static_cast<int64_t>(out.size()) == tensor.elements()) forget(tensor.name);
  }
  void release(const SourceTensor& tensor, int64_t begin, int64_t count) const override {
    model_->release(tensor, begin, count);
  }

 private:
  at::Tensor change_of(const SourceTensor& tensor) const {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (const auto found = held_.find(tensor.name); found != held_.end()) return found->second;
    }
    const torch::NoGradGuard no_grad;
    const Delta delta = *change_->read(tensor.name);
    const at::Tensor values = tile(delta, 0, rows(delta)).contiguous();
    SMIDGEN_ASSERT(values.numel() == tensor.elements());
    const std::lock_guard<std::mutex> lock(mutex_);
    return held_[tensor.name] = values;
  }
  void forget(const std::string& name) const {
    const std::lock_guard<std::mutex> lock(mutex_);
    held_.erase(name);
  }

  std::shared_ptr<const Source> model_;
  std::shared_ptr<const Update> change_;
  mutable std::mutex mutex_;
  mutable std::map<std::string, at::Tensor> held_;
};

MergePlan plan_of(const Source& source) {
  MergePlan plan{.method = "linear", .models = {source.label()}};
  for (const SourceTensor& tensor : source.tensors()) {
    PlannedTensor planned{.copy = PlannedInput{0, tensor.name}};
    planned.task.tensor = tensor.name;
    planned.task.shape = tensor.shape;
    planned.task.elements = tensor.elements();
    planned.task.columns = tensor.columns();
    planned.format = info(tensor.stored).safetensors.empty() ? Format::f32 : tensor.stored;
    plan.tensors.push_back(std::move(planned));
  }
  return plan;
}

}  // namespace

void write_projected_adapter(const AdapterFiles& adapter, const Update& alignment,
                             const Subspace& subspace, ProjectionMode mode, const fs::path& out) {
  if (const auto turned = adapter.config.find("fan_in_fan_out");
      turned != adapter.config.end() && *turned == true)
    throw Error(ErrorKind::unsupported, "matrices of [in, out] have their outputs in the columns",
                (adapter.path / "adapter_config.json").string(),
                "merge it with smidgen export and project the model");
  std::vector<NamedTensor> tensors;
  std::vector<std::unique_ptr<std::vector<std::byte>>> owned;
  bool any = false;
  for (const std::string& name : adapter.tensors->names()) {
    TensorView view = adapter.tensors->view(name);
    if (const std::string weight = weight_of(name); !weight.empty()) {
      auto v = alignment.read(weight);
      any = any || v;
      // Where nothing was aligned there are no directions.
      if (!v) v = DenseDelta{at::zeros({view.shape.front(), 1})};
      owned.push_back(std::make_unique<std::vector<std::byte>>(
          projected_b(name, view, weight, *v, subspace, mode)));
      view.bytes = *owned.back();
    }
    tensors.push_back({name, view});
  }
  if (!any)
    throw Error(ErrorKind::mismatch, "the alignment has none of the adapter's sites",
                adapter.path.string());
  write_adapter(out, adapter.config, tensors, adapter.sidecar);
}

void write_moved_model(std::shared_ptr<const Source> aligned, std::shared_ptr<const Update> change,
                       const fs::path& out, const std::function<void(int64_t bytes)>& wrote) {
  check_new_folder(out);
  const auto moved = std::make_shared<MovedSource>(std::move(aligned), std::move(change));
  SMIDGEN_ASSERT(moved->files());
  const fs::path whole = fs::absolute(out).lexically_normal();
  const UnfinishedFolder unfinished(whole.parent_path() /
                                    str(".", whole.filename().string(), ".projecting"));
  const fs::path& work = unfinished.path;
  merge_weights(plan_of(*moved), {moved}, work, {.statistics = false, .wrote = wrote});
  write_file(work / "config.json", moved->config().dump(2) + "\n");
  if (const Json& generation = moved->files()->generation_config; !generation.is_null())
    write_file(work / "generation_config.json", generation.dump(2) + "\n");
  write_tokenizer_files(*moved->files(), work);
  sync_tree(work);
  replace_folder(work, whole);
}

}  // namespace smidgen
