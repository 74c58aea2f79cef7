// A recipe against a schema of every type: what resolves must print as YAML that resolves to the
// same values.
#include "smidgen/base/recipe.h"

#include "smidgen/base/schema.h"
#include "tests/fuzz/fuzz.h"

using namespace smidgen;

namespace {

struct Inner {
  int64_t count = 3;
  double rate = 0.5;
};
struct Everything {
  bool flag = true;
  std::string text = "x";
  std::optional<int64_t> maybe;
  Size size{1000};
  Targets targets{{"all-linear"}};
  std::vector<double> numbers{1, 2};
  OrderedMap<double> pattern;
  std::string word = "a";
  OneOf method{"lora"};
  Inner inner;
};
struct Lora {
  int64_t rank = 8;
  double alpha = 8;
};

template <class V>
void fields(V& v, Inner& c) {
  v("count", c.count, {.min = 1, .max = 100});
  v("rate", c.rate, {.min = 0});
}
template <class V>
void fields(V& v, Lora& c) {
  v("rank", c.rank, {.min = 1, .was = {"r"}});
  v("alpha", c.alpha);
}
template <class V>
void fields(V& v, Everything& c) {
  v("flag", c.flag);
  v("text", c.text);
  v("maybe", c.maybe);
  v("size", c.size);
  v("targets", c.targets);
  v("numbers", c.numbers);
  v("pattern", c.pattern);
  v.choice("word", c.word, {"a", "b", "no"});
  v.oneof("method", c.method, "method");
  v.group("inner", c.inner);
}

const Json& document() {
  static const Json all = {
      {"verbs", {{"run", {{"summary", ""}, {"fields", describe<Everything>()}}}}},
      {"registries",
       {{"method",
         {{"lora", {{"fields", describe<Lora>()}}}, {"full", {{"fields", Json::array()}}}}}}}};
  return all;
}

Resolved resolved(const fs::path& file) {
  return resolve(document(), {"run", {"--recipe", file.string()}, [](const std::string&) {
                                return std::nullopt;
                              }});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static fuzz::Folder folder;
  const fs::path path = folder.put("input.yaml", fuzz::text_of(data, size));
  fuzz::accepted([&] {
    const Resolved first = resolved(path);
    (void)read_config<Everything>(first.values);
    const std::string yaml = to_yaml(document(), first);
    const Resolved second = resolved(folder.put("again.yaml", yaml));
    fuzz::require(first.values == second.values, "the resolved recipe resolves to itself", yaml);
  });
  return 0;
}
