#include "smidgen/io/python_json.h"

#include <bit>
#include <limits>

#include <gtest/gtest.h>

#include "smidgen/base/temporary_folder.h"
#include "smidgen/io/golden_data.h"
#include "smidgen/io/hex_test.h"
#include "smidgen/io/json_file.h"

namespace smidgen {
namespace {

TEST(PythonJson, EqualsJsonDumps) {
  const Json config = parse_json(from_hex(golden::kConfigIn), "golden");
  EXPECT_EQ(python_json(config), from_hex(golden::kConfigOut));
}

TEST(PythonJson, FloatsEqualRepr) {
  for (const auto& test : golden::kFloats)
    EXPECT_EQ(python_float(std::bit_cast<double>(test.bits)), test.text);
  EXPECT_EQ(python_float(std::numeric_limits<double>::infinity()), "Infinity");
  EXPECT_EQ(python_float(std::numeric_limits<double>::quiet_NaN()), "NaN");
}

TEST(JsonFile, ErrorsNameThePlace) {
  const auto expect = [](const std::string& text, const char* words) {
    const std::string error = error_of([&] { parse_json(text, "f.json"); });
    EXPECT_NE(error.find(words), std::string::npos) << error;
  };
  EXPECT_EQ(parse_json(R"({"b":1,"a":{"b":2}})", "").begin().key(), "b");
  expect("{\n \"a\": }", "(f.json:2:7)");
  expect("{\"a\":1,\n \"a\":2}", "'a' occurs twice (f.json:2:4)");
  expect("[{\"a\":1},{\"a\":[{\"b\":1,\"b\":2}]}]", "'b' occurs twice");
  expect("", "not valid JSON");
  expect(std::string(300, '['), "nested deeper than 200 (f.json:1:201)");
  expect("\n" + std::string(201, '[') + std::string(201, ']'), "(f.json:2:201)");
  EXPECT_EQ(error_of([] { parse_json(std::string(200, '[') + std::string(200, ']'), ""); }),
            "no error");
  expect(std::string("{}\n\0{}", 6), "a zero byte (f.json:2:1)");
  expect("{} {}", "not valid JSON");
  expect("[1e999]", "not valid JSON");
  expect("{\"a\"", "(f.json:1:");
  expect("\"\xff\"", "not valid JSON");
  EXPECT_EQ(error_of([] { parse_json("[{\"a\":1},{\"a\":1}]", ""); }), "no error");
}

// A quadratic reader needs minutes for this.
TEST(JsonFile, ManyKeysTakeTimeInProportion) {
  std::string text = "{";
  for (int i = 0; i < 300'000; ++i) text += str(i ? "," : "", "\"key ", i, "\":", i);
  const Json table = parse_json(text + "}", "f.json");
  EXPECT_EQ(table.size(), 300'000u);
  EXPECT_EQ((--table.end()).key(), "key 299999");
  EXPECT_NE(error_of([&] { parse_json(text + ",\"key 7\":0}", ""); }).find("'key 7' occurs twice"),
            std::string::npos);
}

TEST(JsonFile, EveryCutIsRefused) {
  const std::string whole = R"({"a":[1,-2.5e3,true,null,"\u00e9\n"],"b":{"c":{}}})";
  EXPECT_EQ(parse_json(whole, "").dump().size(), 46u);
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_EQ(error_of([&] { parse_json(whole.substr(0, size), "f.json"); }).rfind("format: ", 0),
              0u)
        << size;
  }
}

}  // namespace
}  // namespace smidgen
