#include "smidgen/io/gguf.h"

#include <limits>

#include "smidgen/io/gguf_types.h"
#include "smidgen/io/little_endian.h"

namespace smidgen {

namespace {

constexpr uint64_t kMaxString = uint64_t{1} << 30;
// The least that one entry can take; a larger count than the rest of the file could hold is a lie.
constexpr uint64_t kLeastPair = 8 + 1 + 4 + 1, kLeastTensor = 8 + 1 + 4 + 4 + 8;

constexpr uint64_t kWidth[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};  // by GgufType

// Reads forward through the header; every read checks what is left.
class Cursor {
 public:
  Cursor(std::span<const std::byte> bytes, const std::string& file) : bytes_(bytes), file_(file) {}

  uint64_t at() const { return at_; }
  uint64_t left() const { return bytes_.size() - at_; }

  [[noreturn]] void fail(const std::string& message, uint64_t offset, std::string hint = {}) const {
    throw Error(ErrorKind::format, message, str(file_, ", byte ", offset), std::move(hint));
  }

  std::span<const std::byte> take(uint64_t size, const std::string& what) {
    if (size > left()) {
      fail(str("the file is truncated: ", what, " takes ", size, " bytes, ", left(), " are left"),
           at_);
    }
    at_ += size;
    return bytes_.subspan(at_ - size, size);
  }

  template <class Number>
  Number number(const char* what) {
    return load<Number>(take(sizeof(Number), what).data());
  }

