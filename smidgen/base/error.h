// The one exception of the project. A user's mistake, a broken file or a full disk throws it; a bug
// asserts.
#pragma once

#include <exception>
#include <string>
#include <string_view>
#include <vector>

#include "smidgen/base/str.h"

namespace smidgen {

// What went wrong, in the coarseness that exit codes and HTTP status codes need.
enum class ErrorKind {
  usage,        // the call itself: verb, flag, recipe key, value out of range
  not_found,    // a file, tensor, site or name that does not exist
  format,       // a file whose bytes are not what its kind demands
  mismatch,     // two things that are fine alone and do not fit together
  unsupported,  // understood, and not something this build can do
  data,      // nothing to learn from: empty set, no answer tokens, sample longer than the context
  resource,  // disk, memory, permission, lock
  diverged,  // the training watchdog stopped a run
  interrupted,  // a signal ended the work at a safe point
};

std::string_view to_string(ErrorKind kind);

// Exit code of the command: 2 for a wrong call, 130 on interrupt, 1 for every other failure.
int exit_code(ErrorKind kind);

// `where` is a file with byte offset or line, a recipe key with its origin, or a tensor name;
// `hint` is what would have been right. Both may be empty. what() is "message (where)".
class Error : public std::exception {
 public:
  Error(ErrorKind kind, std::string message, std::string where = {}, std::string hint = {});

  ErrorKind kind() const { return kind_; }
  const std::string& message() const { return message_; }
  const std::string& where() const { return where_; }
  const std::string& hint() const { return hint_; }
  const char* what() const noexcept override { return what_.c_str(); }

 private:
  ErrorKind kind_;
  std::string message_, where_, hint_, what_;
};

// The candidates that a misspelt `name` most likely meant: smallest edit distance first, at most
// `most`, none farther than a third of the longer word. Used for every "did you mean".
std::vector<std::string> nearest(std::string_view name, const std::vector<std::string>& candidates,
                                 size_t most = 3);

// "did you mean 'a' or 'b'?", or `otherwise` when nothing is near.
std::string did_you_mean(std::string_view name, const std::vector<std::string>& candidates,
                         std::string otherwise = {});

[[noreturn]] void assertion_failed(const char* expression, const char* file, int line);

}  // namespace smidgen

// For bugs, never for input. Stays on in release builds: the checks are cheap and a wrong gradient
// is not.
#define SMIDGEN_ASSERT(condition) \
  ((condition) ? void(0) : ::smidgen::assertion_failed(#condition, __FILE__, __LINE__))
