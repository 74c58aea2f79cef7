#!/usr/bin/env bash
# Makes the machine ready: the packages of apt.txt, then .venv. Does nothing, quickly, where nothing is missing.
#   scripts/setup.sh run    what building and running needs
#   scripts/setup.sh dev    the references and tools of the tests as well
# Reads PYTHON (default python3), TORCH (a pip requirement, default torch==2.13.0; may carry pip options).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
level=${1:-dev}
python=${PYTHON:-python3}
torch=${TORCH:-torch==2.13.0}
began=$(date +%s)

say() { printf '%s\n' "$*" >&2; }
fail() {
  say "error: $1"
  say "hint: $2"
  exit 1
}

missing_packages() {
  local wanted installed
  wanted=$(sed -e 's/#.*//' apt.txt | tr -s ' \t\n' '\n' | sed '/^$/d' | sort -u)
  # dpkg-query fails when one name is unknown, and still prints the others.
  # shellcheck disable=SC2086
  installed=$(dpkg-query -W -f='${Package} ${db:Status-Status}\n' $wanted 2>/dev/null |
    sed -n 's/ installed$//p' | sort -u || true)
  comm -23 <(printf '%s\n' "$wanted") <(printf '%s\n' "$installed") | tr '\n' ' ' | sed 's/ *$//'
}

install_packages() {
  if [[ ${SMIDGEN_SKIP_PACKAGES:-} == 1 ]]; then return; fi
  if ! command -v dpkg-query >/dev/null; then
    fail "apt.txt names Debian packages, and this system has no dpkg" \
      "install what apt.txt lists by other means, then run make with SMIDGEN_SKIP_PACKAGES=1"
  fi
  local missing as_root=() apt=(apt-get -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 -y -q --no-install-recommends)
  missing=$(missing_packages)
  if [[ -z $missing ]]; then return; fi
  if [[ $(id -u) != 0 ]]; then
    # With nobody at a terminal sudo must not ask for a password.
    if command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [[ -t 0 && -t 2 ]]; }; then
      as_root=(sudo)
    else
      fail "these packages are missing and need root: $missing" \
        "run as root: apt-get update && apt-get install -y --no-install-recommends $missing"
    fi
  fi
  say "installing packages: $missing"
  # A stale or empty list is the usual state of a fresh machine; an unreachable mirror may still do with the cache.
  ${as_root[@]+"${as_root[@]}"} env DEBIAN_FRONTEND=noninteractive apt-get -q update </dev/null >&2 ||
    say "note: apt-get update failed, trying with the lists that are here"
  # shellcheck disable=SC2086
  ${as_root[@]+"${as_root[@]}"} env DEBIAN_FRONTEND=noninteractive "${apt[@]}" install $missing </dev/null >&2
  missing=$(missing_packages)
  if [[ -n $missing ]]; then fail "apt-get left these packages missing: $missing" "look at its output above"; fi
}

# A stamp holds the digest of what it was made from, so that a changed pin or another TORCH runs pip again.
stamp_of() {
  { printf '%s\n%s\n' "$torch" "$(.venv/bin/python -VV 2>&1)"; cat "$@"; } | sha256sum | cut -d' ' -f1
}
is_fresh() { [[ -f .venv/$1 && $(cat ".venv/$1") == "$2" ]]; }

pip() { .venv/bin/python -m pip --disable-pip-version-check --no-input "$@" </dev/null >&2; }

make_venv() {
  if ! .venv/bin/python -c '' 2>/dev/null; then
    rm -rf .venv
    "$python" -m venv .venv || fail "$python -m venv .venv failed" "name a Python 3.11 with venv: make PYTHON=..."
  fi
  local run_stamp
  run_stamp=$(stamp_of requirements.txt requirements-lock.txt)
  if ! is_fresh .stamp-run "$run_stamp"; then
    say "installing $torch and the packages of requirements.txt into .venv"
    # torch first and alone: whatever comes later is resolved against this very build.
    # shellcheck disable=SC2086
    pip install -q $torch -c requirements-lock.txt
    .venv/bin/python -c 'import importlib.metadata as m; print("torch==" + m.version("torch"))' >.venv/torch.txt
    pip install -q -r requirements.txt -c requirements-lock.txt -c .venv/torch.txt
    rm -f .venv/.stamp-dev
    echo "$run_stamp" >.venv/.stamp-run
  fi
  if [[ $level != dev ]]; then return; fi
  local dev_stamp
  dev_stamp=$(stamp_of requirements.txt requirements-dev.txt requirements-alone.txt requirements-lock.txt)
  if ! is_fresh .stamp-dev "$dev_stamp"; then
    say "installing the packages of requirements-dev.txt and requirements-alone.txt into .venv"
    pip install -q -r requirements-dev.txt -c requirements-lock.txt -c .venv/torch.txt
    pip install -q --no-deps -r requirements-alone.txt
    echo "$dev_stamp" >.venv/.stamp-dev
  fi
}

install_packages
make_venv
mkdir -p build/log
echo $(($(date +%s) - began)) >build/log/setup.seconds
