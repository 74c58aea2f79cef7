// clang-format off: target.h tells Highway which targets to leave out
#include "smidgen/kernels/target.h"

#include <cstdlib>
#include <hwy/highway.h>
#include <hwy/targets.h>
// clang-format on

#include "smidgen/base/error.h"

namespace smidgen {
namespace {

std::string name_of(int64_t target) {
  switch (target) {
    case HWY_SCALAR:
    case HWY_EMU128:
      return "scalar";
    case HWY_AVX2:
      return "avx2";
    case HWY_AVX3:
      return "avx512";
    default:
      return hwy::TargetName(target);
  }
}

// What AVX-512 machines have beside it; each level includes those before it.
enum class Dots { none, int8, bf16 };

struct DotTarget {
  const char* name;
  Dots dots;
};
constexpr DotTarget kDotTargets[] = {{"bf16", Dots::bf16}, {"vnni", Dots::int8}};

Dots machine_dots() {
#if defined(__x86_64__)
  const bool int8 = __builtin_cpu_supports("avx512vnni");
  if (int8 && __builtin_cpu_supports("avx512bf16")) return Dots::bf16;
  if (int8) return Dots::int8;
#endif
  return Dots::none;
}

Dots chosen_dots = Dots::none;

int64_t lowest_bit(int64_t mask) {
  return mask & -mask;
}

// Without the mock mask, so that a forced target does not hide the others.
int64_t machine_targets() {
  static const int64_t mask = hwy::SupportedTargets() & HWY_TARGETS;
  return mask;
}

bool has_avx512() {
  return machine_targets() & HWY_AVX3;
}

}  // namespace

std::vector<std::string> kernel_targets() {
  std::vector<std::string> names;
  for (const DotTarget& target : kDotTargets) {
    if (has_avx512() && target.dots <= machine_dots()) names.push_back(target.name);
  }
  for (int64_t left = machine_targets(); left; left &= left - 1) {
    names.push_back(name_of(lowest_bit(left)));
  }
  return names;
}

void force_kernel_target(std::string_view name) {
  int64_t chosen = 0;
  Dots dots = name.empty() && has_avx512() ? machine_dots() : Dots::none;
  for (const DotTarget& target : kDotTargets) {
    if (name == target.name && has_avx512() && target.dots <= machine_dots()) {
      chosen = HWY_AVX3;
      dots = target.dots;
    }
  }
  for (int64_t left = machine_targets(); left && !name.empty(); left &= left - 1) {
    if (name_of(lowest_bit(left)) == name) chosen = lowest_bit(left);
  }
  if (!name.empty() && !chosen) {
    const bool known =
        name == "scalar" || name == "avx2" || name == "avx512" || name == "vnni" || name == "bf16";
    throw Error(known ? ErrorKind::unsupported : ErrorKind::usage,
                known ? str("this machine or build has no kernels for '", name, "'")
                      : str("there is no kernel target '", name, "'"),
                "SMIDGEN_TARGET",
                did_you_mean(name, kernel_targets(), str("here: ", join(kernel_targets()))));
  }
  chosen_dots = dots;
  hwy::SetSupportedTargetsForTest(chosen);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

void choose_kernel_target() {
  static const bool done = [] {
    machine_targets();
    const char* name = std::getenv("SMIDGEN_TARGET");
    force_kernel_target(name ? name : "");
    return true;
  }();
  (void)done;
}

std::string kernel_target() {
  choose_kernel_target();
  for (const DotTarget& target : kDotTargets) {
    if (target.dots == chosen_dots) return target.name;
  }
  return name_of(lowest_bit(hwy::SupportedTargets() & HWY_TARGETS));
}

bool uses_bf16_products() {
  choose_kernel_target();
  return chosen_dots == Dots::bf16;
}

bool uses_int8_products() {
  choose_kernel_target();
  return chosen_dots >= Dots::int8;
}

}  // namespace smidgen
