#include "smidgen/io/safetensors_header.h"

#include <iterator>
#include <unordered_set>

#include "smidgen/base/error.h"
#include "smidgen/base/json.h"

namespace smidgen {

namespace {

constexpr uint64_t kTextStart = 8;  // after the header length

// Tells how far the parser has read: nlohmann's SAX events carry no position.
class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator(const char* at, uint64_t* count) : at_(at), count_(count) {}
  reference operator*() const { return *at_; }
  CountingIterator& operator++() {
    ++at_;
    ++*count_;
    return *this;
  }
  CountingIterator operator++(int) {
    CountingIterator old = *this;
    ++*this;
    return old;
  }
  bool operator==(const CountingIterator& other) const { return at_ == other.at_; }
  bool operator!=(const CountingIterator& other) const { return at_ != other.at_; }

 private:
  const char* at_;
  uint64_t* count_;
};

// Accepts exactly {"__metadata__": {text: text} | null, NAME: {"dtype": text, "shape": [n],
// "data_offsets": [n, n]}}. Anything else stops the parse at once, so depth and memory stay bounded
// by the text.
class HeaderReader {
 public:
  HeaderReader(SafetensorsHeader& out, const std::string& file) : out_(out), file_(file) {}

  uint64_t read = 0;  // characters consumed, kept by CountingIterator

  bool start_object(size_t) {
    if (place_ == Place::before) {
      place_ = Place::top;
    } else if (place_ == Place::metadata_value) {
      place_ = Place::metadata;
    } else if (place_ == Place::tensor_value) {
      place_ = Place::tensor;
      have_ = {};
    } else {
      unexpected("an object");
    }
    return true;
  }

  bool end_object() {
    if (place_ == Place::tensor) {
      for (const Field field : {kDtype, kShape, kOffsets}) {
        if (!have_[field]) fail(str("the entry has no \"", kFields[field], "\""));
      }
      tensor_ = nullptr;
    }
    place_ = place_ == Place::top ? Place::after : Place::top;
    return true;
  }

  bool key(std::string& name) {
    const uint64_t quoted = name.size() + 2;
    const uint64_t offset = kTextStart + (read > quoted ? read - quoted : 0);
    if (place_ == Place::metadata) {
      metadata_key_ = name;
      if (out_.metadata.count(name)) fail(str("the metadata key '", name, "' occurs twice"));
      return true;
    }
    if (place_ == Place::tensor) {
      for (field_ = 0; field_ < 3; ++field_) {
        if (name == kFields[field_]) break;
      }
      if (field_ == 3) fail(str("unknown field \"", name, "\""));
      if (have_[field_]) fail(str("the field \"", name, "\" occurs twice"));
      have_[field_] = true;
      place_ = Place::field_value;
      return true;
    }
    if (!names_.insert(name).second) {
      throw Error(ErrorKind::format, str("the name '", name, "' occurs twice"), where(offset));
    }
    if (name == "__metadata__") {
      place_ = Place::metadata_value;
    } else {
      out_.entries.push_back({.name = name, .offset = offset});
      tensor_ = &out_.entries.back();
      place_ = Place::tensor_value;
    }
    return true;
  }

  bool string(std::string& text) {
    if (place_ == Place::metadata) {
      out_.metadata.emplace(metadata_key_, text);
    } else if (place_ == Place::field_value && field_ == kDtype) {
      tensor_->format = dtype(text);
      place_ = Place::tensor;
    } else {
      unexpected("a string");
    }
    return true;
  }

  bool start_array(size_t) {
    if (place_ != Place::field_value || field_ == kDtype) unexpected("an array");
    place_ = Place::array;
    count_ = 0;
    return true;
  }

  bool end_array() {
    if (field_ == kOffsets && count_ != 2)
      fail(str("data_offsets has ", count_, " numbers, not 2"));
    place_ = Place::tensor;
    return true;
  }

