#include "smidgen/delta/source.h"

#include <cstring>

#include <ATen/core/Tensor.h>
#include <c10/core/InferenceMode.h>

#include "smidgen/base/error.h"
#include "smidgen/delta/stored_values.h"
#include "smidgen/methods/merge.h"
#include "smidgen/methods/open_model.h"

namespace smidgen {

namespace {

// A folder's tensors by the names in its files: no family needs to know them.
class FolderSource : public Source {
 public:
  FolderSource(std::string label, ModelFiles files)
      : label_(std::move(label)), files_(std::move(files)) {
    for (const std::string& name : files_.tensors->names()) {
      const TensorView view = files_.tensors->view(name);
      tensors_.push_back({name, view.shape, view.format});
    }
  }

  std::string label() const override { return label_; }
  const std::vector<SourceTensor>& tensors() const override { return tensors_; }
  const ModelFiles* files() const override { return &files_; }
  Json config() const override { return files_.config; }

  void read(const SourceTensor& tensor, int64_t begin, std::span<float> out) const override {
    read_stored(*files_.tensors, tensor.name, begin, out);
  }
  std::optional<TensorView> stored(const SourceTensor& tensor) const override {
    return files_.tensors->view(tensor.name);
  }
  void release(const SourceTensor& tensor) const override {
    files_.tensors->release(files_.tensors->view(tensor.name).bytes);
  }

 private:
  std::string label_;
  ModelFiles files_;
  std::vector<SourceTensor> tensors_;
};

// A model that a family reads: a GGUF file, or a base with adapters, whose sums are made as they
// are read.
class ModelSource : public Source {
 public:
  ModelSource(std::string label, bool allow_other_base) : label_(std::move(label)) {
    ModelChoice choice;
    choice.model = label_;
    choice.allow_other_base = allow_other_base;
    loaded_ = open_detached(choice, {.dtype = "fp32", .base_format = "stored"});
    if (!loaded_.mix.empty()) merge(*loaded_.model, *loaded_.adapters, loaded_.mix);
    rows_ = loaded_.model->tensors();
    for (const ModelTensor& tensor : rows_)
      tensors_.push_back({tensor.name, tensor.shape, tensor.stored});
  }

  std::string label() const override { return label_; }
  const std::vector<SourceTensor>& tensors() const override { return tensors_; }
  const ModelFiles* files() const override { return &loaded_.files; }
  Json config() const override { return loaded_.model->config(); }

  void read(const SourceTensor& tensor, int64_t begin, std::span<float> out) const override {
    const c10::InferenceMode no_grad;
    const ModelTensor& from = rows_[static_cast<size_t>(&tensor - tensors_.data())];
    const int64_t width = from.shape.size() > 1 ? tensor.columns() : 1;
    const int64_t row0 = begin / width;
    const int64_t row1 = (begin + static_cast<int64_t>(out.size()) + width - 1) / width;
    const at::Tensor rows = from.rows(row0, row1).contiguous();
    std::memcpy(out.data(), rows.const_data_ptr<float>() + (begin - row0 * width),
                out.size() * sizeof(float));
  }
  std::optional<TensorView> stored(const SourceTensor&) const override { return std::nullopt; }
  void release(const SourceTensor&) const override {}

 private:
  std::string label_;
  LoadedModel loaded_;
  std::vector<ModelTensor> rows_;
  std::vector<SourceTensor> tensors_;
};

}  // namespace

Source::~Source() = default;

int64_t SourceTensor::elements() const {
  int64_t product = 1;
  for (const int64_t size : shape) product *= size;
  return product;
}

int64_t SourceTensor::columns() const {
  return shape.empty() ? 1 : shape.back();
}

const SourceTensor* Source::find(const std::string& name) const {
  for (const SourceTensor& tensor : tensors()) {
    if (tensor.name == name) return &tensor;
  }
  return nullptr;
}

std::shared_ptr<const Source> open_source(const std::string& spec, bool allow_other_base) {
  ModelFiles files = open_model(spec);
  if (files.kind == ModelFiles::Kind::folder && files.adapters.empty())
    return std::make_shared<FolderSource>(spec, std::move(files));
  return std::make_shared<ModelSource>(spec, allow_other_base);
}

}  // namespace smidgen
