#!/usr/bin/env bash
# Configures where needed and builds one flavour: release, debug, bench, asan (rooms without torch, with fuzz targets), gcc.
#   scripts/build.sh FLAVOUR [TARGET...]
# Reads WERROR (ON), JOBS (by cores and memory), CXX.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
flavour=$1
shift
case $flavour in
  release | debug) options=(--preset "$flavour") ;;
  asan) options=(--preset asan) ;;
  gcc) options=(--preset release -B build/gcc -DCMAKE_CXX_COMPILER=g++) ;;
  bench) options=(--preset release -B build/bench -DSMIDGEN_BENCH=ON -DSMIDGEN_TESTS=OFF) ;;
  *)
    echo "error: no flavour is called $flavour" >&2
    exit 2
    ;;
esac
options+=("-DSMIDGEN_PYTHON=$PWD/.venv/bin/python" "-DSMIDGEN_WERROR=${WERROR:-ON}")
folder=build/$flavour
wanted="${options[*]} ${CXX:-} $(cat .venv/torch.txt 2>/dev/null || true)"
if [[ ! -f $folder/build.ninja || $(cat "$folder/.configured" 2>/dev/null || true) != "$wanted" ]]; then
  # Another compiler or torch leaves nothing of the old folder usable.
  rm -rf "$folder"
  mkdir -p "$folder"
  cmake "${options[@]}" >"$folder/configure.log" 2>&1 </dev/null || {
    cat "$folder/configure.log" >&2
    exit 1
  }
  echo "$wanted" >"$folder/.configured"
fi
quiet=--quiet
if [[ -t 1 ]]; then quiet=; fi
# shellcheck disable=SC2086
ninja -C "$folder" -j "${JOBS:-$(python3 scripts/jobs.py)}" $quiet "$@" </dev/null
