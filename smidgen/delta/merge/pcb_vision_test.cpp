#include <gtest/gtest.h>

#include "smidgen/delta/merge/pcb_checks_test.h"

namespace smidgen {
namespace {

TEST(Pcb, Vision) {
  check_pcb("pcb_vision");
}

}  // namespace
}  // namespace smidgen
