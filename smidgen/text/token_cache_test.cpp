#include "smidgen/text/token_cache.h"

#include <csignal>
#include <fstream>
#include <thread>
#include <unistd.h>

#include <sys/wait.h>

#include "smidgen/base/threads.h"
#include "smidgen/text/dataset_fixture_test.h"

namespace smidgen {
namespace {

class CacheTest : public DatasetFixture {
 protected:
  DatasetOptions cached() const { return {.cache = {.folder = folder_ / "cache"}}; }
  fs::path corpus(int rows, const char* name = "corpus.jsonl") {
    std::string text;
    for (int i = 0; i < rows; ++i)
      text += str(R"({"prompt": "the cat )", i, R"(", "completion": "sat on )", i * 7, "\"}\n");
    return put(name, text);
  }
  std::vector<fs::path> entries() const {
    std::vector<fs::path> found;
    for (const auto& item : fs::directory_iterator(folder_ / "cache")) found.push_back(item.path());
    return found;
  }
};

TEST_F(CacheTest, TheSameSamplesFromMemoryFromAFreshEntryAndFromAnOldOne) {
  const fs::path path = corpus(300);
  const Dataset memory = load(path), fresh = load(path, cached()), old = load(path, cached());
  ASSERT_EQ(entries().size(), 1u);
  for (const Dataset* data : {&fresh, &old}) {
    EXPECT_EQ(data->digest(), memory.digest());
    EXPECT_EQ(data->lengths(), memory.lengths());
    EXPECT_EQ(data->tokens(), memory.tokens());
    EXPECT_EQ(data->answer_tokens(), memory.answer_tokens());
    for (const int64_t i : {0, 1, 150, 299}) {
      EXPECT_EQ(data->at(i).ids, memory.at(i).ids);
      EXPECT_EQ(data->at(i).answer, memory.at(i).answer);
      EXPECT_EQ(data->where(i), memory.where(i));
    }
  }
  // What decides is the content: another name and time find it.
  fs::copy_file(path, folder_ / "other.jsonl");
  EXPECT_EQ(load(folder_ / "other.jsonl", cached()).where(1), (folder_ / "other.jsonl:2").string());
  EXPECT_EQ(entries().size(), 1u);
  const auto listed = list_token_cache(folder_ / "cache");
  ASSERT_EQ(listed.size(), 1u);
  EXPECT_EQ(listed[0]["sequences"], 300);
  EXPECT_GT(listed[0]["bytes"], 300 * 12);
}

TEST_F(CacheTest, WhatDecidesTheTokensMakesAnotherEntry) {
  const fs::path path = corpus(20);
  DatasetOptions options = cached();
  load(path, options);
  options.max_length = 500;
  load(path, options);
  options.chat_template = TemplateUse::none;
  load(path, options);
  EXPECT_EQ(entries().size(), 3u);
  const ChatTemplate other("{% for m in messages %}{{ m.content + '<|end|>' }}{% endfor %}");
  load_dataset(std::span(&path, 1), tokenizer_, &other, cached());
  EXPECT_EQ(entries().size(), 4u);
  const Tokenizer prefix = tokenizer("prefix");
  load_dataset(std::span(&path, 1), prefix, &template_, cached());
  EXPECT_EQ(entries().size(), 5u);
  options = cached();
  options.variables = {{"add_generation_prompt", false}};
  load(path, options);
  EXPECT_EQ(entries().size(), 6u);
}

TEST_F(CacheTest, PairsLabelsAndCountsComeBack) {
  const fs::path pairs = put("p.jsonl",
                             "{\"prompt\": \"the\", \"chosen\": \"cat\", \"rejected\": \"mat\"}\n"
                             "{\"prompt\": \"the\", \"chosen\": \"cat sat on the mat\", "
                             "\"rejected\": \"mat\"}\n");
  DatasetOptions options = cached();
  options.form = DataForm::pairs;
  options.max_length = load(pairs, {.form = DataForm::pairs}).lengths()[0];
  options.too_long = TooLong::skip;
  for (int round = 0; round < 2; ++round) {
    const Dataset data = load(pairs, options);
    EXPECT_EQ(data.units(), 1);
    EXPECT_EQ(data.skipped(), 1);
    EXPECT_EQ(data.form(), DataForm::pairs);
  }
  const fs::path labels = put("l.jsonl",
                              "{\"prompt\": \"the\", \"completion\": \"cat\", \"label\": true}\n"
                              "{\"prompt\": \"the\", \"completion\": \"mat\", \"label\": false}\n");
  options = cached();
  options.form = DataForm::labelled;
  for (int round = 0; round < 2; ++round) {
    const Dataset data = load(labels, options);
    EXPECT_TRUE(data.label(0));
    EXPECT_FALSE(data.label(1));
  }
}

TEST_F(CacheTest, SeveralFilesKeepTheirOrderAndPlaces) {
  const std::vector<fs::path> files = {corpus(3, "a.jsonl"), corpus(5, "b.jsonl")};
  const Dataset memory = load_dataset(files, tokenizer_, &template_, {});
  const Dataset data = load_dataset(files, tokenizer_, &template_, cached());
  EXPECT_EQ(data.digest(), memory.digest());
  EXPECT_EQ(data.size(), 8);
  EXPECT_EQ(data.where(3), files[1].string() + ":1");
  EXPECT_EQ(data.at(7).ids, memory.at(7).ids);
  EXPECT_EQ(entries().size(), 2u) << "the files differ, so each has its entry";
}

TEST_F(CacheTest, ADamagedEntryIsMadeAnew) {
  const fs::path path = corpus(50);
  const std::string digest = load(path, cached()).digest();
  const fs::path entry = entries().at(0);
  const auto damage = [&](const char* name, auto&& how) {
    SCOPED_TRACE(name);
    std::string bytes = read_file(entry / name);
    how(bytes);
    // In place: what a broken disk does, not what a program would.
    std::ofstream(entry / name, std::ios::binary | std::ios::trunc) << bytes;
    EXPECT_EQ(load(path, cached()).digest(), digest);
    EXPECT_TRUE(open_cached_tokens(folder_ / "cache", entry.filename().string()).has_value());
  };
  damage("ids.i32", [](std::string& b) { b[40] ^= 1; });
  damage("answer.u8", [](std::string& b) { b[b.size() / 2] ^= 1; });
  damage("lengths.i32", [](std::string& b) { b.resize(b.size() - 4); });
  damage("lines.u32", [](std::string& b) { b.clear(); });
  damage("entry.json", [](std::string& b) { b.resize(b.size() / 2); });
  damage("entry.json", [](std::string& b) { b = "{}"; });
  damage("entry.json", [](std::string& b) { b = "[1]"; });
  fs::remove(entry / "ids.i32");
  EXPECT_EQ(load(path, cached()).digest(), digest);
}

TEST_F(CacheTest, ARefusedFileLeavesNoEntry) {
  const fs::path path = corpus(5);
  DatasetOptions options = cached();
  options.max_length = 3;
  refuse(path, "longer than max_length", options);
  refuse(put("b.jsonl", "{\"text\": \"the\"}\n{\"text\": 3}\n"), "b.jsonl:2", cached());
  EXPECT_TRUE(entries().empty());
}

TEST_F(CacheTest, WhereTheFolderCannotBe) {
  const fs::path path = corpus(5);
  put("file", "in the way");
  DatasetOptions options;
  options.cache = {.folder = folder_ / "file" / "cache"};
  refuse(path, "--data-cache none", options);
  options.cache.needed = false;
  EXPECT_EQ(load(path, options).size(), 5);
}

TEST_F(CacheTest, WhatAKilledRunLeftIsRemovedByTheNext) {
  const fs::path path = corpus(5);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    TokenCacheWriter writer(folder_ / "cache", "0123");
    const std::vector<int32_t> ids = {1, 2};
    const std::vector<uint8_t> marks = {0, 1};
    writer.push(ids, marks, 1, true, false);
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_EQ(entries().size(), 1u);
  EXPECT_TRUE(entries()[0].filename().string().starts_with("."));
  EXPECT_TRUE(list_token_cache(folder_ / "cache").empty());
  {
    // One that is alive is left alone.
    TokenCacheWriter writer(folder_ / "cache", "4567");
    EXPECT_EQ(entries().size(), 1u);
    load(path, cached());
    EXPECT_EQ(entries().size(), 2u);
  }
  EXPECT_EQ(entries().size(), 1u);
}

TEST_F(CacheTest, TwoRunsAtATimeAgree) {
  const fs::path path = corpus(2000);
  std::vector<pid_t> children;
  for (int i = 0; i < 4; ++i) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      try {
        _exit(load(path, cached()).size() == 2000 ? 0 : 1);
      } catch (...) {
        _exit(2);
      }
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = -1;
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
  }
  EXPECT_EQ(entries().size(), 1u);
  EXPECT_EQ(load(path, cached()).digest(), load(path).digest());
}

