#include "smidgen/delta/diff/subject.h"
#include "smidgen/delta/stored_values.h"

namespace smidgen {

namespace {

class StoreSource : public Source {
 public:
  StoreSource(std::string label, std::shared_ptr<const TensorStore> store)
      : label_(std::move(label)), store_(std::move(store)) {
    for (const std::string& name : store_->names()) {
      const TensorView view = store_->view(name);
      tensors_.push_back({name, view.shape, view.format});
    }
  }
  std::string label() const override { return label_; }
  const std::vector<SourceTensor>& tensors() const override { return tensors_; }
  const ModelFiles* files() const override { return nullptr; }
  std::optional<TensorView> stored(const SourceTensor& tensor) const override {
    return store_->view(tensor.name);
  }
  void read(const SourceTensor& tensor, int64_t begin, std::span<float> out) const override {
    read_stored(*store_, tensor.name, begin, out);
  }
  void release(const SourceTensor& tensor) const override {
    store_->release(store_->view(tensor.name).bytes);
  }

 private:
  std::string label_;
  std::shared_ptr<const TensorStore> store_;
  std::vector<SourceTensor> tensors_;
};

}  // namespace

std::shared_ptr<const Source> store_source(std::string label,
                                           std::shared_ptr<const TensorStore> store) {
  return std::make_shared<StoreSource>(std::move(label), std::move(store));
}

}  // namespace smidgen
