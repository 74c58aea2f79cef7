#include <gtest/gtest.h>

#include "smidgen/delta/merge/pcb_checks_test.h"

namespace smidgen {
namespace {

TEST(Pcb, Search) {
  check_pcb("pcb_es");
}

}  // namespace
}  // namespace smidgen
