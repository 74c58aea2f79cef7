#include "smidgen/io/events.h"

#include <array>
#include <atomic>
#include <cerrno>
#include <ctime>
#include <fcntl.h>
#include <unistd.h>
#include <utility>

#include <sys/stat.h>

#include "smidgen/io/little_endian.h"

namespace smidgen {

namespace {

constexpr int kFlushRecords = 100;
constexpr std::chrono::seconds kFlushTime{10};
constexpr uint64_t kFrame = 8 + 4 + 4;  // length, its checksum, the payload's checksum

constexpr std::array<uint32_t, 256> crc_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ (value & 1 ? 0x82F63B78u : 0u);
    table[i] = value;
  }
  return table;
}

// The protobuf wire format: a field is its number and kind, then the value.
enum Kind : uint32_t { kVarint = 0, kFixed64 = 1, kLength = 2, kFixed32 = 5 };

void varint(std::string& out, uint64_t value) {
  for (; value >= 128; value >>= 7) out += static_cast<char>(value | 128);
  out += static_cast<char>(value);
}

void field(std::string& out, uint32_t number, Kind kind) {
  varint(out, number << 3 | kind);
}

void bytes_field(std::string& out, uint32_t number, std::string_view bytes) {
  field(out, number, kLength);
  varint(out, bytes.size());
  out += bytes;
}

// proto3 leaves out fields that hold zero.
std::string event(double wall_time, int64_t step) {
  std::string out;
  if (wall_time != 0) {
    field(out, 1, kFixed64);
    append_bytes(out, wall_time);
  }
  if (step != 0) {
    field(out, 2, kVarint);
    varint(out, static_cast<uint64_t>(step));
  }
  return out;
}

std::string summary_event(std::string_view value, int64_t step, double wall_time) {
  std::string summary, out = event(wall_time, step);
  bytes_field(summary, 1, value);
  bytes_field(out, 5, summary);
  return out;
}

double now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  static constexpr std::array<uint32_t, 256> table = crc_table();
  uint32_t crc = 0xffffffff;
  for (const char c : bytes) crc = (crc >> 8) ^ table[(crc ^ static_cast<unsigned char>(c)) & 255];
  return crc ^ 0xffffffff;
}

