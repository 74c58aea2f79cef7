#include "smidgen/base/schema.h"

#include <gtest/gtest.h>

namespace smidgen {
namespace {

enum class Bias { none, all, own };

struct Optimizer {
  std::string kind = "adamw";
  double learning_rate = 1e-4;
};

template <class V>
void fields(V& v, Optimizer& c) {
  v.choice("optimizer", c.kind, {"adamw", "sgd"}, {.help = "Update rule"});
  v("learning_rate", c.learning_rate, {.min = 0, .was = {"lr"}});
}

struct Everything {
  int64_t rank = 8;
  double alpha = 16;
  uint64_t seed = 0;
  bool resume = false;
  std::filesystem::path out;
  std::optional<int64_t> limit;
  Size memory{2000000000};
  Bias bias = Bias::none;
  Targets target{{"all-linear"}};
  std::vector<std::string> stop;
  std::vector<int64_t> ids;
  OrderedMap<int64_t> rank_pattern;
  Optimizer optimizer;
  OneOf method{"lora"};
  std::string base_format = "f32";
  bool rslora = false;
};

template <class V>
void fields(V& v, Everything& c) {
  v("rank", c.rank, {.help = "Inner dimension", .min = 1, .max = 65536, .was = {"r"}, .peft = "r"});
  v("alpha", c.alpha, {.peft = "lora_alpha", .peft_default = 8});
  v("seed", c.seed);
  v("resume", c.resume);
  v("out", c.out);
  v("limit", c.limit, {.min = 1});
  v("memory", c.memory);
  v.choice("bias", c.bias, {{"none", Bias::none}, {"all", Bias::all}, {"lora_only", Bias::own}},
           {.peft = "bias"});
  v("target", c.target, {.peft = "target_modules"});
  v("stop", c.stop);
  v("ids", c.ids, {.min = 0});
  v("rank_pattern", c.rank_pattern, {.min = 1, .peft = "rank_pattern"});
  v.group("train", c.optimizer);
  v.oneof("method", c.method, "method");
  v.choice("base_format", c.base_format, "format");
  v("use_rslora", c.rslora, {.peft = "use_rslora", .peft_default = false});
}

const Json kRegistries = Json::parse(R"({
  "method": {"lora": {"fields": [{"name": "depth", "type": "int", "default": 2, "min": 1}]},
             "full": {"fields": []}},
  "format": {"f32": {}, "bf16": {}}})");

// The error that `action` throws; fails the test when there is none.
template <class Action>
Error error_of(Action action) {
  try {
    action();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "no error";
  return Error(ErrorKind::usage, "");
}

TEST(Schema, ReadAndWriteAreInverse) {
  Everything c;
  c.rank = 4;
  c.seed = 18446744073709551615ull;
  c.limit = 7;
  c.bias = Bias::own;
  c.target = {{"q_proj", "re:.*v"}};
  c.stop = {"a,b", ""};
  c.ids = {3, 1};
  c.rank_pattern = {{"z", 4}, {"a", 2}};
  c.optimizer.kind = "sgd";
  c.method = {"full", {{"x", 1}}};
  const Json written = write_config(c);
  EXPECT_EQ(written["bias"], "lora_only");
  EXPECT_EQ(written["memory"], 2000000000);
  const Everything back = read_config<Everything>(written);
  EXPECT_EQ(write_config(back), written);
  EXPECT_EQ(back.seed, c.seed);
  EXPECT_EQ(back.rank_pattern, c.rank_pattern);
  EXPECT_EQ(back.method, c.method);
  EXPECT_EQ(write_config(read_config<Everything>(Json::object())), write_config(Everything{}));
}

TEST(Schema, CanonicalForms) {
  const Everything c = read_config<Everything>({{"memory", "1.5KiB"},
                                                {"alpha", 3},
                                                {"stop", "x"},
                                                {"rank", 4.0},
                                                {"target", {"only"}},
                                                {"limit", nullptr}});
  EXPECT_EQ(c.memory.bytes, 1536);
  EXPECT_EQ(c.alpha, 3.0);
  EXPECT_EQ(c.stop, std::vector<std::string>{"x"});
  EXPECT_EQ(c.rank, 4);
  EXPECT_TRUE(c.target.is("only"));
  EXPECT_FALSE(c.limit);
}

TEST(Schema, RefusesWhatIsWrong) {
  const auto wrong = [](Json values) {
    return error_of(
        [&] { check_fields(describe<Everything>(), values, "", "r.yaml", &kRegistries); });
  };
  const Error range = wrong({{"rank", 0}});
  EXPECT_EQ(range.message(), "[rank] is 0, but must be from 1 to 65536");
  EXPECT_EQ(range.where(), "r.yaml");
  EXPECT_EQ(range.kind(), ErrorKind::usage);
  EXPECT_EQ(wrong({{"rnk", 1}}).hint(), "did you mean 'rank'?");
  EXPECT_EQ(wrong({{"r", 1}}).message(), "[r] is now called 'rank'");
  EXPECT_EQ(wrong({{"train", {{"lr", 1}}}}).message(), "[train.lr] is now called 'learning_rate'");
  EXPECT_EQ(wrong({{"rank", "x"}}).message(), "[rank] is \"x\", but must be a whole number");
  EXPECT_EQ(wrong({{"rank", 1.5}}).message(), "[rank] is 1.5, but must be a whole number");
  EXPECT_EQ(wrong({{"seed", -1}}).message(), "[seed] is -1, but must be at least 0");
  EXPECT_EQ(wrong({{"alpha", std::nan("")}}).message(), "[alpha] must be a finite number");
  EXPECT_EQ(wrong({{"resume", 1}}).message(), "[resume] is 1, but must be true or false");
  EXPECT_EQ(wrong({{"memory", "2XB"}}).message(),
            "[memory] '2XB' is not a size: unit 'XB' is unknown");
  EXPECT_EQ(wrong({{"ids", {1, -2}}}).message(), "[ids] is -2, but must be at least 0");
  EXPECT_EQ(wrong({{"rank_pattern", {{"q", 0}}}}).message(),
            "[rank_pattern.q] is 0, but must be at least 1");
  EXPECT_EQ(wrong({{"bias", "lora-only"}}).hint(), "did you mean 'lora_only'?");
  EXPECT_EQ(wrong({{"method", "lore"}}).hint(), "did you mean 'lora'?");
  EXPECT_EQ(wrong({{"method", {{"name", "lora"}, {"dept", 1}}}}).hint(), "did you mean 'depth'?");
  EXPECT_EQ(wrong({{"method", {{"name", "lora"}, {"depth", 0}}}}).message(),
            "[method.depth] is 0, but must be at least 1");
  EXPECT_EQ(wrong({{"method", {{"name", "full"}, {"depth", 3}}}}).message(),
            "[method.depth] is not a known key");
  EXPECT_EQ(wrong({{"base_format", "bf61"}}).hint(), "did you mean 'bf16'?");
  EXPECT_EQ(wrong({{"rank", nullptr}}).message(), "[rank] is null, but must be a whole number");
  EXPECT_EQ(wrong(Json::array()).message(), "[config] is [], but must be a map");
}

TEST(Schema, OneofTakesItsEntrysDefaults) {
  const Json checked = check_fields(describe<Everything>(), Json::object(), "", "", &kRegistries);
  EXPECT_EQ(checked["method"], Json({{"name", "lora"}, {"depth", 2}}));
}

TEST(Schema, TextByType) {
  const auto text = [](const char* type, const char* spelling) {
    return parse_text({{"type", type}}, spelling, "x");
  };
  EXPECT_EQ(text("float", "1e-4"), 1e-4);
  EXPECT_EQ(text("int", "18446744073709551615"), 18446744073709551615ull);
  EXPECT_EQ(text("bool", "off"), false);
  EXPECT_EQ(text("string", "no"), "no");
  EXPECT_EQ(text("targets", "re:a,b"), "re:a,b");
  EXPECT_EQ(text("targets", "q, v"), Json({"q", "v"}));
  EXPECT_EQ(text("list", "[\",\"]"), Json({","}));
  EXPECT_EQ(parse_text({{"type", "map"}, {"items", "int"}}, "a=1,b=2", "x"),
            Json({{"a", 1}, {"b", 2}}));
  EXPECT_THROW(text("int", ""), Error);
  EXPECT_THROW(text("int", "8x"), Error);
  EXPECT_THROW(text("bool", "maybe"), Error);
}

TEST(Schema, PeftBothWays) {
  const Json file =
      Json::parse(R"({"peft_type": "LORA", "r": 4, "target_modules": ["v_proj", "q_proj"],
    "rank_pattern": {}, "bias": "none", "layer_replication": null, "eva_config": {}, "use_dora": false})");
  Json kept;
  const Everything c = from_peft<Everything>(file, {.handled = {"peft_type"}}, &kept);
  EXPECT_EQ(c.rank, 4);
  EXPECT_EQ(c.alpha, 8) << "a missing key means PEFT's default, not ours";
  EXPECT_EQ(c.target.items, (std::vector<std::string>{"v_proj", "q_proj"}));
  EXPECT_EQ(kept,
            Json::parse(R"({"layer_replication": null, "eva_config": {}, "use_dora": false})"));
  const Json back = to_peft(c);
  EXPECT_EQ(back["target_modules"], Json({"v_proj", "q_proj"}));
  EXPECT_EQ(back["lora_alpha"], 8.0);

  const auto with = [&](const char* key, Json value) {
    Json changed = file;
    changed[key] = std::move(value);
    return changed;
  };
  const Error unknown =
      error_of([&] { from_peft<Everything>(with("use_dora", true), {.handled = {"peft_type"}}); });
  EXPECT_EQ(unknown.kind(), ErrorKind::unsupported);
  EXPECT_NE(unknown.message().find("[use_dora] is true"), std::string::npos);
  EXPECT_NO_THROW(from_peft<Everything>(with("use_dora", true),
                                        {.handled = {"peft_type"}, .allow = {"use_dora"}}));
  // PEFT takes a string for a pattern over the whole name.
  const Everything pattern =
      from_peft<Everything>(with("target_modules", ".*q_proj"), {.handled = {"peft_type"}});
  EXPECT_EQ(pattern.target.items, std::vector<std::string>{"re:.*q_proj"});
  EXPECT_EQ(to_peft(pattern)["target_modules"], ".*q_proj");
  Everything one;
  one.target = {{"q_proj"}};
  EXPECT_EQ(to_peft(one)["target_modules"], Json::array({"q_proj"}));
  one.target = {{"q_proj", "re:v.*"}};
  EXPECT_EQ(to_peft(one)["target_modules"], "(?:.*\\.)?q_proj|(?:v.*)");
}

TEST(Schema, JsonSchemaForEditors) {
  const Json document = {{"verbs", {{"tune", {{"fields", describe<Everything>()}}}}},
                         {"registries", kRegistries}};
  const Json schema = json_schema(document, "tune");
  const Json& properties = schema["properties"];
  EXPECT_EQ(schema["additionalProperties"], false);
  EXPECT_EQ(properties["rank"]["minimum"], 1);
  EXPECT_EQ(properties["limit"]["anyOf"][1]["type"], "null");
  EXPECT_EQ(properties["train"]["properties"]["optimizer"]["enum"], Json({"adamw", "sgd"}));
  EXPECT_EQ(properties["method"]["oneOf"][0]["enum"], Json({"lora", "full"}));
  EXPECT_EQ(properties["method"]["oneOf"][1]["properties"]["depth"]["type"], "integer");
  EXPECT_EQ(properties["base_format"]["enum"], Json({"f32", "bf16"}));
  EXPECT_THROW(json_schema(document, "tuen"), Error);
}

TEST(Size, Spellings) {
  EXPECT_EQ(parse_size("2GB").bytes, 2000000000);
  EXPECT_EQ(parse_size("2g").bytes, 2000000000);
  EXPECT_EQ(parse_size("0.5 MiB").bytes, 524288);
  EXPECT_EQ(parse_size("77").bytes, 77);
  for (const char* bad : {"", "GB", "-1", "1e99", "nan", "inf", "0.3", "2 G B", "9999999TiB"}) {
    EXPECT_THROW(parse_size(bad), Error) << bad;
  }
  for (const int64_t bytes :
       {int64_t{0}, int64_t{1}, int64_t{1536}, int64_t{2000000000}, int64_t{1} << 34}) {
    EXPECT_EQ(parse_size(to_string(Size{bytes})).bytes, bytes);
  }
}

}  // namespace
}  // namespace smidgen
