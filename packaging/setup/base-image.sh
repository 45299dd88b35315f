#!/usr/bin/env bash
# Makes a small base image without any registry: the machine's own static busybox with links for all it can do.
#
#   base-image.sh NAME:TAG     makes the image in the Docker of DOCKERFORGE_DOCKER_SOCKET, where it is not there yet
#
# About 2 MB: a shell, httpd, wget, sleep and the rest; enough to build on and to serve a page from.
set -euo pipefail
HERE=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
SAY_AS=image
# shellcheck source=packaging/setup/lib.sh
. "$HERE/lib.sh"

main() {
  local image=$1 busybox applet root
  if docker image inspect "$image" >/dev/null 2>&1; then return 0; fi
  busybox=$(command -v busybox) || die "busybox is not installed: run packaging/setup/setup.sh test"
  root=$(mktemp -d)
  # shellcheck disable=SC2064 # the folder's name is wanted as it is now
  trap "rm -rf -- '$root'" EXIT
  say "making the base image $image from $busybox"
  # mktemp made the root 0700, and the image takes its mode: a user other than root must be able to enter.
  chmod 0755 "$root"
  mkdir -p "$root"/{bin,etc,proc,sys,dev,root,var/tmp,www}
  install -d -m 1777 "$root/tmp"
  install -m 0755 "$(readlink -f "$busybox")" "$root/bin/busybox"
  "$busybox" --list | while read -r applet; do
    [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
  done
  ln -s bin "$root/sbin"
  printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n' >"$root/etc/passwd"
  printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
  tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -C "$root" -c . |
    docker import -c 'CMD ["/bin/sh"]' -c 'ENV PATH=/bin' -m 'busybox of this machine' - "$image" >/dev/null
}

case "${1:-}" in
  ?*:?*) main "$1" ;;
  *)
    sed -n '2,6s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
