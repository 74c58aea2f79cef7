#include "smidgen/delta/compress/decompress.h"

#include <algorithm>
#include <map>
#include <unistd.h>

#include "smidgen/base/threads.h"
#include "smidgen/base/unfinished_folder.h"
#include "smidgen/delta/compress/flat_vector.h"
#include "smidgen/io/adapter_files.h"
#include "smidgen/io/dequantise.h"
#include "smidgen/io/model_files.h"
#include "smidgen/io/quantise.h"

namespace smidgen {

namespace {

// Whole rows, and whole blocks of the codes where rows are short.
constexpr int64_t kPiece = 8 * kSignBlock;

class Restorer {
 public:
  Restorer(const DeltaFiles& delta, const ModelFiles& base) : delta_(delta), base_(base) {
    for (const DeltaTensor& tensor : delta.tensors) tensors_[tensor.name] = &tensor;
    for (const std::string& name : delta.exact) exact_.push_back(name);
    std::sort(exact_.begin(), exact_.end());
    for (const auto& [name, tensor] : tensors_) check(name, tensor->shape);
    for (const auto& [name, original] : delta.copies) {
      check(name, {});
      if (!tensors_.count(original)) {
        throw Error(ErrorKind::format,
                    str("'", name, "' is said to equal '", original, "', which is not there"),
                    (delta.path / "delta.json").string());
      }
    }
  }

  TensorSpec spec(const std::string& name) const {
    if (const DeltaTensor* tensor = find(name)) return {name, tensor->format, tensor->shape};
    const TensorView view = kept(name);
    return {name, view.format, view.shape};
  }

  void write(const std::string& name, SafetensorsWriter& out) const {
    const DeltaTensor* tensor = find(name);
    if (!tensor) return out.append(name, kept(name).bytes);
    const TensorDelta difference(delta_, *tensor);
    const TensorView from = base_.tensors->view(tensor->name);
    const int64_t columns = std::max<int64_t>(1, tensor->columns());
    const int64_t step = delta_.kind == DeltaKind::values
                             ? std::max<int64_t>(1, kPiece / columns) * columns
                             : kPiece;
    const int64_t size = info(from.format).bytes;
    std::vector<float> values, base;
    std::vector<std::byte> bytes;
    for (int64_t begin = 0; begin < tensor->elements(); begin += step) {
      const int64_t count = std::min(step, tensor->elements() - begin);
      values.resize(static_cast<size_t>(count));
      base.resize(values.size());
      bytes.resize(values.size() * static_cast<size_t>(info(tensor->format).bytes));
      const int64_t unit = delta_.kind == DeltaKind::values ? columns : kSignBlock;
      parallel_for(
          (count + unit - 1) / unit, std::max<int64_t>(1, kSignBlock / unit),
          [&](int64_t first, int64_t last) {
            const int64_t at = first * unit, some = std::min(count, last * unit) - at;
            const auto part = [&](auto& all) {
              return std::span(all).subspan(static_cast<size_t>(at), static_cast<size_t>(some));
            };
            difference.read(begin + at, part(values));
            to_f32(from.format, from.bytes.data() + (begin + at) * size, some, base.data() + at);
            for (int64_t i = at; i < at + some; ++i)
              values[static_cast<size_t>(i)] += base[static_cast<size_t>(i)];
            const auto width = static_cast<size_t>(info(tensor->format).bytes);
            from_f32(tensor->format, part(values),
                     std::span(bytes).subspan(static_cast<size_t>(at) * width,
                                              static_cast<size_t>(some) * width),
                     tensor->name);
          });
      base_.tensors->release(
          from.bytes.subspan(static_cast<size_t>(begin * size), static_cast<size_t>(count * size)));
      out.append(name, bytes);
    }
  }

 private:
  const DeltaTensor* find(const std::string& name) const {
    const auto copy = delta_.copies.find(name);
    const auto found = tensors_.find(copy == delta_.copies.end() ? name : copy->second);
    return found == tensors_.end() ? nullptr : found->second;
  }

