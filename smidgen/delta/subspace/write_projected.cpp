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

constexpr std::string_view kPrefix = "base_model.model.", kA = ".lora_A.weight",
                           kB = ".lora_B.weight";

[[noreturn]] void no_plain_lora(const std::string& tensor) {
  throw Error(ErrorKind::unsupported, "only plain LoRA matrices can be projected", tensor,
              "merge it with smidgen export and project the model");
}

// The weight that a lora_B belongs to; empty for a lora_A.
std::string weight_of(const std::string& tensor) {
  if (tensor.starts_with(kPrefix) && tensor.ends_with(kB))
    return tensor.substr(kPrefix.size(), tensor.size() - kPrefix.size() - kB.size()) + ".weight";
  if (!tensor.ends_with(kA)) no_plain_lora(tensor);
  return {};
}

// Columns of the weight that a lora_B belongs to.
int64_t inputs_of(const TensorStore& tensors, const std::string& b) {
  const std::string a = b.substr(0, b.size() - kB.size()) + std::string(kA);
  const TensorView view = tensors.view(a);
  if (view.shape.size() != 2) no_plain_lora(a);
  return view.shape[1];
}

// The bytes of B [m, r], projected, for a weight of n columns.
std::vector<std::byte> projected_b(const std::string& name, const TensorView& view, int64_t n,
                                   const std::string& weight, const std::optional<Delta>& v,
                                   const Subspace& subspace, ProjectionMode mode) {
  if (view.shape.size() != 2) no_plain_lora(name);
  at::Tensor b = at::empty(view.shape, at::kFloat);
  to_f32(view, {b.mutable_data_ptr<float>(), static_cast<size_t>(b.numel())});
  if (!b.isfinite().all().item<bool>())
    throw Error(ErrorKind::data, "the adapter holds NaN or infinity", name);
  if (v && (rows(*v) != b.size(0) || columns(*v) != n))
    throw Error(ErrorKind::mismatch,
                str("the adapter is for a weight of [", b.size(0), ", ", n, "], and this one is [",
                    rows(*v), ", ", columns(*v), "]"),
                weight);
  // Where nothing was aligned there are no directions.
  const LeftBasis basis =
      v ? left_basis(*v) : LeftBasis{.vectors = at::empty({b.size(0), 0}, at::kDouble)};
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
  void release(const SourceTensor& tensor) const override { model_->release(tensor); }

 private:
  at::Tensor change_of(const SourceTensor& tensor) const {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (const auto found = held_.find(tensor.name); found != held_.end()) return found->second;
    }
    const torch::NoGradGuard no_grad;
    const Delta delta = *change_->read(tensor.name);
    const at::Tensor values = tile(delta, 0, rows(delta)).contiguous();
    if (values.numel() != tensor.elements())
      throw Error(ErrorKind::mismatch,
                  str("the update has ", counted(values.numel(), "element"), ", and ", label(), " ",
                      tensor.elements()),
                  tensor.name);
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

// Every tensor is copied, from a source that moves it on the way; linear is never asked to mix.
MergePlan plan_of(const Source& source) {
  MergePlan plan{.method = "linear"};
  for (const SourceTensor& tensor : source.tensors()) {
    PlannedTensor planned{.action = PlannedTensor::Action::copy, .inputs = {{0, tensor.name}}};
    planned.task.tensor = tensor.name;
    planned.task.shape = tensor.shape;
    planned.task.elements = tensor.elements();
    planned.task.columns = tensor.columns();
    planned.task.inputs = 1;
    plan.tensors.push_back(std::move(planned));
  }
  return plan;
}

// Block formats of GGUF files have no place in a folder.
std::vector<Format> formats_of(const Source& source) {
  std::vector<Format> formats;
  for (const SourceTensor& tensor : source.tensors())
    formats.push_back(info(tensor.stored).safetensors.empty() ? Format::f32 : tensor.stored);
  return formats;
}

Json config_of(const Source& source) {
  Json config = source.config();
  for (const SourceTensor& tensor : source.tensors()) {
    if (!info(tensor.stored).safetensors.empty()) continue;
    for (const char* key : {"dtype", "torch_dtype"}) config[key] = "float32";
  }
  return config;
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
      const auto v = alignment.read(weight);
      any = any || v;
      owned.push_back(std::make_unique<std::vector<std::byte>>(
          projected_b(name, view, inputs_of(*adapter.tensors, name), weight, v, subspace, mode)));
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
                       const fs::path& given, const std::function<void(int64_t bytes)>& wrote) {
  const fs::path out =
      fs::absolute(given.filename().empty() ? given.parent_path() : given).lexically_normal();
  check_new_folder(out);
  make_folder(out.parent_path());
  for (const UpdateTensor& tensor : change->tensors()) {
    if (!aligned->find(tensor.name))
      throw Error(ErrorKind::mismatch,
                  str("the fine-tune changes a tensor that ", aligned->label(), " does not store"),
                  tensor.name, "a tied head has to be untied first");
  }
  const auto moved = std::make_shared<MovedSource>(std::move(aligned), std::move(change));
  SMIDGEN_ASSERT(moved->files());
  const UnfinishedFolder unfinished(out.parent_path() /
                                    str(".", out.filename().string(), ".projecting"));
  const fs::path& work = unfinished.path;
  merge_weights(plan_of(*moved), {moved}, work,
                {.formats = formats_of(*moved), .statistics = false, .wrote = wrote});
  write_file(work / "config.json", config_of(*moved).dump(2) + "\n");
  if (const Json& generation = moved->files()->generation_config; !generation.is_null())
    write_file(work / "generation_config.json", generation.dump(2) + "\n");
  write_tokenizer_files(*moved->files(), work);
  sync_tree(work);
  replace_folder(work, out);
}

}  // namespace smidgen
