// Codecs of deltas: how the values of a tensor become bytes in a file, and come back. A codec of
// signs keeps -1, 0 and +1 exactly; a codec of values rounds, each in its way. A delta is written
// by delta/compress and read by io/delta_files.h, which know where each tensor's bytes lie.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "smidgen/base/registry.h"
#include "smidgen/io/codecs/signs.h"

namespace smidgen {

using Payload = std::span<const std::byte>;

// Works on blocks of at most kSignBlock elements, each on its own.
class SignCodec {
 public:
  virtual ~SignCodec() = default;
  // Appends the bytes of a block.
  virtual void encode(const SignView& signs, std::string& out) const = 0;
  // Reads them all into `out`, which holds zeros. Throws format for bytes that encode() would not
  // have written for out.count elements; `where` is for the message.
  virtual void decode(Payload payload, const SignSpan& out, const std::string& where) const = 0;
};

// Works on rows; a row's bytes depend on its length alone.
class ValueCodec {
 public:
  virtual ~ValueCodec() = default;
  virtual int64_t row_bytes(int64_t columns) const = 0;
  // `row` is finite. Writes row_bytes(row.size()) bytes.
  virtual void encode(std::span<const float> row, std::byte* out) const = 0;
  // Throws format for a scale that is no finite number.
  virtual void decode(const std::byte* bytes, std::span<float> row,
                      const std::string& where) const = 0;
};

class Codec {
 public:
  virtual ~Codec() = default;
  virtual std::string summary() const = 0;  // one line
  virtual std::string source() const = 0;   // paper; empty where there is none
  // Exactly one of the two.
  virtual const SignCodec* signs() const { return nullptr; }
  virtual const ValueCodec* values() const { return nullptr; }
};

void register_all(Registry<Codec>& registry);  // written by the build
const Registry<Codec>& codecs();

}  // namespace smidgen