  std::string_view text(const char* what) {
    const uint64_t start = at_;
    const auto length = number<uint64_t>(what);
    if (length > kMaxString) fail(str(what, " claims ", length, " bytes"), start);
    const auto bytes = take(length, what);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  GgufType type(const std::string& key) {
    const uint64_t start = at_;
    const auto id = number<uint32_t>("a value type");
    if (id > static_cast<uint32_t>(GgufType::f64)) {
      fail(str("unknown value type ", id, " of the key '", key, "'"), start);
    }
    return static_cast<GgufType>(id);
  }

  GgufValue value(const std::string& key) {
    GgufValue value;
    value.type = type(key);
    value.offset = at_;
    if (value.type == GgufType::string) {
      const auto text_bytes = text("a string");
      value.bytes = std::as_bytes(std::span(text_bytes.data(), text_bytes.size()));
    } else if (value.type == GgufType::array) {
      array(key, value);
    } else {
      value.bytes = take(kWidth[static_cast<size_t>(value.type)], "a value");
      if (value.type == GgufType::boolean && load<uint8_t>(value.bytes.data()) > 1) {
        fail(str("the bool '", key, "' is neither 0 nor 1"), value.offset);
      }
    }
    return value;
  }

 private:
  void array(const std::string& key, GgufValue& value) {
    value.element = type(key);
    const uint64_t start = at_;
    value.count = number<uint64_t>("an array length");
    if (value.element == GgufType::array) {
      fail(str("the key '", key, "' is an array of arrays, which ggml does not read either"),
           start);
    }
    const bool strings = value.element == GgufType::string;
    const uint64_t least = strings ? 8 : kWidth[static_cast<size_t>(value.element)];
    if (value.count > left() / least) {
      fail(str("the array '", key, "' claims ", value.count, " elements of at least ", least,
               " bytes, ", left(), " are left"),
           start);
    }
    const uint64_t first = at_;
    if (strings) {
      for (uint64_t i = 0; i < value.count; ++i) text("a string");
    } else {
      take(value.count * least, "an array");
    }
    value.bytes = bytes_.subspan(first, at_ - first);
  }

  std::span<const std::byte> bytes_;
  const std::string& file_;
  uint64_t at_ = 0;
};

struct TensorInfo {
  std::string name;
  Format format;
  std::vector<int64_t> shape;
  uint64_t bytes, offset, entry;  // entry: where the file describes it
};

TensorInfo tensor_info(Cursor& in) {
  TensorInfo tensor{};
  tensor.entry = in.at();
  tensor.name = in.text("a tensor name");
  const auto fail = [&](const std::string& message) {
    in.fail(str("tensor '", tensor.name, "': ", message), tensor.entry);
  };
  if (tensor.name.empty() || tensor.name.size() > kGgufMaxName) {
    in.fail(str("a tensor name has ", tensor.name.size(), " bytes, not 1 to ", kGgufMaxName),
            tensor.entry);
  }
  const auto dims = in.number<uint32_t>("a dimension count");
  if (dims > kGgufMaxDims) fail(str(dims, " dimensions, at most ", kGgufMaxDims, " are allowed"));
  tensor.shape.resize(dims);
  for (uint32_t i = 0; i < dims; ++i) {
    const auto size = in.number<uint64_t>("a dimension");
    if (size > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      fail(str("the size ", size, " is too large"));
    }
    tensor.shape[dims - 1 - i] = static_cast<int64_t>(size);
  }
  const auto id = in.number<uint32_t>("a tensor type");
  const std::optional<Format> format = ggml_format(id);
  if (!format) fail(str("unknown ggml type ", id));
  tensor.format = *format;
  const auto bytes = packed_bytes(tensor.format, tensor.shape);
  if (!bytes) {
    fail(str("the shape ", shape_str(tensor.shape),
             " overflows, or its rows are not whole blocks of ", info(tensor.format).elements, " (",
             info(tensor.format).name, ")"));
  }
  tensor.bytes = static_cast<uint64_t>(*bytes);
  tensor.offset = in.number<uint64_t>("a tensor offset");
  return tensor;
}

// The next multiple of a power of two; nothing on overflow.
bool round_up(uint64_t value, uint64_t alignment, uint64_t& out) {
  if (__builtin_add_overflow(value, alignment - 1, &out)) return false;
  out &= ~(alignment - 1);
  return true;
}

}  // namespace

GgufFile::GgufFile(const fs::path& path) : file_(path), table_(path.string()) {
  const std::string file = path.string();
  Cursor in(file_.bytes(), file);
  const auto magic = in.take(4, "the magic number");
  if (std::string_view(reinterpret_cast<const char*>(magic.data()), 4) != "GGUF") {
    in.fail("the file does not start with 'GGUF'", 0, "is this a GGUF file?");
  }
  version_ = in.number<uint32_t>("the version");
  if (version_ != 0 && (version_ & 0xffff) == 0) {
    throw Error(ErrorKind::unsupported, "a big-endian GGUF file", str(file, ", byte 4"));
  }
  if (version_ < 2 || version_ > 3) {
    throw Error(ErrorKind::unsupported, str("GGUF version ", version_, "; 2 and 3 can be read"),
                str(file, ", byte 4"));
  }
  const auto tensors = in.number<uint64_t>("the tensor count");
  const auto pairs = in.number<uint64_t>("the metadata count");
  if (pairs > in.left() / kLeastPair || tensors > in.left() / kLeastTensor) {
    in.fail(str("the header claims ", tensors, " tensors and ", pairs, " metadata keys, ",
                in.left(), " bytes are left"),
            8);
  }
  keys_.reserve(pairs);
  for (uint64_t i = 0; i < pairs; ++i) {
    const uint64_t start = in.at();
    std::string key(in.text("a key"));
    if (key.empty()) in.fail("an empty metadata key", start);
    GgufValue value = in.value(key);
    if (!values_.emplace(key, value).second) {
      in.fail(str("the metadata key '", key, "' occurs twice"), start);
    }
    keys_.push_back(std::move(key));
  }
  if (const GgufValue* value = find("general.alignment")) {
    if (value->type != GgufType::u32) {
      in.fail(str("general.alignment is ", to_string(value->type), ", not u32"), value->offset);
    }
    alignment_ = load<uint32_t>(value->bytes.data());
    if (!std::has_single_bit(alignment_)) {
      in.fail(str("general.alignment is ", alignment_, ", not a power of two"), value->offset);
    }
  }
  std::vector<TensorInfo> infos;
  infos.reserve(tensors);
  for (uint64_t i = 0; i < tensors; ++i) infos.push_back(tensor_info(in));

  uint64_t start = 0, expected = 0;
  const uint64_t size = file_.bytes().size();
  if (!round_up(in.at(), alignment_, start))
    in.fail("the data section lies beyond the file", in.at());
  for (TensorInfo& tensor : infos) {
    const auto fail = [&](const std::string& message) {
      in.fail(str("tensor '", tensor.name, "': ", message), tensor.entry);
    };
    if (tensor.offset % alignment_ != 0) {
      fail(str("its offset ", tensor.offset, " is not a multiple of ", alignment_));
    }
    if (tensor.offset != expected) {
      fail(str("its offset is ", tensor.offset, ", but the tensors before it end at ", expected));
    }
    const uint64_t room = size > start ? size - start : 0;
    if (tensor.offset > room || tensor.bytes > room - tensor.offset) {
      fail(str("the file is truncated: the data end at byte ", start + tensor.offset, " + ",
               tensor.bytes, ", the file at ", size));
    }
    if (!round_up(tensor.offset + tensor.bytes, alignment_, expected)) fail("its size overflows");
    const auto bytes = tensor.bytes ? file_.bytes().subspan(start + tensor.offset, tensor.bytes)
                                    : std::span<const std::byte>();
    if (table_.contains(tensor.name)) fail("the name occurs twice");
    table_.add(std::move(tensor.name), {tensor.format, std::move(tensor.shape), bytes});
  }
}

}  // namespace smidgen
