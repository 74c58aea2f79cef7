#include "smidgen/io/protobuf.h"

#include <bit>
#include <cstring>

#include "smidgen/base/error.h"

namespace smidgen {
namespace {

constexpr uint64_t kFieldNumbers = uint64_t{1} << 29;

std::string_view name_of(ProtoField::Wire wire) {
  switch (wire) {
    case ProtoField::Wire::varint:
      return "a varint";
    case ProtoField::Wire::fixed64:
      return "eight bytes";
    case ProtoField::Wire::bytes:
      return "bytes with a length";
    case ProtoField::Wire::fixed32:
      break;
  }
  return "four bytes";
}

}  // namespace

std::string ProtoField::where() const {
  return str(file_, ", byte ", begin_, ", field ", number);
}

void ProtoField::expect(Wire wanted, const char* what) const {
  if (wire != wanted)
    throw Error(ErrorKind::format, str("a field should be ", what, ", and is ", name_of(wire)),
                where());
}

int64_t ProtoField::integer() const {
  expect(Wire::varint, "a whole number");
  return static_cast<int64_t>(value);
}

float ProtoField::single() const {
  expect(Wire::fixed32, "a float");
  return std::bit_cast<float>(static_cast<uint32_t>(value));
}

std::string_view ProtoField::text() const {
  expect(Wire::bytes, "text");
  return bytes;
}

ProtoReader ProtoField::message() const {
  expect(Wire::bytes, "a message");
  ProtoReader inside(bytes, file_);
  inside.origin_ = content_;
  return inside;
}

void ProtoReader::broken(const std::string& what) const {
  throw Error(ErrorKind::format, what, str(file_, ", byte ", origin_ + at_));
}

uint64_t ProtoReader::varint(const char* what) {
  uint64_t value = 0;
  for (int shift = 0; shift < 70; shift += 7) {
    if (at_ == bytes_.size()) broken(str("the file ends inside ", what));
    const auto byte = static_cast<uint8_t>(bytes_[at_++]);
    if (shift == 63 && byte > 1) break;
    value |= uint64_t{byte & 0x7Fu} << shift;
    if (byte < 0x80) return value;
  }
  broken(str(what, " of more than 64 bits"));
}

uint64_t ProtoReader::fixed(size_t size) {
  if (size > bytes_.size() - at_)
    broken(str("a number of ", size, " bytes, where ", bytes_.size() - at_, " are left"));
  uint64_t value = 0;
  std::memcpy(&value, bytes_.data() + at_, size);
  at_ += size;
  return value;
}

bool ProtoReader::next(ProtoField& field) {
  if (at_ == bytes_.size()) return false;
  field = {};
  field.file_ = file_;
  field.begin_ = origin_ + at_;
  const uint64_t key = varint("a field's key");
  if (key >> 3 == 0 || key >> 3 >= kFieldNumbers) broken(str("a field with the number ", key >> 3));
  field.number = static_cast<uint32_t>(key >> 3);
  switch (key & 7) {
    case 0:
      field.wire = ProtoField::Wire::varint;
      field.value = varint("a number");
      return true;
    case 1:
      field.wire = ProtoField::Wire::fixed64;
      field.value = fixed(8);
      return true;
    case 2: {
      field.wire = ProtoField::Wire::bytes;
      const uint64_t length = varint("a length");
      if (length > bytes_.size() - at_)
        broken(str("field ", field.number, " has ", length, " bytes, where ", bytes_.size() - at_,
                   " are left"));
      field.content_ = origin_ + at_;
      field.bytes = bytes_.substr(at_, length);
      at_ += length;
      return true;
    }
    case 5:
      field.wire = ProtoField::Wire::fixed32;
      field.value = fixed(4);
      return true;
    default:
      broken(str("field ", field.number, " has wire type ", key & 7));
  }
}

}  // namespace smidgen
