// Typed reads of GGUF metadata.
#include <limits>

#include "smidgen/io/gguf.h"
#include "smidgen/io/little_endian.h"

namespace smidgen {

namespace {

constexpr std::string_view kNames[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                       "bool", "string", "array", "u64", "i64", "f64"};

bool is_integer(GgufType type) {
  return type != GgufType::f32 && type != GgufType::f64 && type != GgufType::boolean &&
         type != GgufType::string && type != GgufType::array;
}

bool is_float(GgufType type) {
  return type == GgufType::f32 || type == GgufType::f64;
}

std::string type_str(const GgufValue& value) {
  if (value.type != GgufType::array) return std::string(to_string(value.type));
  return str("array of ", to_string(value.element));
}

size_t width(GgufType type) {
  switch (type) {
    case GgufType::u8:
    case GgufType::i8:
    case GgufType::boolean:
      return 1;
    case GgufType::u16:
    case GgufType::i16:
      return 2;
    case GgufType::u64:
    case GgufType::i64:
    case GgufType::f64:
      return 8;
    default:
      return 4;
  }
}

// False where a u64 does not fit.
bool integer(GgufType type, const std::byte* at, int64_t& out) {
  switch (type) {
    case GgufType::u8:
      out = load<uint8_t>(at);
      break;
    case GgufType::i8:
      out = load<int8_t>(at);
      break;
    case GgufType::u16:
      out = load<uint16_t>(at);
      break;
    case GgufType::i16:
      out = load<int16_t>(at);
      break;
    case GgufType::u32:
      out = load<uint32_t>(at);
      break;
    case GgufType::i32:
      out = load<int32_t>(at);
      break;
    case GgufType::i64:
      out = load<int64_t>(at);
      break;
    default: {
      const auto value = load<uint64_t>(at);
      out = static_cast<int64_t>(value);
      return value <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
    }
  }
  return true;
}

[[noreturn]] void wrong_type(const GgufFile& file, const std::string& key, const GgufValue& value,
                             std::string_view wanted) {
  throw Error(ErrorKind::format,
              str("the metadata key '", key, "' is ", type_str(value), ", not ", wanted),
              str(file.where(), ", byte ", value.offset));
}

}  // namespace

std::string_view to_string(GgufType type) {
  return kNames[static_cast<size_t>(type)];
}

const GgufValue* GgufFile::find(const std::string& key) const {
  const auto found = values_.find(key);
  return found == values_.end() ? nullptr : &found->second;
}

const GgufValue& GgufFile::require(const std::string& key) const {
  if (const GgufValue* value = find(key)) return *value;
  throw Error(ErrorKind::not_found, str("there is no metadata key '", key, "'"), where(),
              did_you_mean(key, keys_));
}

int64_t GgufFile::get_int(const std::string& key) const {
  const GgufValue& value = require(key);
  if (!is_integer(value.type)) wrong_type(*this, key, value, "an integer");
  int64_t number = 0;
  if (!integer(value.type, value.bytes.data(), number)) {
    wrong_type(*this, key, value, "an integer below 2^63");
  }
  return number;
}

double GgufFile::get_float(const std::string& key) const {
  const GgufValue& value = require(key);
  if (value.type == GgufType::f32) return load<float>(value.bytes.data());
  if (value.type == GgufType::f64) return load<double>(value.bytes.data());
  if (!is_integer(value.type)) wrong_type(*this, key, value, "a number");
  return static_cast<double>(get_int(key));
}

bool GgufFile::get_bool(const std::string& key) const {
  const GgufValue& value = require(key);
  if (value.type != GgufType::boolean) wrong_type(*this, key, value, "a bool");
  return load<uint8_t>(value.bytes.data()) != 0;
}

std::string GgufFile::get_string(const std::string& key) const {
  const GgufValue& value = require(key);
  if (value.type != GgufType::string) wrong_type(*this, key, value, "a string");
  return {reinterpret_cast<const char*>(value.bytes.data()), value.bytes.size()};
}

std::vector<std::string_view> GgufFile::get_strings(const std::string& key) const {
  const GgufValue& value = require(key);
  if (value.type != GgufType::array || value.element != GgufType::string) {
    wrong_type(*this, key, value, "an array of strings");
  }
  std::vector<std::string_view> texts;
  texts.reserve(value.count);
  const std::byte* at = value.bytes.data();
  for (uint64_t i = 0; i < value.count; ++i) {
    const auto length = load<uint64_t>(at);
    texts.emplace_back(reinterpret_cast<const char*>(at + 8), length);
    at += 8 + length;
  }
  return texts;
}

std::vector<int64_t> GgufFile::get_ints(const std::string& key) const {
  const GgufValue& value = require(key);
  if (value.type != GgufType::array || !is_integer(value.element)) {
    wrong_type(*this, key, value, "an array of integers");
  }
  std::vector<int64_t> numbers(value.count);
  const std::byte* at = value.bytes.data();
  for (int64_t& number : numbers) {
    if (!integer(value.element, at, number))
      wrong_type(*this, key, value, "an array of integers below 2^63");
    at += width(value.element);
  }
  return numbers;
}

std::vector<float> GgufFile::get_floats(const std::string& key) const {
  const GgufValue& value = require(key);
  if (value.type != GgufType::array || !is_float(value.element)) {
    wrong_type(*this, key, value, "an array of floats");
  }
  std::vector<float> numbers(value.count);
  const std::byte* at = value.bytes.data();
  for (float& number : numbers) {
    number =
        value.element == GgufType::f32 ? load<float>(at) : static_cast<float>(load<double>(at));
    at += width(value.element);
  }
  return numbers;
}

int64_t GgufFile::get_int(const std::string& key, int64_t absent) const {
  return find(key) ? get_int(key) : absent;
}

double GgufFile::get_float(const std::string& key, double absent) const {
  return find(key) ? get_float(key) : absent;
}

bool GgufFile::get_bool(const std::string& key, bool absent) const {
  return find(key) ? get_bool(key) : absent;
}

std::string GgufFile::get_string(const std::string& key, const std::string& absent) const {
  return find(key) ? get_string(key) : absent;
}

}  // namespace smidgen
