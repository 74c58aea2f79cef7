// A core library without torch, for cli_test: `eval` says what reached it, or fails the way a case
// asks for; `diff` does the same as a verb whose exit code is its answer.
#include <csignal>
#include <cstdlib>
#include <unistd.h>

#include "smidgen/base/console.h"
#include "smidgen/base/log.h"
#include "smidgen/base/progress.h"
#include "smidgen/base/schema.h"
#include "smidgen/base/signals.h"
#include "smidgen/cli/core_api.h"

namespace smidgen {
namespace {

struct FakeMethod {
  int64_t rank = 8;
};
template <class V>
void fields(V& v, FakeMethod& c) {
  v("rank", c.rank, {.help = "Inner dimension", .min = 1});
}

struct FakeEval {
  std::string model;
  std::string act = "report";
  OneOf method{"lora"};
};
template <class V>
void fields(V& v, FakeEval& c) {
  v("model", c.model, {.help = "Model to score", .required = true});
  v.choice("act", c.act, {"report", "fail", "throw", "wait", "progress", "differ"},
           {.help = "What to do"});
  v.oneof("method", c.method, "method", {.help = "Method"});
}

Json fake_schema() {
  return {
      {"verbs",
       {{"eval", {{"summary", "Score a model on data"}, {"fields", describe<FakeEval>()}}},
        {"diff",
         {{"summary", "Tell what differs"}, {"fields", describe<FakeEval>()}, {"answers", true}}},
        {"tune", {{"summary", "Tune a model"}, {"fields", Json::array()}}}}},
      {"registries",
       {{"method",
         {{"lora", {{"summary", "low-rank update"}, {"fields", describe<FakeMethod>()}}},
          {"full", {{"summary", "all weights"}, {"fields", Json::array()}}}}}}}};
}

int fake_run(const Invocation& invocation) {
  const auto config = read_config<FakeEval>(invocation.recipe.values);
  if (config.act == "fail")
    throw Error(ErrorKind::data, "nothing to score", "data.jsonl", "add lines");
  if (config.act == "differ") return 1;
  if (config.act == "throw") throw std::runtime_error("tensor trouble");
  if (config.act == "progress") {
    Progress progress("eval", 2);
    progress.update(1, {{"loss", 0.5, "loss 0.5"}});
    log_note("half way");
    progress.finish();
    return 0;
  }
  if (config.act == "wait") {
    console().print("ready\n");
    for (int i = 0; i < 2000; ++i) {
      throw_if_stopped();
      ::usleep(5000);
    }
  }
  Json environment = Json::object();
  for (const char* name : {"OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_DYNAMIC", "MKL_DYNAMIC",
                           "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}) {
    const char* value = std::getenv(name);
    environment[name] = value ? Json(value) : Json(nullptr);
  }
  const Json said = {{"values", invocation.recipe.values},
                     {"threads", invocation.threads},
                     {"json", invocation.output.json},
                     {"origin", invocation.recipe.where("method.rank")},
                     {"yaml", invocation.yaml},
                     {"environment", environment}};
  console().print(said.dump() + "\n");
  return 0;
}

}  // namespace
}  // namespace smidgen

extern "C" const smidgen::CoreApi* smidgen_core_api() {
  static const smidgen::CoreApi api{smidgen::CoreApi::kVersion, smidgen::fake_schema,
                                    smidgen::fake_run};
  return &api;
}