uint32_t masked_crc32c(std::string_view bytes) {
  const uint32_t crc = crc32c(bytes);
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

std::string event_record(std::string_view payload) {
  std::string out;
  append_bytes<uint64_t>(out, payload.size());
  append_bytes(out, masked_crc32c(out));
  out += payload;
  append_bytes(out, masked_crc32c(payload));
  return out;
}

std::string version_event(double wall_time) {
  std::string out = event(wall_time, 0);
  bytes_field(out, 3, "brain.Event:2");
  return out;
}

std::string scalar_event(const std::string& tag, float value, int64_t step, double wall_time) {
  std::string entry;
  bytes_field(entry, 1, tag);
  field(entry, 2, kFixed32);
  append_bytes(entry, value);
  return summary_event(entry, step, wall_time);
}

std::string text_event(const std::string& tag, std::string_view text, int64_t step,
                       double wall_time) {
  constexpr uint64_t kString = 7;  // DT_STRING
  std::string dimension, shape, tensor, plugin, metadata, entry;
  field(dimension, 1, kVarint);
  varint(dimension, 1);
  bytes_field(shape, 2, dimension);
  field(tensor, 1, kVarint);
  varint(tensor, kString);
  bytes_field(tensor, 2, shape);
  bytes_field(tensor, 8, text);
  bytes_field(plugin, 1, "text");
  bytes_field(metadata, 1, plugin);
  bytes_field(entry, 1, tag);
  bytes_field(entry, 8, tensor);
  bytes_field(entry, 9, metadata);
  return summary_event(entry, step, wall_time);
}

EventWriter::EventWriter(fs::path path, int file, uint64_t offset)
    : path_(std::move(path)),
      file_(file),
      offset_(offset),
      flushed_(std::chrono::steady_clock::now()) {}

EventWriter::EventWriter(EventWriter&& other) noexcept
    : path_(std::move(other.path_)),
      file_(std::exchange(other.file_, -1)),
      offset_(other.offset_),
      buffer_(std::move(other.buffer_)),
      waiting_(other.waiting_),
      flushed_(other.flushed_) {}

EventWriter::~EventWriter() {
  if (file_ < 0) return;
  try {
    flush();
  } catch (const Error&) {
    // A full disk has been reported by the checkpoint, whose offset() flushes too.
  }
  ::close(file_);
}

EventWriter EventWriter::create(const fs::path& folder) {
  static std::atomic<int> number{0};
  make_folder(folder);
  char host[256] = {};
  if (::gethostname(host, sizeof host - 1) != 0 || !*host)
    std::snprintf(host, sizeof host, "localhost");
  char seconds[24];
  std::snprintf(seconds, sizeof seconds, "%010lld", static_cast<long long>(std::time(nullptr)));
  const fs::path path =
      folder / str("events.out.tfevents.", seconds, ".", host, ".", ::getpid(), ".", number++);
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (file < 0) throw os_error("write", path, errno);
  EventWriter writer(path, file, 0);
  writer.append(event_record(version_event(now())));
  writer.flush();
  return writer;
}

EventWriter EventWriter::resume(const fs::path& path, uint64_t offset) {
  const int file = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (file < 0) throw os_error("open", path, errno);
  EventWriter writer(path, file, offset);  // owns the descriptor from here on
  struct stat status{};
  if (::fstat(file, &status) != 0) throw os_error("read", path, errno);
  const auto size = static_cast<uint64_t>(status.st_size);
  if (offset > size) {
    throw Error(ErrorKind::mismatch,
                str("the event file has ", size, " bytes, the checkpoint remembers ", offset),
                path.string(),
                "the file was changed after the checkpoint; move it away to start a new one");
  }
  for (uint64_t at = 0; at != offset;) {
    uint64_t length = 0;
    if (offset - at < kFrame ||
        ::pread(file, &length, sizeof length, static_cast<off_t>(at)) != sizeof length ||
        length > offset - at - kFrame) {
      throw Error(ErrorKind::mismatch, str("no record ends at byte ", offset),
                  str(path.string(), ", byte ", at),
                  "the file was changed after the checkpoint; move it away to start a new one");
    }
    at += kFrame + length;
  }
  if (::ftruncate(file, static_cast<off_t>(offset)) != 0) throw os_error("cut", path, errno);
  if (::lseek(file, static_cast<off_t>(offset), SEEK_SET) < 0) throw os_error("write", path, errno);
  return writer;
}

void EventWriter::append(std::string record) {
  buffer_ += record;
  ++waiting_;
  if (waiting_ >= kFlushRecords || std::chrono::steady_clock::now() - flushed_ >= kFlushTime)
    flush();
}

void EventWriter::scalar(const std::string& tag, float value, int64_t step, double wall_time) {
  append(event_record(scalar_event(tag, value, step, wall_time < 0 ? now() : wall_time)));
}

void EventWriter::text(const std::string& tag, std::string_view text, int64_t step,
                       double wall_time) {
  append(event_record(text_event(tag, text, step, wall_time < 0 ? now() : wall_time)));
}

void EventWriter::flush() {
  flushed_ = std::chrono::steady_clock::now();
  if (buffer_.empty()) return;
  try {
    write_all(file_, std::as_bytes(std::span(buffer_.data(), buffer_.size())), path_);
  } catch (const Error&) {
    // Half a record would hide all later ones from every reader: back to the last whole one.
    if (::ftruncate(file_, static_cast<off_t>(offset_)) == 0) {
      ::lseek(file_, static_cast<off_t>(offset_), SEEK_SET);
    }
    throw;
  }
  offset_ += buffer_.size();
  buffer_.clear();
  waiting_ = 0;
}

uint64_t EventWriter::offset() {
  flush();
  if (::fsync(file_) != 0 && errno != EINVAL) throw os_error("sync", path_, errno);
  return offset_;
}

}  // namespace smidgen
