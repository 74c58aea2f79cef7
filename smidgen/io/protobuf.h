// Google's protocol buffers, read without a schema: a message is a row of numbered fields, and the
// caller knows what the numbers mean. Source: protobuf.dev/programming-guides/encoding.
//
// Nothing is copied and nothing is allocated: a field of bytes points into the file, so a length
// that a file makes up costs nothing and is refused where it leaves its message.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace smidgen {

class ProtoReader;

struct ProtoField {
  enum class Wire : uint8_t { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

  uint32_t number = 0;
  Wire wire = Wire::varint;
  uint64_t value = 0;      // unless wire is bytes
  std::string_view bytes;  // if it is

  // Each throws Error format when the field has another wire type.
  int64_t integer() const;  // of protobuf's types int32, int64, bool, enum
  float single() const;     // float
  std::string_view text() const;
  ProtoReader message() const;

  std::string where() const;  // "FILE, byte OFFSET, field NUMBER"

 private:
  friend class ProtoReader;
  void expect(Wire wanted, const char* what) const;
  std::string_view file_;
  uint64_t begin_ = 0, content_ = 0;  // of the field and of `bytes`, in the file
};

class ProtoReader {
 public:
  // A whole file. `bytes` and `file`, its name, must outlive what is read.
  ProtoReader(std::string_view bytes, std::string_view file) : bytes_(bytes), file_(file) {}

  // The next field, or false at the end. Throws Error format, with the byte, for a message that
  // ends inside a field, a length beyond its end, a varint of more than 64 bits, a field number
  // of 0 or beyond 2^29, and the wire types that are not above: groups, long out of use, 6 and 7.
  bool next(ProtoField& field);

 private:
  friend struct ProtoField;
  uint64_t varint(const char* what);
  uint64_t fixed(size_t size);
  [[noreturn]] void broken(const std::string& what) const;

  std::string_view bytes_, file_;
  uint64_t origin_ = 0;  // of bytes_[0], in the file
  size_t at_ = 0;
};

}  // namespace smidgen
