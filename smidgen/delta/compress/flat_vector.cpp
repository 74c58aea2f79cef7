#include "smidgen/delta/compress/flat_vector.h"

#include <algorithm>
#include <cstring>

#include "smidgen/io/adapter_files.h"
#include "smidgen/io/delta_files.h"
#include "smidgen/io/dequantise.h"
#include "smidgen/io/model_files.h"
#include "smidgen/io/quantise.h"

namespace smidgen {

namespace {

bool same_bytes(const TensorView& a, const TensorView& b) {
  return a.format == b.format && a.shape == b.shape &&
         std::equal(a.bytes.begin(), a.bytes.end(), b.bytes.begin(), b.bytes.end());
}

bool all_equal(const FlatVector& vector, size_t tensor) {
  const FlatTensor& t = vector.tensors[tensor];
  std::vector<float> values;
  constexpr int64_t kPiece = 1 << 14;
  for (int64_t begin = 0; begin < t.elements(); begin += kPiece) {
    const int64_t count = std::min(kPiece, t.elements() - begin);
    values.resize(static_cast<size_t>(count));
    vector.read({tensor, begin, count}, values);
    for (const float value : values) {
      if (value != 0) return false;  // NaN differs too
    }
  }
  return true;
}

void check_format(const TensorView& view, const std::string& name, const std::string& where) {
  const FormatInfo& format = info(view.format);
  if (format.elements == 1 && writable(view.format)) return;
  throw Error(ErrorKind::unsupported,
              str("a tensor of ", format.name, " cannot be compressed, nor restored"),
              str(where, ", tensor '", name, "'"), "fp32, bf16 and fp16 can");
}

// Leaves out what does not move, and says so in `unmoved`.
void drop_unmoved(FlatVector& vector) {
  std::vector<FlatTensor> moved;
  for (size_t i = 0; i < vector.tensors.size(); ++i) {
    FlatTensor& tensor = vector.tensors[i];
    if (!all_equal(vector, i)) {
      moved.push_back(std::move(tensor));
      continue;
    }
    vector.unmoved.push_back(tensor.name);
    // An adapter has no base to take it from.
    if (vector.adapter) vector.exact.push_back({tensor.name, tensor.tuned});
  }
  vector.tensors = std::move(moved);
  if (vector.tensors.empty()) {
    throw Error(ErrorKind::data, "nothing moved: every value equals the one that it started from",
                vector.stores.back()->where(), "is it trained?");
  }
  std::sort(vector.tensors.begin(), vector.tensors.end(),
            [](const FlatTensor& a, const FlatTensor& b) { return a.name < b.name; });
}

bool is_factor(const std::string& name) {
  for (const char* part : {".lora_A.", ".lora_B.", ".lora_embedding_A", ".lora_embedding_B"}) {
    if (name.find(part) != std::string::npos) return true;
  }
  return false;
}

}  // namespace

int64_t FlatVector::elements() const {
  int64_t total = 0;
  for (const FlatTensor& tensor : tensors) total += tensor.elements();
  return total;
}

void FlatVector::read(const FlatPiece& piece, std::span<float> out) const {
  const FlatTensor& tensor = tensors[piece.tensor];
  const auto at = [&](const TensorView& view) {
    return view.bytes.data() + piece.begin * info(view.format).bytes;
  };
  to_f32(tensor.tuned.format, at(tensor.tuned), piece.count, out.data());
  if (tensor.base.bytes.empty()) {
    const auto start = static_cast<float>(tensor.start);
    if (start == 0 && tensor.factor == 1) return;
    for (float& value : out) value = (value - start) * tensor.factor;
    return;
  }
  constexpr int64_t kSome = 1 << 12;
  float base[kSome];
  const int64_t size = info(tensor.base.format).bytes;
  for (int64_t begin = 0; begin < piece.count; begin += kSome) {
    const int64_t count = std::min(kSome, piece.count - begin);
    to_f32(tensor.base.format, at(tensor.base) + begin * size, count, base);
    float* const __restrict values = out.data() + begin;
    for (int64_t i = 0; i < count; ++i) values[i] -= base[i];
  }
}

std::span<const float> FlatVector::values(const FlatPiece& piece,
                                          std::vector<float>& buffer) const {
  const FlatTensor& tensor = tensors[piece.tensor];
  const auto count = static_cast<size_t>(piece.count);
  const std::byte* const at = tensor.tuned.bytes.data() + piece.begin * 4;
  if (tensor.tuned.format == Format::f32 && tensor.base.bytes.empty() && tensor.start == 0 &&
      tensor.factor == 1 && reinterpret_cast<uintptr_t>(at) % alignof(float) == 0)
    return {reinterpret_cast<const float*>(at), count};
  if (buffer.size() < count) buffer.resize(count);
  const std::span<float> out = std::span(buffer).first(count);
  read(piece, out);
  return out;
}

void FlatVector::release(const FlatPiece& piece) const {
  if (adapter) return;
  const FlatTensor& tensor = tensors[piece.tensor];
  const auto let_go = [&](const TensorStore& store, const TensorView& view) {
    const auto size = static_cast<size_t>(info(view.format).bytes);
    store.release(view.bytes.subspan(static_cast<size_t>(piece.begin) * size,
                                     static_cast<size_t>(piece.count) * size));
  };
  let_go(*stores[0], tensor.base);
  let_go(*stores[1], tensor.tuned);
}

std::vector<FlatPiece> FlatVector::pieces(int64_t size) const {
  std::vector<FlatPiece> all;
  for (size_t i = 0; i < tensors.size(); ++i) {
    for (int64_t begin = 0; begin < tensors[i].elements(); begin += size)
      all.push_back({i, begin, std::min(size, tensors[i].elements() - begin)});
  }
  return all;
}

FlatVector adapter_vector(const fs::path& given) {
  const fs::path folder = find_adapter(given);
  if (is_delta(folder)) {
    throw Error(ErrorKind::usage, "this is compressed already", folder.string(),
                "compress the original");
  }
  const AdapterFiles files = read_adapter(folder);
  FlatVector vector;
  vector.adapter_config = files.config;
  vector.sidecar = files.sidecar;
  vector.stores.push_back(files.tensors);
  const std::string type = files.config["peft_type"].get<std::string>();
  if (type != "LORA" && type != "IA3") {
    throw Error(ErrorKind::unsupported, str("an adapter of type ", type, " cannot be compressed"),
                (folder / "adapter_config.json").string(),
                "LORA and IA3 can: for them it is known what values start from");
  }
  if (files.sidecar.is_object() && files.sidecar.contains("decompressed")) {
    throw Error(ErrorKind::usage, "the adapter was compressed once, and is what came of it",
                folder.string(),
                "compress the original: a second pass takes the scale of the "
                "first for the spread of the values");
  }
  for (const std::string& name : files.tensors->names()) {
    const TensorView view = files.tensors->view(name);
    vector.source_bytes += view.bytes.size();
    const bool compressed =
        type == "IA3" ? name.find(".ia3_l") != std::string::npos : is_factor(name);
    if (!compressed) {
      vector.exact.push_back({name, view});
      continue;
    }
    check_format(view, name, files.tensors->where());
    vector.tensors.push_back({name, view, {}, type == "IA3" ? 1.0 : 0.0});
  }
  if (vector.tensors.empty()) {
    throw Error(ErrorKind::data, str("the adapter has no tensors of ", type), folder.string());
  }
  drop_unmoved(vector);
  return vector;
}

FlatVector model_vector(const std::string& base_spec, const std::string& tuned_spec) {
  const ModelFiles base = open_model(base_spec), tuned = open_model(tuned_spec);
  for (const ModelFiles* files : {&base, &tuned}) {
    if (files->kind != ModelFiles::Kind::folder || !files->adapters.empty()) {
      throw Error(ErrorKind::unsupported, "the difference of models is taken between two folders",
                  files->path.string(),
                  "export makes a folder of a GGUF file or of a model with adapters");
    }
  }
  FlatVector vector;
  vector.adapter = false;
  vector.base_digest = base.digest();
  vector.adapter_config = {{"peft_type", kModelDeltaType}, {"base_model_name_or_path", base_spec}};
  vector.sidecar = {{"base_digest", vector.base_digest}};
  vector.stores = {base.tensors, tuned.tensors};
  const std::string where = tuned.tensors->where();
  for (const std::string& name : base.tensors->names()) {
    if (!tuned.tensors->contains(name)) {
      throw Error(ErrorKind::mismatch, str("the tensor '", name, "' is only in the base"), where,
                  "the two are not models of one kind");
    }
  }
  // By format, shape and size, those that may equal each other.
  std::map<std::pair<Format, std::vector<int64_t>>, std::vector<std::string>> alike;
  std::vector<std::string> names = tuned.tensors->names();
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    const TensorView view = tuned.tensors->view(name);
    if (!base.tensors->contains(name)) {
      throw Error(ErrorKind::mismatch, str("the tensor '", name, "' is not in the base"), where,
                  "the two are not models of one kind");
    }
    const TensorView from = base.tensors->view(name);
    if (from.shape != view.shape) {
      throw Error(ErrorKind::mismatch,
                  str("the tensor '", name, "' has shape ", shape_str(view.shape),
                      ", and in the base ", shape_str(from.shape)),
                  where, "a vocabulary that was resized has no difference");
    }
    if (same_bytes(view, from)) {
      vector.unmoved.push_back(name);
      continue;
    }
    vector.source_bytes += view.bytes.size();
    if (!info(view.format).floating) {
      vector.exact.push_back({name, view});
      continue;
    }
    check_format(view, name, where);
    check_format(from, name, base.tensors->where());
    if (view.shape.size() > 1) {
      auto& others = alike[{view.format, view.shape}];
      const auto twin = std::find_if(others.begin(), others.end(), [&](const std::string& other) {
        return same_bytes(view, tuned.tensors->view(other)) &&
               same_bytes(from, base.tensors->view(other));
      });
      if (twin != others.end()) {
        vector.copies[name] = *twin;
        continue;
      }
      others.push_back(name);
    }
    vector.tensors.push_back({name, view, from});
  }
  const std::vector<std::string> unmoved = std::move(vector.unmoved);
  vector.unmoved.clear();
  if (vector.tensors.empty()) {
    throw Error(ErrorKind::data, "nothing moved: the two models have the same weights", where);
  }
  for (const std::string& text : model_texts(tuned.path)) {
    const std::string content = read_file(tuned.path / text);
    if (!path_exists(base.path / text) || read_file(base.path / text) != content)
      vector.texts.emplace_back(text, content);
  }
  // The same values in another format.
  drop_unmoved(vector);
  vector.unmoved.insert(vector.unmoved.begin(), unmoved.begin(), unmoved.end());
  return vector;
}

std::vector<std::string> model_texts(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code code;
  for (fs::directory_iterator at(folder, code), end; !code && at != end; at.increment(code)) {
    const fs::path& path = at->path();
    const std::string name = path.filename().string(), ending = path.extension().string();
    const bool text = ending == ".json" || ending == ".jinja" || name == "merges.txt" ||
                      name == "vocab.txt" || name == "tokenizer.model";
    std::error_code ignored;
    if (text && name != "model.safetensors.index.json" && name != "smidgen.json" &&
        name.front() != '.' && fs::is_regular_file(path, ignored) &&
        fs::file_size(path, ignored) > 0)
      names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace smidgen
