#include <gtest/gtest.h>

#include "smidgen/delta/merge/pcb_checks_test.h"

namespace smidgen {
namespace {

TEST(Pcb, Script) {
  check_pcb("pcb");
}

}  // namespace
}  // namespace smidgen
