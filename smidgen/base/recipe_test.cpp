#include "smidgen/base/recipe.h"

#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "smidgen/base/error.h"
#include "smidgen/base/schema.h"
#include "smidgen/base/temporary_folder.h"
#include "smidgen/base/yaml.h"

namespace smidgen {
namespace {

struct Lora {
  int64_t rank = 8;
  double alpha = 16;
  Targets target{{"all-linear"}};
};
template <class V>
void fields(V& v, Lora& c) {
  v("rank", c.rank, {.min = 1, .max = 65536, .was = {"r"}});
  v("alpha", c.alpha);
  v("target", c.target);
}

struct Prefix {
  int64_t rank = 3;
  int64_t prefix_length = 10;
};
template <class V>
void fields(V& v, Prefix& c) {
  v("rank", c.rank, {.min = 1});
  v("prefix_length", c.prefix_length, {.min = 1});
}

struct Schedule {
  double learning_rate = 1e-4;
  std::string schedule = "cosine";
};
template <class V>
void fields(V& v, Schedule& c) {
  v("learning_rate", c.learning_rate, {.min = 0, .was = {"lr"}});
  v.choice("schedule", c.schedule, {"constant", "cosine"});
}

struct Tune {
  std::string model;
  std::string note = "";
  bool resume = false;
  std::vector<std::string> stop;
  std::vector<int64_t> ids;
  OrderedMap<double> weights;
  Size memory{1 << 20};
  std::optional<int64_t> max_steps;
  uint64_t seed = 0;
  Schedule train;
  OneOf method{"lora"};
  OneOf policy;
};
template <class V>
void fields(V& v, Tune& c) {
  v("model", c.model, {.help = "Model to tune", .required = true});
  v("note", c.note);
  v("resume", c.resume);
  v("stop", c.stop);
  v("ids", c.ids);
  v("weights", c.weights);
  v("memory", c.memory);
  v("max_steps", c.max_steps, {.min = 1});
  v("seed", c.seed);
  v.group("train", c.train);
  v.oneof("method", c.method, "method");
  v.oneof("policy", c.policy, "budget");
}

const Json& document() {
  static const Json json = {
      {"verbs",
       {{"tune", {{"summary", "Tune"}, {"fields", describe<Tune>()}}},
        {"inspect",
         {{"fields", Json::array({{{"name", "path"}, {"type", "path"}, {"required", true}}})},
          {"positional", "path"}}},
        {"join",
         {{"fields", Json::array({{{"name", "out"}, {"type", "path"}, {"required", true}},
                                  {{"name", "parts"}, {"type", "list"}, {"items", "string"}}})},
          {"positional", "out parts"}}}}},
      {"registries",
       {{"method",
         {{"lora", {{"fields", describe<Lora>()}}},
          {"prefix", {{"fields", describe<Prefix>()}}},
          {"full", {{"summary", "all weights"}}}}},
        {"budget", {{"freeze", {{"fields", Json::array()}}}}}}}};
  return json;
}

using Variables = std::map<std::string, std::string>;

Resolved run(std::vector<std::string> words, Variables variables = {}, std::string verb = "tune") {
  Call call{verb, std::move(words), [=](const std::string& name) -> std::optional<std::string> {
              const auto found = variables.find(name);
              if (found == variables.end()) return std::nullopt;
              return found->second;
            }};
  return resolve(document(), call);
}

Error fails(std::vector<std::string> words, Variables variables = {}, std::string verb = "tune") {
  try {
    run(std::move(words), std::move(variables), std::move(verb));
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "no error";
  return Error(ErrorKind::usage, "");
}

class Recipe : public testing::Test {
 protected:
  void SetUp() override {
    file_ = (std::filesystem::path(testing::TempDir()) /
             str("recipe_", testing::UnitTest::GetInstance()->current_test_info()->name(), ".yaml"))
                .string();
  }
  void TearDown() override { std::filesystem::remove(file_); }
  std::string write(const std::string& text) {
    std::ofstream(file_) << text;
    return file_;
  }
  std::string file_;
};

TEST_F(Recipe, PrecedenceAndOrigin) {
  const std::string file = write(
      "model: m\nseed: 1\ntrain:\n  learning_rate: 1e-3\nmethod:\n  name: lora\n  rank: 2\n  "
      "alpha: 4\n");
  const Resolved r =
      run({file, "--seed", "3", "method.alpha=5"}, {{"SMIDGEN_SEED", "2"}, {"SMIDGEN_RANK", "6"}});
  EXPECT_EQ(r.values["seed"], 3);
  EXPECT_EQ(r.values["train"]["learning_rate"], 1e-3);
  EXPECT_EQ(r.values["method"]["rank"], 6);
  EXPECT_EQ(r.values["method"]["alpha"], 5.0);
  EXPECT_EQ(r.values["method"]["target"], "all-linear");
  EXPECT_EQ(r.origin("seed").text(), "flag --seed");
  EXPECT_EQ(r.origin("method.rank").text(), "environment SMIDGEN_RANK");
  EXPECT_EQ(r.origin("train.learning_rate").text(), file + ":4:18");
  EXPECT_EQ(r.origin("note").text(), "default");
  const Tune tune = read_config<Tune>(r.values);
  EXPECT_EQ(read_config<Lora>(tune.method.config).rank, 6);
}

TEST_F(Recipe, FlagsOfAllShapes) {
  const Resolved r =
      run({"--model=a=b", "--resume", "--stop",   "x,y", "--stop",          "z",
           "--ids",       "1,2,3",    "--memory", "2GB", "--learning-rate", "1e-4",
           "--max-steps", "none",     "--note",   "-5",  "--weights",       "a=0.5,b=2",
           "--threads",   "2",        "--json"});
  EXPECT_EQ(r.values["model"], "a=b");
  EXPECT_EQ(r.values["resume"], true);
  EXPECT_EQ(r.values["stop"], Json({"x", "y", "z"}));
  EXPECT_EQ(r.values["ids"], Json::array({1, 2, 3}));
  EXPECT_EQ(r.values["memory"], 2000000000);
  EXPECT_TRUE(r.values["max_steps"].is_null());
  EXPECT_EQ(r.values["note"], "-5");
  EXPECT_EQ(r.values["weights"], Json({{"a", 0.5}, {"b", 2.0}}));
  EXPECT_EQ(r.common["threads"], 2);
  EXPECT_EQ(r.common["json"], true);
  EXPECT_EQ(r.common["quiet"], false);
  EXPECT_EQ(run({"--model", "m", "--resume=false"}).values["resume"], false);
  EXPECT_EQ(run({"some=thing"}, {}, "inspect").values["path"], "some=thing");
}

TEST_F(Recipe, ChoiceFirstThenItsFlags) {
  const Resolved r =
      run({"--rank", "4", "--prefix-length", "5", "--method", "prefix", "--model", "m"});
  EXPECT_EQ(r.values["method"], Json({{"name", "prefix"}, {"rank", 4}, {"prefix_length", 5}}));
  EXPECT_EQ(
      run({"--model", "m", "--method", "{\"name\":\"lora\",\"rank\":5}"}).values["method"]["rank"],
      5);
  EXPECT_TRUE(run({"--model", "m"}).values["policy"].is_null());
  EXPECT_EQ(run({"--model", "m", "--policy", "freeze"}).values["policy"],
            Json({{"name", "freeze"}}));
  const Error other = fails({"--model", "m", "--prefix-length", "5"});
  EXPECT_EQ(other.message(), "--prefix-length belongs to method prefix, but method is lora");
  EXPECT_EQ(other.hint(), "add --method prefix");
  EXPECT_EQ(fails({"--model", "m", "--method", "full", "--rank", "5"}).message(),
            "--rank belongs to method lora or prefix, but method is full");
  EXPECT_EQ(fails({"--model", "m", "--method", "lore"}).hint(), "did you mean 'lora'?");
  EXPECT_EQ(fails({"--model", "m", "--method", "{\"rank\":5}"}).message(), "[method] needs a name");
  // Another name on the command line replaces the recipe's whole choice, and says so.
  const Resolved replaced =
      run({write("model: m\nmethod: {name: lora, rank: 2}\n"), "--method", "prefix"});
  EXPECT_EQ(replaced.values["method"]["rank"], 3);
  ASSERT_EQ(replaced.notes.size(), 1u);
  EXPECT_EQ(replaced.notes[0],
            "method is prefix now, so the recipe's lora is not used, nor its rank");
}

TEST_F(Recipe, WrongWords) {
  EXPECT_EQ(fails({"--model", "m", "--sed", "1"}).hint(), "did you mean '--seed'?");
  EXPECT_EQ(fails({"--model", "m", "--lr", "1"}).message(), "--lr is now called --learning-rate");
  EXPECT_EQ(fails({"--model", "m", "--r", "1"}).message(), "--r is now called --rank");
  EXPECT_EQ(fails({"--model", "m", "train.learningrate=1"}).hint(),
            "did you mean 'train.learning_rate'?");
  EXPECT_EQ(fails({"--model", "m", "learning_rate=1"}).hint(),
            "did you mean 'train.learning_rate'?");
  EXPECT_EQ(fails({"--model", "m", "--no-resume"}).hint(), "write --resume=false");
  EXPECT_EQ(fails({"--model"}).message(), "--model needs a value");
  EXPECT_EQ(fails({"--model", "--seed", "3"}).message(), "--model needs a value");
  EXPECT_EQ(fails({"-x"}).message(), "there is no flag '-x'");
  EXPECT_EQ(fails({}).message(), "[model] must be set");
  EXPECT_EQ(fails({}).hint(), "give --model: Model to tune");
  const Error range = fails({"--model", "m", "--rank", "0"});
  EXPECT_EQ(range.message(), "[method.rank] is 0, but must be from 1 to 65536");
  EXPECT_EQ(range.where(), "flag --rank");
  EXPECT_EQ(fails({"--model", "m"}, {{"SMIDGEN_THREADS", "many"}}).where(),
            "environment SMIDGEN_THREADS");
  EXPECT_EQ(fails({"--model", "m"}, {}, "tuen").hint(), "did you mean 'tune'?");
  EXPECT_EQ(fails({"a", "b"}, {}, "inspect").message(), "'b' is one argument too many");
  EXPECT_EQ(fails({}, {}, "join").hint(), "usage: smidgen join out parts");
  EXPECT_EQ(fails({"/nowhere.yaml"}).kind(), ErrorKind::not_found);
  EXPECT_EQ(fails({testing::TempDir()}).kind(), ErrorKind::format);
}

TEST_F(Recipe, BareWordsSetTheirFieldsInOrderAndAListTakesTheRest) {
  const Json values = resolve(document(), {"join", {"a", "b", "c=d", "e"}, {}, {}}).values;
  EXPECT_EQ(values["out"], "a");
  EXPECT_EQ(values["parts"], Json({"b", "c=d", "e"}));
}

TEST_F(Recipe, WrongRecipes) {
  const auto recipe = [&](const std::string& text) { return fails({write(text)}); };
  EXPECT_EQ(recipe("model: m\nseeed: 1\n").where(), file_ + ":2:1");
  EXPECT_EQ(recipe("model: m\nseeed: 1\n").hint(), "did you mean 'seed'?");
  EXPECT_EQ(recipe("model: m\nseed: 1\nseed: 2\n").message(), "[seed] is given twice");
  EXPECT_EQ(recipe("model: m\ntrain: {lr: 1}\n").message(),
            "[train.lr] is now called 'learning_rate'");
  EXPECT_EQ(recipe("model: m\ntrain: 3\n").message(), "[train] must be a map of key: value");
  EXPECT_EQ(recipe("model: m\nseed: \"1\"\n").message(),
            "[seed] is \"1\", but must be a whole number");
  EXPECT_EQ(recipe("model: m\nseed: [1]\n").where(), file_ + ":2:7");
  EXPECT_EQ(recipe("model: m\nmethod: {rank: 1}\n").message(), "[method] needs a name");
  EXPECT_EQ(recipe("model: m\nmethod: {name: lora, prefix_length: 1}\n").message(),
            "[method.prefix_length] belongs to method prefix, but method is lora");
  EXPECT_EQ(recipe("model: m\njson: true\n").hint(), "use --json");
  EXPECT_EQ(recipe("- a\n").kind(), ErrorKind::format);
  EXPECT_EQ(recipe("model: [\n").kind(), ErrorKind::format);
  EXPECT_EQ(recipe("model: m\nseed: !!int 3\n").kind(), ErrorKind::format);
  EXPECT_EQ(recipe("model:\n").message(), "[model] is null, but must be text");
  EXPECT_EQ(recipe("model: m\nmethod:\n").message(),
            "[method] is null, but must be a name or {name: ..., ...}");
  EXPECT_EQ(recipe("model: m\nmethod:\n").where(), file_ + ":2:1");
  EXPECT_TRUE(run({write("model: m\npolicy:\n")}).values["policy"].is_null());
}

TEST_F(Recipe, YamlWordsMeanWhatTheFieldSays) {
  const Resolved r =
      run({write("model: no\nnote: 1e-4\nresume: yes\nstop: [on, \"off\", 12, 'a, b']\n"
                 "train: {learning_rate: 1e-4}\nmemory: 1 GiB\nweights: {q: 1e-2}\n"
                 "method: {name: lora, target: [q_proj, v_proj]}\n")});
  EXPECT_EQ(r.values["model"], "no");
  EXPECT_EQ(r.values["note"], "1e-4");
  EXPECT_EQ(r.values["resume"], true);
  EXPECT_EQ(r.values["stop"], Json({"on", "off", "12", "a, b"}));
  EXPECT_EQ(r.values["train"]["learning_rate"], 1e-4);
  EXPECT_EQ(r.values["memory"], 1 << 30);
  EXPECT_EQ(r.values["weights"], Json({{"q", 1e-2}}));
  EXPECT_EQ(r.values["method"]["target"], Json({"q_proj", "v_proj"}));
}

TEST_F(Recipe, WrittenAndReadBack) {
  const Resolved r = run({"--model",         "yes",
                          "--note",          "# \"quoted\"\n\ttab \xC3\xA9 \x7f: x",
                          "--stop",          "[\"a,b\",\"\",\"null\"]",
                          "--learning-rate", "0.00001",
                          "--weights",       "{\"re:.*[a,b]\": 0.25}",
                          "--target",        "re:.*\\.(q|v)_proj",
                          "--memory",        "1536MiB",
                          "--seed",          "18446744073709551615",
                          "--threads",       "3",
                          "--policy",        "freeze"});
  const std::string yaml = to_yaml(document(), r);
  EXPECT_NE(yaml.find("  # flag --learning-rate"), std::string::npos) << yaml;
  EXPECT_NE(yaml.find("learning_rate: 1.0e-05"), std::string::npos) << yaml;
  EXPECT_NE(yaml.find("  # default"), std::string::npos) << yaml;
  const Resolved back = run({write(yaml)});
  EXPECT_EQ(back.values, r.values) << yaml;
  EXPECT_EQ(back.common["threads"], 3);
}

TEST_F(Recipe, SchemaRefusesClashes) {
  EXPECT_NO_THROW(check_document(document()));
  const auto clash = [](Json field, bool entry) {
    Json changed = document();
    Json& list = entry ? changed["registries"]["method"]["lora"]["fields"]
                       : changed["verbs"]["tune"]["fields"];
    list.push_back(std::move(field));
    EXPECT_THROW(check_document(changed), Error);
  };
  clash({{"name", "learning_rate"}, {"type", "int"}, {"default", 1}}, false);
  clash({{"name", "seed"}, {"type", "int"}, {"default", 1}}, true);
  clash({{"name", "json"}, {"type", "bool"}, {"default", false}}, false);
  clash({{"name", "help"}, {"type", "bool"}, {"default", false}}, false);
  clash({{"name", "size"}, {"type", "int"}, {"default", 0}, {"min", 1}}, false);
}

TEST(Yaml, HostileInput) {
  const auto kind = [](const std::string& text) {
    try {
      parse_yaml(text, "f");
    } catch (const Error& error) {
      return std::string(to_string(error.kind()));
    }
    return std::string("none");
  };
  EXPECT_EQ(kind("a: &x [1, 2]\nb: *x\n"), "none");
  std::string bomb = "a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n";
  for (int i = 1; i < 9; ++i) {
    bomb += str("a", i, ": &a", i, " [");
    for (int k = 0; k < 10; ++k) bomb += str(k ? "," : "", "*a", i - 1);
    bomb += "]\n";
  }
  EXPECT_EQ(kind(bomb), "format");
  EXPECT_EQ(kind("a: &a [*a]\n"), "format");
  EXPECT_EQ(kind(std::string(100, '[') + std::string(100, ']')), "format");
  EXPECT_EQ(kind(std::string(100000, '[')), "format");
  EXPECT_EQ(kind("[a, b]: c\n"), "format");
  EXPECT_EQ(kind("a: 1\n---\nb: 2\n"), "format");
  EXPECT_EQ(kind(std::string("a: \0b", 5)), "format");
  EXPECT_EQ(kind(std::string((4 << 20) + 1, ' ')), "format");
  EXPECT_EQ(kind("a: \"unfinished"), "format");
  EXPECT_EQ(kind("\t- x\n"), "format");
  EXPECT_EQ(kind("a: \"n\x82ll\"\n"), "format") << "what is not UTF-8 cannot be written back";
  EXPECT_EQ(kind("a: \xed\xa0\x80"), "format") << "half a surrogate pair";
  EXPECT_EQ(kind("a: \"\\ud800\""), "format") << "the same by an escape";
  EXPECT_EQ(kind(std::string("\xff\xfe"
                             "a\0",
                             4)),
            "format")
      << "UTF-16";
  std::string wide = "{";
  for (int i = 0; i < 49'000; ++i) wide += str("k", i, ": 0, ");
  EXPECT_EQ(kind(wide + "}"), "none") << "in time proportional to its length";
  EXPECT_EQ(kind(wide + "k7: 1}"), "usage");
  EXPECT_EQ(kind(""), "none");
}

TEST(Yaml, SeveralDocuments) {
  const auto texts = [](const std::string& text) {
    std::string all;
    for (const YamlNode& node : parse_yaml_documents(text, "f"))
      all += str(to_json(node).dump(), "@", node.line, " ");
    return all;
  };
  EXPECT_EQ(texts(""), "");
  EXPECT_EQ(texts("# nothing\n"), "");
  EXPECT_EQ(texts("a: 1\n"), "{\"a\":1}@1 ");
  EXPECT_EQ(texts("---\na: &x 1\n---\n- 2\n...\n---\n\nb: &x 3\nc: *x\n"),
            "{\"a\":1}@2 [2]@4 {\"b\":3,\"c\":3}@8 ");
  EXPECT_EQ(error_of([&] { texts("a: &x 1\n---\nb: *x\n"); }).substr(0, 22),
            "format: not valid YAML")
      << "an anchor belongs to its document";
  EXPECT_EQ(error_of([&] { texts("a: 1\n---\nb: [\n"); }).substr(0, 22), "format: not valid YAML");
  std::string many;
  for (int i = 0; i < 257; ++i) many += "--- 1\n";
  EXPECT_EQ(error_of([&] { texts(many); }), "format: more than 256 YAML documents (f) ");
}

TEST(Yaml, CoreTypes) {
  const Json json = to_json(parse_yaml(
      "{a: 1, b: 1e-4, c: no, d: true, e: ~, f: '1', g: [-2, .5, x, nan, -inf], h: +3}", "f"));
  EXPECT_EQ(json.dump(),
            "{\"a\":1,\"b\":0.0001,\"c\":\"no\",\"d\":true,\"e\":null,\"f\":\"1\","
            "\"g\":[-2,0.5,\"x\",\"nan\",\"-inf\"],\"h\":3}");
}

}  // namespace
}  // namespace smidgen
