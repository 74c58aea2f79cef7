#!/usr/bin/env bash
# Proves the front door on a bare Debian 12: a chroot with git, make, g++ and python3 only, a fresh clone, `make ...`.
# For development; needs root and debootstrap.
#   scripts/bare.sh [--folder DIR] [--keep-clone] [--bind DIR]... [TARGET...]     (default: test)
# The host's pip and apt settings, certificates and PIP_*/TORCH variables are used inside, and --bind shows a folder
# of the host (a local package index) read-only under the same name. Everything mounted is unmounted at the end.
set -euo pipefail
source=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
folder=/tmp/bare
keep=0
binds=()
while [[ ${1:-} == --* ]]; do
  case $1 in
    --folder) folder=$2 && shift 2 ;;
    --bind) binds+=("$2") && shift 2 ;;
    --keep-clone) keep=1 && shift ;;
    *) echo "error: unknown option $1" >&2 && exit 2 ;;
  esac
done
if [[ $(id -u) != 0 ]]; then echo "error: chroot and mount need root" >&2 && exit 1; fi
if [[ ! -x $folder/usr/bin/make ]]; then
  command -v debootstrap >/dev/null || { echo "error: apt-get install debootstrap first" >&2 && exit 1; }
  debootstrap --variant=minbase --include=git,make,g++,python3,ca-certificates bookworm "$folder" \
    "${MIRROR:-http://deb.debian.org/debian}"
fi

mounted=()
unmount_all() {
  local at
  for ((at = ${#mounted[@]} - 1; at >= 0; at--)); do umount "${mounted[at]}" || umount -l "${mounted[at]}"; done
}
trap unmount_all EXIT
show() {  # show DIR [OPTIONS]: the host's DIR inside, under the same name
  mkdir -p "$folder$1"
  mount --bind "$1" "$folder$1"
  mounted+=("$folder$1")
  if [[ -n ${2:-} ]]; then mount -o "remount,bind,$2" "$folder$1"; fi
}
mount -t proc proc "$folder/proc" && mounted+=("$folder/proc")
show /dev
for bind in ${binds[@]+"${binds[@]}"}; do show "$bind" ro; done

# What a user of this network would have set up already.
for file in /etc/resolv.conf /etc/hosts /etc/pip.conf /etc/ssl/certs/ca-certificates.crt; do
  if [[ -e $file ]]; then cp -L "$file" "$folder$file"; fi
done
for kind in sources.list.d apt.conf.d; do cp -r "/etc/apt/$kind/." "$folder/etc/apt/$kind/"; done
rm -f "$folder/etc/apt/sources.list"
mkdir -p "$folder/tmp/home/.config"
if [[ -d ${HOME}/.config/pip ]]; then cp -r "$HOME/.config/pip" "$folder/tmp/home/.config/"; fi

clone=$folder/smidgen
if [[ $keep == 0 || ! -d $clone ]]; then
  rm -rf "$clone"
  git clone -q --no-hardlinks "$source" "$clone"
fi
settings=(HOME=/tmp/home PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 CI=true)
while IFS= read -r name; do settings+=("$name=${!name}"); done < <(compgen -e | grep -E '^(PIP_|TORCH$|SSL_CERT_|https?_proxy$|no_proxy$)')
began=$(date +%s)
code=0
# shellcheck disable=SC2016
chroot "$folder" /usr/bin/env -i "${settings[@]}" bash -c 'cd /smidgen && make "$@"' make "${@:-test}" </dev/null || code=$?
echo "make ${*:-test}: exit $code after $(($(date +%s) - began)) s, from $(git -C "$source" rev-parse --short HEAD)"
exit $code
