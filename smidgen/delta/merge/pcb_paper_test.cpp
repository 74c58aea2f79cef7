#include <gtest/gtest.h>

#include "smidgen/delta/merge/pcb_checks_test.h"

namespace smidgen {
namespace {

TEST(Pcb, Paper) {
  check_pcb("pcb_paper");
}

}  // namespace
}  // namespace smidgen
