#include "smidgen/io/delta_files.h"

#include <cmath>
#include <set>
#include <unistd.h>

#include "smidgen/base/unfinished_folder.h"
#include "smidgen/io/json_file.h"
#include "smidgen/io/json_member.h"
#include "smidgen/io/python_json.h"
#include "smidgen/io/quantise.h"

namespace smidgen {

namespace {

constexpr const char* kJson = "delta.json";
constexpr const char* kFile = "delta.safetensors";
constexpr std::string_view kExact = "exact.";

[[noreturn]] void refuse(const std::string& words, const std::string& where) {
  throw Error(ErrorKind::format, words, where, "the file is damaged, or was edited");
}

Format format_of(const std::string& name, const std::string& where) {
  for (const FormatInfo& row : formats()) {
    if (row.name == name && writable(row.format) && row.elements == 1) return row.format;
  }
  throw Error(ErrorKind::unsupported, str("tensors of format \"", name, "\" are not restored"),
              where, "known: f32, f16, bf16");
}

DeltaTensor read_tensor(const Json& entry, const std::string& where) {
  DeltaTensor tensor;
  tensor.name = text_member(entry, "name", where);
  const std::string here = str(where, ", tensor '", tensor.name, "'");
  const Json& shape = member(entry, "shape", here);
  if (!shape.is_array()) refuse("\"shape\" is not a list", here);
  for (const Json& size : shape) tensor.shape.push_back(count_of(size, "a size", here));
  tensor.format = format_of(text_member(entry, "dtype", here), here);
  if (!packed_bytes(Format::f32, tensor.shape))
    refuse(str("the shape ", shape_str(tensor.shape), " overflows"), here);
  tensor.bytes = static_cast<size_t>(count_member(entry, "bytes", here));
  tensor.kept = count_member(entry, "kept", here);
  if (tensor.kept > tensor.elements())
    refuse(str(tensor.kept, " of ", tensor.elements(), " values are said to be kept"), here);
  if (entry.contains("start")) tensor.start = number_member(entry, "start", here);
  return tensor;
}

// Cuts the codes and the values into the tensors' and checks the sums.
void place(DeltaFiles& files, uint64_t codes, uint64_t values, const std::string& where) {
  uint64_t begin = 0, first = 0, elements = 0;
  std::set<std::string> names;
  for (DeltaTensor& tensor : files.tensors) {
    const std::string here = files.where(tensor);
    if (!names.insert(tensor.name).second) refuse("the tensor is there twice", here);
    if (tensor.bytes > codes - begin) {
      refuse(str("its codes take ", tensor.bytes, " bytes, and ", codes - begin, " are left"),
             here);
    }
    tensor.begin = begin;
    begin += tensor.bytes;
    if (files.kind == DeltaKind::sparse) {
      if (static_cast<uint64_t>(tensor.kept) > values - first)
        refuse(str(tensor.kept, " values are kept, and ", values - first, " are left"), here);
      tensor.first_value = first;
      first += static_cast<uint64_t>(tensor.kept);
    }
    if (files.kind == DeltaKind::values) {
      const int64_t rows = tensor.elements() ? tensor.elements() / tensor.columns() : 0;
      const int64_t row = rows ? files.codec->values()->row_bytes(tensor.columns()) : 0;
      // A row takes a byte or more, so the product is not much above the checked tensor.bytes.
      if (rows > static_cast<int64_t>(codes) || static_cast<uint64_t>(rows * row) != tensor.bytes)
        refuse(str(shape_str(tensor.shape), " does not take ", tensor.bytes, " bytes"), here);
    }
    elements += static_cast<uint64_t>(tensor.elements());
    if (elements >= uint64_t{1} << 62) refuse("more elements than can be counted", here);
  }
  if (begin != codes) refuse(str(codes - begin, " bytes of codes belong to no tensor"), where);
  if (files.kind == DeltaKind::sparse && first != values)
    refuse(str(values - first, " values belong to no tensor"), where);
  // Room for small tensors without any kept value.
  if (elements / kMostElementsPerByte > codes + 64) {
    throw Error(ErrorKind::unsupported,
                str(codes, " bytes of codes claim to hold ", elements, " values"), where,
                "a delta that keeps so few values is not written here");
  }
}

}  // namespace

const char* to_string(DeltaKind kind) {
  return kind == DeltaKind::ternary ? "ternary" : kind == DeltaKind::sparse ? "sparse" : "values";
}

int64_t DeltaTensor::elements() const {
  int64_t product = 1;
  for (const int64_t size : shape) product *= size;
  return product;
}

Payload DeltaFiles::codes(const DeltaTensor& tensor) const {
  return file->view("codes").bytes.subspan(tensor.begin, tensor.bytes);
}

std::string DeltaFiles::where(const DeltaTensor& tensor) const {
  return str((path / kFile).string(), ", tensor '", tensor.name, "'");
}

bool is_delta(const fs::path& folder) {
  return path_exists(folder / kJson);
}

DeltaFiles read_delta(const fs::path& folder) {
  DeltaFiles files;
  files.path = folder;
  const std::string where = (folder / kJson).string();
  if (!is_delta(folder)) {
    throw Error(ErrorKind::not_found, str("the folder has no ", kJson), folder.string(),
                "smidgen compress writes it");
  }
  files.json = read_json(folder / kJson);
  const int64_t version = count_member(files.json, "version", where);
  if (version != kDeltaVersion) {
    throw Error(ErrorKind::unsupported,
                str("the codes are from a ", version > kDeltaVersion ? "newer" : "unknown",
                    " version: ", version),
                where, str("this build reads version ", kDeltaVersion));
  }
  const std::string kind = text_member(files.json, "kind", where);
  const std::string codec = text_member(files.json, "codec", where);
  bool known = false;
  for (const DeltaKind k : {DeltaKind::ternary, DeltaKind::sparse, DeltaKind::values}) {
    if (kind != to_string(k)) continue;
    files.kind = k;
    known = true;
  }
  if (!known || !codecs().contains(codec)) {
    throw Error(ErrorKind::unsupported,
                known ? str("there is no codec \"", codec, "\"")
                      : str("there are no deltas of kind \"", kind, "\""),
                where, known ? did_you_mean(codec, codecs().names()) : "");
  }
  files.codec = &codecs().find(codec);
  if ((files.codec->values() != nullptr) != (files.kind == DeltaKind::values))
    refuse(str("a ", kind, " delta is not coded by ", codec), where);
  const std::string of = text_member(files.json, "of", where);
  files.adapter = of == "adapter";
  if (!files.adapter && of != "model") refuse(str("\"of\" is \"", of, "\""), where);
  const Json& base = member(files.json, "base", where);
  if (base.is_string()) files.base = base.get<std::string>();
  if (files.kind == DeltaKind::ternary) {
    files.scale = static_cast<float>(number_member(files.json, "scale", where));
    if (!std::isfinite(files.scale)) refuse("\"scale\" is no finite number", where);
  }
  if (!path_exists(folder / kFile))
    throw Error(ErrorKind::not_found, str("the delta has no ", kFile), folder.string());
  files.file = std::make_shared<SafetensorsFile>(folder / kFile);

  const Json& tensors = member(files.json, "tensors", where);
  if (!tensors.is_array()) refuse("\"tensors\" is not a list", where);
  for (const Json& entry : tensors) files.tensors.push_back(read_tensor(entry, where));
  uint64_t codes = 0, values = 0;
  for (const std::string& name : files.file->names()) {
    const TensorView view = files.file->view(name);
    if (name == "codes" && view.format == Format::u8 && view.shape.size() == 1) {
      codes = view.bytes.size();
    } else if (name == "values" && view.format == Format::f32 && view.shape.size() == 1 &&
               files.kind == DeltaKind::sparse) {
      values = view.bytes.size() / 4;
    } else if (name.starts_with(kExact)) {
      files.exact.push_back(name.substr(kExact.size()));
    } else {
      refuse(str("a tensor '", name, "' of ", to_string(view.format), " ", shape_str(view.shape),
                 " has no place in a delta"),
             files.file->where());
    }
  }
  if (!files.file->contains("codes")) refuse("there is no tensor 'codes'", files.file->where());
  place(files, codes, values, where);
  std::set<std::string> taken;
  for (const DeltaTensor& tensor : files.tensors) taken.insert(tensor.name);
  for (const std::string& name : files.exact) {
    if (!taken.insert(name).second) refuse(str("the tensor '", name, "' is there twice"), where);
  }
  if (files.json.contains("copies")) {
    const Json& copies = files.json["copies"];
    if (!copies.is_object()) refuse("\"copies\" is not an object", where);
    for (const auto& [name, original] : copies.items()) {
      if (!original.is_string() || !taken.insert(name).second)
        refuse(str("the tensor '", name, "' is there twice"), where);
      files.copies[name] = original.get<std::string>();
    }
  }
  return files;
}

std::string delta_json(const Json& json) {
  std::string text = "{";
  for (const auto& [key, value] : json.items()) {
    text += text.size() > 1 ? ",\n " : "\n ";
    text += Json(key).dump() + ": ";
    if (key != "tensors" || !value.is_array() || value.empty()) {
      text += value.dump();
      continue;
    }
    for (size_t i = 0; i < value.size(); ++i) text += (i ? ",\n  " : "[\n  ") + value[i].dump();
    text += "]";
  }
  return text + "\n}\n";
}

void write_delta(const fs::path& given, const DeltaContents& contents) {
  const fs::path folder = given.filename().empty() ? given.parent_path() : given;
  std::error_code ignored;
  if (path_exists(folder) && (!fs::is_directory(folder, ignored) || !fs::is_empty(folder, ignored)))
    throw Error(ErrorKind::usage, "the folder exists and is not empty", folder.string(),
                "choose another name, or remove it first");
  if (folder.has_parent_path()) make_folder(folder.parent_path());
  std::vector<NamedTensor> tensors;
  tensors.push_back({"codes",
                     {Format::u8,
                      {static_cast<int64_t>(contents.codes.size())},
                      std::as_bytes(std::span(contents.codes.data(), contents.codes.size()))}});
  if (contents.json["kind"] == to_string(DeltaKind::sparse)) {
    tensors.push_back({"values",
                       {Format::f32,
                        {static_cast<int64_t>(contents.values.size())},
                        std::as_bytes(std::span(contents.values))}});
  }
  for (const NamedTensor& tensor : contents.exact)
    tensors.push_back({std::string(kExact) + tensor.name, tensor.view});
  const UnfinishedFolder temporary(folder.parent_path() /
                                   str(".", folder.filename().string(), ".tmp-", ::getpid()));
  write_safetensors(temporary.path / kFile, tensors, {});
  write_file(temporary.path / kJson, delta_json(contents.json));
  if (!contents.adapter_config.is_null())
    write_file(temporary.path / "adapter_config.json", python_json(contents.adapter_config));
  if (!contents.sidecar.is_null())
    write_file(temporary.path / "smidgen.json", contents.sidecar.dump(2) + "\n");
  if (!contents.texts.empty()) make_folder(temporary.path / "files");
  for (const auto& [name, text] : contents.texts) write_file(temporary.path / "files" / name, text);
  sync_tree(temporary.path);
  replace_folder(temporary.path, folder);
}

}  // namespace smidgen
