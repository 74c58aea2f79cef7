// TensorBoard event files: records of {u64 length, masked crc32c of it, payload, masked crc32c of
// the payload}, the payload a protobuf Event. Source: tensorflow/tensorboard (compat/proto,
// summary/writer/record_writer.py).
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "smidgen/base/fs.h"

namespace smidgen {

// CRC-32C (Castagnoli, reflected polynomial 0x82F63B78) and the rotation that record files put on
// top.
uint32_t crc32c(std::string_view bytes);
uint32_t masked_crc32c(std::string_view bytes);

// Payloads and the record around them; free functions so that goldens can pin them.
std::string event_record(std::string_view payload);
std::string version_event(double wall_time);
std::string scalar_event(const std::string& tag, float value, int64_t step, double wall_time);
std::string text_event(const std::string& tag, std::string_view text, int64_t step,
                       double wall_time);

// Append-only. Records reach the kernel every 100 records or 10 s, and at flush(), offset() and
// destruction.
class EventWriter {
 public:
  // A new file events.out.tfevents.SECONDS.HOST.PID.N in `folder` (made if missing).
  static EventWriter create(const fs::path& folder);
  // Continues `file` at `offset`, cutting off what a lost run wrote beyond. The offset must be the
  // end of a record.
  static EventWriter resume(const fs::path& file, uint64_t offset);

  EventWriter(EventWriter&& other) noexcept;
  EventWriter& operator=(EventWriter&&) = delete;
  ~EventWriter();

  // wall_time: seconds since 1970; a negative one means now.
  void scalar(const std::string& tag, float value, int64_t step, double wall_time = -1);
  void text(const std::string& tag, std::string_view text, int64_t step, double wall_time = -1);
  void flush();
  // Bytes in the file, all of them flushed and synced: what a checkpoint stores.
  uint64_t offset();
  const fs::path& path() const { return path_; }

 private:
  EventWriter(fs::path path, int file, uint64_t offset);
  void append(std::string record);
  fs::path path_;
  int file_ = -1;
  uint64_t offset_ = 0;
  std::string buffer_;
  int waiting_ = 0;
  std::chrono::steady_clock::time_point flushed_;
};

}  // namespace smidgen
