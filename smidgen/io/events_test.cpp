#include "smidgen/io/events.h"

#include <fstream>

#include <gtest/gtest.h>

#include "smidgen/base/temporary_folder.h"
#include "smidgen/io/golden_data.h"
#include "smidgen/io/hex_test.h"
#include "smidgen/io/metrics_log.h"

namespace smidgen {
namespace {

TEST(Crc32c, PublishedValues) {
  EXPECT_EQ(crc32c("123456789"), 0xe3069283u);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aau);  // RFC 3720, B.4
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43u);
}

TEST(Events, RecordsEqualTensorBoards) {
  EXPECT_EQ(to_hex(event_record(version_event(1.0))), golden::kVersionEvent);
  EXPECT_EQ(to_hex(event_record(version_event(1.0))),
            "1800000000000000a37f4b2209000000000000f03f1a0d627261696e2e4576656e743a3286bf577a");
  EXPECT_EQ(to_hex(event_record(scalar_event("loss/train", 0.5f, 3, 1.0))), golden::kScalarEvent);
  EXPECT_EQ(to_hex(event_record(scalar_event("lr", 0, 0, 1.5e9))), golden::kZeroEvent);
  std::string text;
  for (int i = 0; i < 30; ++i) text += "gr\u00fc\u00dfe ";
  EXPECT_EQ(to_hex(event_record(text_event("sample/0", text, 300, 2.5))), golden::kTextEvent);
}

TEST(Events, ResumeCutsWhatALostRunWrote) {
  TemporaryFolder folder;
  fs::path path;
  uint64_t offset = 0;
  std::string kept;
  {
    EventWriter writer = EventWriter::create(folder / "events");
    path = writer.path();
    EXPECT_EQ(path.filename().string().rfind("events.out.tfevents.", 0), 0u);
    writer.scalar("loss", 1.0f, 1, 1.0);
    offset = writer.offset();
    kept = read_file(path);
    EXPECT_EQ(kept.size(), offset);
    writer.scalar("loss", 2.0f, 2, 2.0);
  }
  EXPECT_GT(read_file(path).size(), offset);
  {
    EventWriter writer = EventWriter::resume(path, offset);
    writer.scalar("loss", 3.0f, 2, 2.0);
  }
  EXPECT_EQ(read_file(path), kept + event_record(scalar_event("loss", 3.0f, 2, 2.0)));
  for (const uint64_t wrong : {offset - 1, offset + 1, uint64_t{1}, uint64_t{1} << 40}) {
    const std::string error = error_of([&] { EventWriter::resume(path, wrong); });
    EXPECT_EQ(error.rfind("mismatch: ", 0), 0u) << error;
  }
  EXPECT_NE(error_of([&] { EventWriter::resume(folder / "none", 0); }).find("no such file"),
            std::string::npos);
}

TEST(Events, FlushesEveryHundredRecords) {
  TemporaryFolder folder;
  EventWriter writer = EventWriter::create(folder.path());
  const auto start = fs::file_size(writer.path());
  for (int i = 0; i < 99; ++i) writer.scalar("a", 0, i);
  EXPECT_EQ(fs::file_size(writer.path()), start);
  writer.scalar("a", 0, 99);
  EXPECT_GT(fs::file_size(writer.path()), start);
}

TEST(MetricsLog, ResumeCutsLines) {
  TemporaryFolder folder;
  const fs::path path = folder / "metrics.jsonl";
  uint64_t offset = 0;
  {
    MetricsLog log(path, 0);
    log.append({{"step", 1}, {"loss", 0.5}});
    offset = log.sync();
    log.append({{"step", 2}});
    EXPECT_EQ(read_file(path), "{\"step\":1,\"loss\":0.5}\n{\"step\":2}\n");
  }
  {
    MetricsLog log(path, offset);
    log.append({{"step", 3}});
    EXPECT_EQ(log.offset(), fs::file_size(path));
  }
  EXPECT_EQ(read_file(path), "{\"step\":1,\"loss\":0.5}\n{\"step\":3}\n");
  EXPECT_NE(error_of([&] { MetricsLog(path, offset - 1); }).find("no line ends at byte"),
            std::string::npos);
  EXPECT_NE(error_of([&] { MetricsLog(path, 1000); }).find("the checkpoint remembers 1000"),
            std::string::npos);
  EXPECT_EQ(read_file(path), "{\"step\":1,\"loss\":0.5}\n{\"step\":3}\n");
  MetricsLog(path, 0).sync();
  EXPECT_EQ(fs::file_size(path), 0u);
}

}  // namespace
}  // namespace smidgen