  bool number_unsigned(uint64_t value) {
    if (place_ != Place::array) unexpected(str("the number ", value));
    if (field_ == kShape) {
      if (value > INT64_MAX) fail(str("the size ", value, " is too large"));
      tensor_->shape.push_back(static_cast<int64_t>(value));
    } else {
      if (count_ < 2) (count_ == 0 ? tensor_->begin : tensor_->end) = value;
      ++count_;
    }
    return true;
  }

  bool null() {
    if (place_ != Place::metadata_value) unexpected("null");
    place_ = Place::top;
    return true;
  }
  bool boolean(bool value) { return unexpected(value ? "true" : "false"); }
  bool number_integer(int64_t value) { return unexpected(str("the negative number ", value)); }
  bool number_float(double, const std::string& text) {
    return unexpected(str("the number ", text, ", which is not a whole number in range"));
  }
  bool binary(nlohmann::json::binary_t&) { return unexpected("binary data"); }

  bool parse_error(size_t, const std::string&, const nlohmann::json::exception& e) {
    std::string message = e.what();
    if (const auto end = message.find("] "); end != std::string::npos) message.erase(0, end + 2);
    if (message.size() > 300) message = message.substr(0, 300) + " ...";
    fail(str("the header is not valid JSON: ", message));
  }

 private:
  enum class Place {
    before,
    top,
    metadata_value,
    metadata,
    tensor_value,
    tensor,
    field_value,
    array,
    after
  };
  enum Field { kDtype, kShape, kOffsets };
  static constexpr const char* kFields[] = {"dtype", "shape", "data_offsets"};

  std::string where(uint64_t offset) const {
    return str(file_, ", byte ", offset, tensor_ ? str(", tensor '", tensor_->name, "'") : "");
  }

  [[noreturn]] void fail(const std::string& message, const std::string& hint = {}) const {
    throw Error(ErrorKind::format, message, where(kTextStart + read), hint);
  }

  [[noreturn]] bool unexpected(const std::string& what) const {
    const char* wanted = "nothing more";
    switch (place_) {
      case Place::before:
        wanted = "an object of tensors";
        break;
      case Place::metadata_value:
        wanted = "an object of strings for __metadata__";
        break;
      case Place::metadata:
        wanted = "a string in __metadata__";
        break;
      case Place::tensor_value:
        wanted = "an object with dtype, shape and data_offsets";
        break;
      case Place::field_value:
        wanted = field_ == kDtype ? "the name of a type" : "a list of sizes";
        break;
      case Place::array:
        wanted = "a whole number from 0 up";
        break;
      default:
        break;
    }
    fail(str("found ", what, " where ", wanted, " belongs"));
  }

  Format dtype(const std::string& text) const {
    std::vector<std::string> known;
    for (const FormatInfo& type : formats()) {
      if (type.safetensors.empty()) continue;
      if (type.safetensors == text) return type.format;
      known.emplace_back(type.safetensors);
    }
    fail(str("unknown dtype '", text, "'"), did_you_mean(text, known, str("known: ", join(known))));
  }

  SafetensorsHeader& out_;
  const std::string& file_;
  std::unordered_set<std::string> names_;
  Place place_ = Place::before;
  SafetensorsEntry* tensor_ = nullptr;
  std::string metadata_key_;
  std::array<bool, 3> have_{};
  size_t field_ = 0, count_ = 0;
};

}  // namespace

SafetensorsHeader parse_safetensors_header(std::string_view text, const std::string& file) {
  SafetensorsHeader header;
  HeaderReader reader(header, file);
  const CountingIterator begin(text.data(), &reader.read),
      end(text.data() + text.size(), &reader.read);
  nlohmann::json::sax_parse(begin, end, &reader);
  return header;
}

std::string json_string(const std::string& text) {
  try {
    return nlohmann::json(text).dump();
  } catch (const nlohmann::json::exception&) {
    throw Error(ErrorKind::format, "a tensor name or metadata text is not valid UTF-8", text);
  }
}

}  // namespace smidgen