  TensorView kept(const std::string& name) const {
    return std::binary_search(exact_.begin(), exact_.end(), name) ? delta_.exact_tensor(name)
                                                                  : base_.tensors->view(name);
  }

  void check(const std::string& name, const std::vector<int64_t>& shape) const {
    const std::vector<int64_t> own = base_.tensors->view(name).shape;  // throws where it is absent
    if (!shape.empty() && own != shape) {
      throw Error(ErrorKind::mismatch,
                  str("the delta is of shape ", shape_str(shape), ", the base's tensor of ",
                      shape_str(own)),
                  delta_.where(*tensors_.at(name)), "it was made from another base");
    }
    const FormatInfo& format = info(base_.tensors->view(name).format);
    if (format.elements != 1 || !format.readable) {
      throw Error(ErrorKind::unsupported, str("a base tensor of ", format.name),
                  str(base_.tensors->where(), ", tensor '", name, "'"));
    }
  }

  const DeltaFiles& delta_;
  const ModelFiles& base_;
  std::map<std::string, const DeltaTensor*> tensors_;
  std::vector<std::string> exact_;
};

void check_free(const fs::path& out) {
  std::error_code ignored;
  if (path_exists(out) && (!fs::is_directory(out, ignored) || !fs::is_empty(out, ignored)))
    throw Error(ErrorKind::usage, "the folder exists and is not empty", out.string(),
                "choose another name, or remove it first");
}

}  // namespace

void decompress_adapter(const DeltaFiles& delta, const fs::path& out) {
  if (!delta.adapter) {
    throw Error(ErrorKind::usage, "the delta is that of a model", delta.path.string(),
                "name the model that it was made from: --base");
  }
  check_free(out);
  const AdapterFiles files = read_adapter(delta.path);
  std::vector<NamedTensor> tensors;
  for (const std::string& name : files.tensors->names())
    tensors.push_back({name, files.tensors->view(name)});
  Json sidecar = files.sidecar.is_null() ? Json::object() : files.sidecar;
  sidecar["decompressed"] = true;
  write_adapter(out, files.config, tensors, sidecar);
}

void decompress_model(const DeltaFiles& delta, const std::string& base_spec, const fs::path& given,
                      bool allow_other) {
  if (delta.adapter) {
    throw Error(ErrorKind::usage, "the delta is that of an adapter, which needs no base",
                delta.path.string(), "leave out --base");
  }
  const fs::path out = given.filename().empty() ? given.parent_path() : given;
  check_free(out);
  const ModelFiles base = open_model(base_spec);
  if (base.kind != ModelFiles::Kind::folder || !base.adapters.empty()) {
    throw Error(ErrorKind::unsupported, "the base of a delta is a model folder",
                base.path.string());
  }
  if (!allow_other && base.digest() != delta.base) {
    throw Error(ErrorKind::mismatch,
                str("the delta was made from a base with digest ", delta.base, ", this one has ",
                    base.digest()),
                base.path.string(), "use that base, or --allow-other-base");
  }
  const Restorer restorer(delta, base);
  std::vector<TensorSpec> specs;
  for (const std::string& name : base.tensors->names()) specs.push_back(restorer.spec(name));
  if (out.has_parent_path()) make_folder(out.parent_path());
  const UnfinishedFolder temporary(out.parent_path() /
                                   str(".", out.filename().string(), ".tmp-", ::getpid()));
  for (const std::string& name : model_texts(base.path))
    write_file(temporary.path / name, read_file(base.path / name));
  if (path_exists(delta.path / "files")) {
    for (const std::string& name : model_texts(delta.path / "files"))
      write_file(temporary.path / name, read_file(delta.path / "files" / name));
  }
  SafetensorsWriter writer(temporary.path / "model.safetensors", specs);
  for (const TensorSpec& spec : std::vector<TensorSpec>(writer.order()))
    restorer.write(spec.name, writer);
  writer.commit();
  sync_tree(temporary.path);
  replace_folder(temporary.path, out);
}

}  // namespace smidgen
