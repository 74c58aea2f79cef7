#!/usr/bin/env bash
# Builds the rooms without torch, and the vector kernels that need none, for 64-bit ARM into build/arm, and runs their
# unit tests under qemu. Needs Debian's g++-aarch64-linux-gnu and qemu-user-static, which `make` does not install; the
# ARM libraries go to build/arm-root and nowhere else.
#   scripts/arm.sh [build|test]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD/build/arm-root
packages=(libyaml-cpp-dev libyaml-cpp0.7 libpcre2-dev libpcre2-8-0 libutf8proc-dev libutf8proc2 libssl-dev libssl3
  libhwy-dev libhwy1 libgtest-dev nlohmann-json3-dev)

fetch() {
  # apt with folders of its own: the machine's list of architectures stays as it is.
  local apt=$PWD/build/arm-apt
  mkdir -p "$apt"/{lists/partial,cache/archives/partial,debs} "$root"
  : >"$apt/status"
  cat >"$apt/conf" <<EOF
APT::Architecture "arm64";
APT::Architectures { "arm64"; };
Dir::State::Lists "$apt/lists";
Dir::State::status "$apt/status";
Dir::Cache "$apt/cache";
APT::Sandbox::User "root";
EOF
  export APT_CONFIG=$apt/conf
  apt-get -q update
  (cd "$apt/debs" && apt-get -q download "${packages[@]}")
  unset APT_CONFIG
  for package in "$apt"/debs/*.deb; do dpkg -x "$package" "$root"; done
  touch "$root/.complete"
}

build() {
  [[ -f $root/.complete ]] || fetch
  export SMIDGEN_ARM_ROOT=$root PKG_CONFIG_SYSROOT_DIR=$root
  export PKG_CONFIG_LIBDIR=$root/usr/lib/aarch64-linux-gnu/pkgconfig
  # Warnings stay warnings: GCC 12 for ARM sees overflows in assignments to std::string that cannot happen.
  [[ -f build/arm/build.ninja ]] || cmake --preset release -B build/arm -DCMAKE_TOOLCHAIN_FILE=cmake/aarch64.cmake \
    -DSMIDGEN_CORE=OFF -DSMIDGEN_VECTOR_KERNELS=ON
  ninja -C build/arm -j "${JOBS:-$(python3 scripts/jobs.py)}" --quiet
}

run_tests() {
  local failed=0 libraries=$PWD/build/arm:$root/usr/lib/aarch64-linux-gnu:/usr/aarch64-linux-gnu/lib
  for program in build/arm/{base,io,text,report,kernels}_test; do
    echo "== $program"
    qemu-aarch64-static -L /usr/aarch64-linux-gnu -E LD_LIBRARY_PATH="$libraries" "$program" || failed=1
  done
  return $failed
}

case ${1:-build} in
  build) build ;;
  test) build && run_tests ;;
  *)
    echo "error: scripts/arm.sh knows build and test, not $1" >&2
    exit 2
    ;;
esac