// The order of the samples and the first error do not depend on who finishes first.
TEST_F(CacheTest, ManyThreadsKeepTheOrder) {
  const fs::path path = corpus(3000);
  const std::string digest = load(path).digest();
  const fs::path broken = put("broken.jsonl", "{\"text\": \"a\"}\n{\"text\": 1}\n" +
                                                  std::string(500, '\n') + "{\"x\": 1}\n");
  install_thread_pool({[](int64_t count, const std::function<void(int64_t)>& task) {
                         std::vector<std::thread> threads;
                         for (int64_t i = 0; i < count; ++i) threads.emplace_back(task, i);
                         for (std::thread& thread : threads) thread.join();
                       },
                       [] { return 4; }});
  for (int round = 0; round < 5; ++round) {
    EXPECT_EQ(load(path).digest(), digest);
    refuse(broken, "broken.jsonl:2");
  }
  install_thread_pool({[](int64_t count, const std::function<void(int64_t)>& task) {
                         for (int64_t i = 0; i < count; ++i) task(i);
                       },
                       [] { return 1; }});
}

TEST(DataCacheOption, AutoNoneAndAFolder) {
  EXPECT_TRUE(data_cache("none").folder.empty());
  EXPECT_EQ(data_cache("here").folder, "here");
  EXPECT_EQ(data_cache("here").least_bytes, 0);
  EXPECT_GT(data_cache("auto").least_bytes, 0);
  EXPECT_FALSE(data_cache("auto").needed);
  EXPECT_THROW(data_cache(""), Error);
}

}  // namespace
}  // namespace smidgen
