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
  expect("{\"a\":1,\"a\":2}", "'a' occurs twice");
  expect("[{\"a\":1},{\"a\":[{\"b\":1,\"b\":2}]}]", "'b' occurs twice");
  expect("", "not valid JSON");
  expect(std::string(300, '['), "nested deeper than 200");
  expect("\"\xff\"", "not valid JSON");
  EXPECT_EQ(error_of([] { parse_json("[{\"a\":1},{\"a\":1}]", ""); }), "no error");
}

}  // namespace
}  // namespace smidgen
