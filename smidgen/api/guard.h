// Only smidgen::Error leaves the library, and what a caller's own callback threw.
#pragma once

#include <exception>
#include <filesystem>
#include <new>

#include "smidgen/base/error.h"

namespace smidgen::api {

// What every entry into the library does first.
void enter();

template <class Body>
auto guarded(Body&& body) {
  try {
    enter();
    return body();
  } catch (const Error&) {
    throw;
  } catch (const std::bad_alloc&) {
    throw Error(ErrorKind::resource, "out of memory");
  } catch (const std::filesystem::filesystem_error& error) {
    throw Error(ErrorKind::resource, error.code().message(), error.path1().string());
  } catch (const std::exception& error) {
    throw Error(ErrorKind::unsupported, str("unexpected: ", error.what()), "",
                "this should not happen; please report it");
  }
}

// Calls a caller's function from inside the library. What it throws is kept, the work is asked to
// stop, and rethrow() hands it on once the library's own frames are gone.
class Callback {
 public:
  // The function's answer; false once it threw.
  template <class Call>
  bool go_on(Call&& call) {
    if (stopped_) return false;
    try {
      stopped_ = !call();
    } catch (...) {
      thrown_ = std::current_exception();
      stopped_ = true;
    }
    return !stopped_;
  }
  bool stopped() const { return stopped_; }
  void rethrow() const {
    if (thrown_) std::rethrow_exception(thrown_);
  }

 private:
  bool stopped_ = false;
  std::exception_ptr thrown_;
};

}  // namespace smidgen::api
