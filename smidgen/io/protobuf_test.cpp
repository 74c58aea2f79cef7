// Wire bytes as the encoding guide writes them, and what must be refused.
#include "smidgen/io/protobuf.h"

#include <string>

#include <gtest/gtest.h>

#include "smidgen/base/error.h"

namespace smidgen {
namespace {

using namespace std::string_literals;

// Everything that a reader could do with the bytes, to any depth.
void read_all(ProtoReader reader, int depth = 0) {
  for (ProtoField field; reader.next(field);) {
    if (field.wire == ProtoField::Wire::bytes && depth < 8) {
      try {
        read_all(field.message(), depth + 1);
      } catch (const Error&) {  // it was text
      }
    }
  }
}

TEST(Protobuf, ReadsTheGuidesExamples) {
  // Test1 {a: 150}, Test2 {b: "testing"}, Test3 {c: {a: 150}} end to end.
  const std::string bytes = "\x08\x96\x01\x12\x07testing\x1a\x03\x08\x96\x01"s;
  ProtoReader reader(bytes, "f");
  ProtoField field;
  ASSERT_TRUE(reader.next(field));
  EXPECT_EQ(field.number, 1u);
  EXPECT_EQ(field.integer(), 150);
  ASSERT_TRUE(reader.next(field));
  EXPECT_EQ(field.text(), "testing");
  EXPECT_EQ(field.where(), "f, byte 3, field 2");
  ASSERT_TRUE(reader.next(field));
  ProtoReader inside = field.message();
  ProtoField inner;
  ASSERT_TRUE(inside.next(inner));
  EXPECT_EQ(inner.integer(), 150);
  EXPECT_EQ(inner.where(), "f, byte 14, field 1");
  EXPECT_FALSE(inside.next(inner));
  EXPECT_FALSE(reader.next(field));
}

TEST(Protobuf, ReadsNumbersOfEveryKind) {
  const std::string bytes =
      "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x15\x00\x00\x20\x40\x19\x01\x02\x03\x04\x05\x06\x07\x08"s;
  ProtoReader reader(bytes, "f");
  ProtoField field;
  ASSERT_TRUE(reader.next(field));
  EXPECT_EQ(field.integer(), -1);
  ASSERT_TRUE(reader.next(field));
  EXPECT_EQ(field.single(), 2.5f);
  ASSERT_TRUE(reader.next(field));
  EXPECT_EQ(field.wire, ProtoField::Wire::fixed64);
  EXPECT_EQ(field.value, 0x0807060504030201u);
}

TEST(Protobuf, RefusesWhatIsNoMessage) {
  const std::pair<std::string, const char*> cases[] = {
      {"\x08"s, "ends inside"},
      {"\x08\x96"s, "ends inside"},
      {"\x12\x08testing"s, "has 8 bytes, where 7 are left"},
      {"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"s, "has 18446744073709551615 bytes"},
      {"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"s, "more than 64 bits"},
      {"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"s, "more than 64 bits"},
      {"\x00\x01"s, "number 0"},
      {"\x80\x80\x80\x80\x20\x01"s, "the number 1073741824"},
      {"\x0b"s, "wire type 3"},
      {"\x0e"s, "wire type 6"},
      {"\x0d\x01\x02"s, "4 bytes, where 2 are left"},
      {"\x09\x01\x02"s, "8 bytes, where 2 are left"},
  };
  for (const auto& [bytes, word] : cases) {
    try {
      ProtoReader reader(bytes, "f");
      for (ProtoField field; reader.next(field);) {
      }
      ADD_FAILURE() << word;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::format);
      EXPECT_NE(error.message().find(word), std::string::npos) << error.message();
      EXPECT_TRUE(error.where().starts_with("f, byte ")) << error.where();
    }
  }
}

TEST(Protobuf, AFieldOfAnotherTypeIsAnError) {
  const std::string bytes = "\x08\x01\x12\x01x"s;
  ProtoReader reader(bytes, "f");
  ProtoField field;
  ASSERT_TRUE(reader.next(field));
  EXPECT_THROW((void)field.text(), Error);
  EXPECT_THROW((void)field.message(), Error);
  EXPECT_THROW((void)field.single(), Error);
  ASSERT_TRUE(reader.next(field));
  EXPECT_THROW((void)field.integer(), Error);
}

TEST(Protobuf, CutAnywhereItIsReadOrRefused) {
  const std::string bytes =
      "\x0a\x08\x0a\x01"
      "a\x15\x00\x00\x20\x40\x12\x06\x18\x02\xc8\x02\x80\x01\x1a\x02\x18\x00"s;
  for (size_t size = 0; size <= bytes.size(); ++size) {
    for (size_t at = 0; at < size; ++at) {
      for (const char other : {'\x00', '\x7f', '\xff'}) {
        std::string broken = bytes.substr(0, size);
        broken[at] = other;
        try {
          read_all(ProtoReader(broken, "f"));
        } catch (const Error& error) {
          EXPECT_EQ(error.kind(), ErrorKind::format);
        }
      }
    }
  }
}

}  // namespace
}  // namespace smidgen
