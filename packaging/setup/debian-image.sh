#!/usr/bin/env bash
# Makes a Debian base image without any registry: debootstrap's minbase, without documentation and translations.
#
#   debian-image.sh NAME:TAG     makes the image in the Docker of DOCKERFORGE_DOCKER_SOCKET, where it is not there yet;
#                                the tag is the release: 11, 12, 13, or its code name
#
# Templates that ship are based on base.dockerforge.invalid/debian:12. That domain never exists (RFC 2606): where the image
# is missing Docker cannot pull a stranger's of the same name.
#
# About 80 MB in half a minute, as root. The packages come from where this machine has its own, and so do those that are
# installed in containers later; DOCKERFORGE_DEBIAN_MIRROR names another mirror, for a machine that is no Debian.
set -euo pipefail
HERE=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
SAY_AS=image
# shellcheck source=packaging/setup/lib.sh
. "$HERE/lib.sh"
PATH="$PATH:/usr/sbin:/sbin"

# What apt asks on this machine, a line each: the code name that the archive says of itself, and the address. Addresses
# with a password in them stay here: an image is no place for it.
archives() {
  # shellcheck disable=SC2016 # apt's own names, not the shell's
  apt-get indextargets --format '$(CODENAME) $(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 2>/dev/null |
    sed 's,/$,,' | grep -E '^[a-z-]+ https?://[^@ ]+$' | sort -u
}

# sources RELEASE: the image's sources.list. Nothing where no mirror is known.
sources() {
  local release=$1 known mirror security
  known=$(archives || true)
  mirror=${DOCKERFORGE_DEBIAN_MIRROR:-$(awk '$1 !~ /-/ { print $2; exit }' <<<"$known")}
  security=$(awk '$1 ~ /-security$/ { print $2; exit }' <<<"$known")
  [ -n "$mirror" ] || return 0
  printf 'deb %s %s main\n' "$mirror" "$release" "$mirror" "$release-updates"
  if [ -n "$security" ]; then printf 'deb %s %s main\n' "$security" "$release-security"; fi
}

# What the image's apt and dpkg do as this machine's, and what is of no use in a container.
settings() {
  local root=$1 name
  # A mirror that keeps an older state is taken here only where this machine takes it, too.
  for name in Acquire::Check-Valid-Until Acquire::Check-Date; do apt-config dump "$name"; done \
    >"$root/etc/apt/apt.conf.d/50mirror"
  cat >"$root/etc/apt/apt.conf.d/60small" <<'CONF'
Acquire::Languages "none";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/archives/partial/*.deb || true"; };
CONF
  cat >"$root/etc/dpkg/dpkg.cfg.d/small" <<'CONF'
path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright
path-exclude=/usr/share/info/*
path-exclude=/usr/share/locale/*
path-exclude=/usr/share/man/*
CONF
  # Packages start their services when they are installed; in an image nothing is to run.
  printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
  chmod 0755 "$root/usr/sbin/policy-rc.d"
}

slim() {
  local root=$1
  find "$root/usr/share/doc" ! -type d ! -name copyright -delete
  find "$root/usr/share/doc" -type d -empty -delete
  # apt and dpkg expect some of the folders themselves.
  find "$root"/usr/share/{info,locale,man} "$root"/var/{cache,log,lib/apt/lists} -mindepth 1 ! -type d -delete
  rm -f "$root"/etc/{hostname,resolv.conf} "$root"/var/lib/dpkg/*-old
  : >"$root/etc/machine-id"
}

main() {
  local image=$1 release=${1##*:} list work log proxy=''
  if docker image inspect "$image" >/dev/null 2>&1; then return 0; fi
  case $release in 11) release=bullseye ;; 12) release=bookworm ;; 13) release=trixie ;; esac
  have debootstrap || die "debootstrap is not installed: run packaging/setup/setup.sh templates"
  [ -e "/usr/share/debootstrap/scripts/$release" ] || die "the tag '${1##*:}' is no release that debootstrap knows"
  need_root "making a Debian image"
  list=$(sources "$release")
  if [ -z "$list" ]; then
    # Which archive is Debian's is told by what was downloaded from it.
    apt-get -q update >/dev/null 2>&1 || true
    list=$(sources "$release")
  fi
  [ -n "$list" ] || die "apt knows no Debian mirror here: name one with DOCKERFORGE_DEBIAN_MIRROR=http://…"
  eval "$(apt-config shell proxy Acquire::http::Proxy)"
  # Not in /tmp, which is mounted without devices on many machines.
  work=$(mktemp -d /var/tmp/dockerforge-image.XXXXXX)
  # shellcheck disable=SC2064 # the folder's name is wanted as it is now
  trap "rm -rf --one-file-system -- '$work'" EXIT
  log=$work/log
  local mirror root=$work/root
  mirror=$(awk 'NR == 1 { print $2 }' <<<"$list")
  local options=(--variant=minbase)
  case $list in *https://*) options+=(--include=ca-certificates) ;; esac
  say "making the base image $image from Debian's packages of $release"
  http_proxy=${http_proxy:-$proxy} debootstrap "${options[@]}" "$release" "$root" "$mirror" >"$log" 2>&1 || {
    tail -n 15 "$log" >&2
    die "debootstrap failed"
  }
  settings "$root"
  slim "$root"
  printf '%s\n' "$list" >"$root/etc/apt/sources.list"
  tar --sort=name --numeric-owner --one-file-system --exclude='./dev/*' --exclude='./proc/*' --exclude='./sys/*' -C "$root" -c . |
    docker import -c 'CMD ["/bin/sh"]' -c 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
      -m "Debian $release by debootstrap" - "$image" >/dev/null
}

case "${1:-}" in
  ?*:?*) main "$1" ;;
  *)
    sed -n '2,11s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
