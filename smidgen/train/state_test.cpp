// Checkpoints that somebody damaged, by accident or on purpose.
#include "smidgen/train/state.h"

#include <fstream>
#include <functional>
#include <sstream>

#include <gtest/gtest.h>

#include "smidgen/base/temporary_folder.h"
#include "smidgen/train/tune_account.h"

namespace smidgen {
namespace {

struct Toy {
  Toy() { store.add({{"site", "w", {4, 3}}}); }
  ParamStore store;
};

Json good_state() {
  RunState state;
  state.step = 7;
  state.best = Best{2.5, 6};
  state.events_file = "events.out.tfevents.1";
  state.watchdog = {2.0, 2.1};
  return Json::parse(state.to_json().dump());
}

TEST(RunState, ReadsWhatItWrote) {
  const RunState back = RunState::from_json(good_state(), Json::array(), "ckpt");
  EXPECT_EQ(back.to_json(), good_state());
}

// What may differ between a run and its resumption: where it lies, and what changes no bit.
TEST(RunIdentity, BlocksThatRunAgainAreTheSameRun) {
  const Json fast = decisive({{"rank", 4}, {"memory", "fast"}, {"checkpoint_every", 1}});
  EXPECT_EQ(decisive({{"rank", 4}, {"memory", "checkpoint"}, {"checkpoint_every", 3}}), fast);
  EXPECT_NE(decisive({{"rank", 4}, {"memory", "lean"}, {"checkpoint_every", 1}}), fast);
}

TEST(RunState, HostileFilesAreRefusedWithFileAndKey) {
  struct Case {
    const char* label;
    std::function<void(Json& state, Json& structure)> damage;
    const char* words;  // all separated by '|'
  };
  const std::vector<Case> cases = {
      {"not an object", [](Json& s, Json&) { s = 3; }, "ckpt/state.json|not an object"},
      {"no version", [](Json& s, Json&) { s.erase("version"); }, "no \"version\""},
      {"newer", [](Json& s, Json&) { s["version"] = 2; }, "unsupported|version 2"},
      {"negative step", [](Json& s, Json&) { s["step"] = -1; }, "\"step\" is -1"},
      {"huge step", [](Json& s, Json&) { s["step"] = UINT64_MAX; },
       "\"step\" is 18446744073709551615"},
      {"step is text", [](Json& s, Json&) { s["step"] = "7"; }, "\"step\" is \"7\""},
      {"half a step", [](Json& s, Json&) { s["step"] = 7.5; }, "\"step\" is 7.5"},
      {"no loader", [](Json& s, Json&) { s.erase("loader"); }, "no \"loader\""},
      {"loader is a list", [](Json& s, Json&) { s["loader"] = {1, 2}; }, "not an object"},
      {"best without loss", [](Json& s, Json&) { s["best"].erase("loss"); }, "no \"loss\""},
      {"offset is null", [](Json& s, Json&) { s["metrics_offset"] = nullptr; }, "metrics_offset"},
      {"events outside", [](Json& s, Json&) { s["events"]["file"] = "../../etc/x"; },
       "not a plain name"},
      {"events absolute", [](Json& s, Json&) { s["events"]["file"] = "/etc/x"; },
       "not a plain name"},
      {"events nowhere", [](Json& s, Json&) { s["events"]["file"] = ""; }, "not a plain name"},
      {"watchdog is text", [](Json& s, Json&) { s["watchdog"] = {"2"}; }, "\"watchdog\""},
      {"watchdog is an object", [](Json& s, Json&) { s["watchdog"] = {{"a", 1}}; }, "\"watchdog\""},
      {"edits are an object", [](Json&, Json& e) { e = Json::object(); },
       "structure.json|not a list"},
      {"edit is a number", [](Json&, Json& e) { e = {1}; }, "structure.json|not an object"},
      {"edit of no kind", [](Json&, Json& e) { e = Json::array({{{"step", 1}}}); }, "no \"kind\""},
      {"unknown edit",
       [](Json&, Json& e) {
         e = Json::array({{{"step", 1}, {"kind", "melt"}, {"parameter", "x"}}});
       },
       "no edit 'melt'"},
      {"grow by text",
       [](Json&, Json& e) {
         e = Json::array({{{"step", 1}, {"kind", "grow"}, {"parameter", "x"}, {"rows", "9"}}});
       },
       "\"rows\" is \"9\""},
      {"keep a negative row",
       [](Json&, Json& e) {
         e = Json::array({{{"step", 1}, {"kind", "shrink"}, {"parameter", "x"}, {"keep", {-1}}}});
       },
       "\"keep\" is -1"},
  };
  for (const Case& c : cases) {
    Json state = good_state(), structure = Json::array();
    c.damage(state, structure);
    const std::string error = error_of([&] { RunState::from_json(state, structure, "ckpt"); });
    std::istringstream words(c.words);
    for (std::string word; std::getline(words, word, '|');)
      EXPECT_NE(error.find(word), std::string::npos) << c.label << ": " << error;
  }
}

TEST(Trainables, DamagedFilesAreRefused) {
  TemporaryFolder folder;
  Toy toy;
  write_trainables(folder.path(), toy.store, {});
  EXPECT_EQ(error_of([&] { read_trainables(folder.path(), toy.store); }), "no error");
  const auto refuse = [&](const std::string& counts, const char* words) {
    write_file(folder / "counts.json", counts);
    const std::string error = error_of([&] { read_trainables(folder.path(), toy.store); });
    EXPECT_NE(error.find(words), std::string::npos) << error;
    EXPECT_NE(error.find("counts.json"), std::string::npos) << error;
  };
  refuse("[]", "not an object");
  refuse("{}", "no \"site.w\"");
  refuse(R"({"site.w":[3]})", "not a list of [steps, rows]");
  refuse(R"({"site.w":[[1,1000000000000]]})", "more counts than that");
  refuse(R"({"site.w":[[1,1]]})", "1 counts");
  refuse(R"({"site.w":[[-1,4]]})", "is -1");
  const std::string whole = read_file(folder / "params.safetensors");
  for (size_t size = 0; size < whole.size(); ++size) {
    std::ofstream(folder / "params.safetensors", std::ios::binary) << whole.substr(0, size);
    ASSERT_EQ(error_of([&] { read_trainables(folder.path(), toy.store); }).rfind("format: ", 0), 0u)
        << size;
  }
}

}  // namespace
}  // namespace smidgen
