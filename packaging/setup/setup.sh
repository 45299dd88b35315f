#!/usr/bin/env bash
# Makes a Debian machine ready: installs what is missing from Debian's own packages, starts Docker where it is not
# running. Says each thing it does in one line, says nothing of what is already there, and can be repeated.
#
#   setup.sh demo        what `make demo` needs: a compiler's linker, Docker, debootstrap, curl, jq
#   setup.sh test        that, and what the tests need: PostgreSQL, a registry, network tools, busybox, and from PyPI, into a
#                        folder of its own, what the contract tests run
#   setup.sh templates   what the templates that ship need: Docker, debootstrap for their base image, curl, jq
#   setup.sh stop-docker stops a Docker that this script had to start by hand, if nothing uses it any more
#
# Works with systemd as PID 1 and without any init system (then dockerd is started by hand). A Docker that is already
# running is used as it is, whoever installed it.
set -euo pipefail
HERE=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
SAY_AS=setup
# shellcheck source=packaging/setup/lib.sh
. "$HERE/lib.sh"

DOCKERD_PID=$SETUP_DIR/dockerd.pid
DOCKERD_LOG=/var/log/dockerforge-setup-dockerd.log
# Oldest Rust that compiles the workspace: `rust-version` in Cargo.toml.
RUST_NEEDED=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$CHECKOUT/Cargo.toml")

MISSING=()
# want COMMAND PACKAGE: the package is to be installed where the command is not found.
want() { have "$1" || [ -x "/usr/sbin/$1" ] || [ -x "/sbin/$1" ] || MISSING+=("$2"); }

installed() { dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed; }

choose_packages() {
  if [ "$1" != templates ]; then
    want cc gcc
    [ -e /usr/include/stdio.h ] || MISSING+=(libc6-dev)
  fi
  want curl curl
  want jq jq
  want ip iproute2
  want ss iproute2
  want ps procps
  want tar tar
  want gzip gzip
  want flock util-linux
  [ -e /etc/ssl/certs/ca-certificates.crt ] || MISSING+=(ca-certificates)
  if ! docker_answers >/dev/null; then
    want dockerd docker.io
    want iptables iptables
  fi
  want debootstrap debootstrap
  # A machine that is no Debian has other keys.
  [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || MISSING+=(debian-archive-keyring)
  if [ "$1" = test ]; then
    # The static one: it goes into images that contain nothing else, not even a C library.
    if ! busybox_is_static; then MISSING+=(busybox-static); fi
    want iptables iptables
    want nsenter util-linux
    want containerd containerd
    want dockerd docker.io
    want docker-registry docker-registry
    want python3 python3
    python3 -c 'import ensurepip, venv' 2>/dev/null || MISSING+=(python3-venv)
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || MISSING+=(postgresql)
  fi
}

busybox_is_static() {
  local path
  path=$(command -v busybox) && ! ldd "$path" >/dev/null 2>&1
}

install_packages() {
  local unique
  [ "${#MISSING[@]}" -gt 0 ] || return 0
  mapfile -t unique < <(printf '%s\n' "${MISSING[@]}" | sort -u)
  have apt-get || die "missing: ${unique[*]} - and there is no apt-get: install them by your system's own means"
  need_root "installing packages"
  export DEBIAN_FRONTEND=noninteractive
  say "installing from Debian's packages: ${unique[*]}"
  # Lists that are a day old are good enough; a fresh machine or container image has none at all.
  if [ -z "$(find /var/lib/apt/lists -name '*_Packages*' -mtime -1 -print -quit 2>/dev/null)" ]; then
    apt_get update
  fi
  apt_get install -y --no-install-recommends "${unique[@]}" || {
    # The lists may be newer than a day and still name files that are gone.
    apt_get update
    apt_get install -y --no-install-recommends "${unique[@]}" || die "apt-get could not install ${unique[*]}"
  }
}

apt_get() {
  local log
  log=$(mktemp)
  if ! apt-get -q -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=120 "$@" >"$log" 2>&1 </dev/null; then
    tail -n 20 "$log" >&2
    rm -f "$log"
    return 1
  fi
  rm -f "$log"
}

# Debian 13 keeps the client in a package of its own, which docker.io only recommends.
ensure_docker_client() {
  have docker && return 0
  MISSING=(docker-cli)
  install_packages
  have docker || die "the docker client is still missing after installing docker.io and docker-cli"
}

ensure_rust() {
  local found
  # rustup installs here; a non-login shell may not have it on its PATH.
  [ -d "$HOME/.cargo/bin" ] && PATH="$HOME/.cargo/bin:$PATH"
  if have cargo; then
    found=$(rustc --version 2>/dev/null | awk '{print $2}')
    if [ "$(printf '%s\n%s\n' "$RUST_NEEDED" "${found%%-*}" | sort -V | head -n 1)" = "$RUST_NEEDED" ]; then return 0; fi
    say "Rust $found is too old: $RUST_NEEDED or newer is needed"
  else
    say "Rust is missing: $RUST_NEEDED or newer is needed"
  fi
  if [ "${DOCKERFORGE_INSTALL_RUST:-no}" = yes ]; then
    say "installing Rust with rustup into $HOME/.cargo, as DOCKERFORGE_INSTALL_RUST=yes asks"
    curl --proto '=https' --tlsv1.2 -fsSL https://sh.rustup.rs | sh -s -- -y -q --profile minimal -c clippy -c rustfmt
    return 0
  fi
  # Debian 12's own rustc is years too old, and running a script from the network is the owner's decision.
  die "Debian's own rustc is too old for this project. Install Rust from https://rustup.rs, or let the set-up do it:
        DOCKERFORGE_INSTALL_RUST=yes make ${MAKE_GOAL:-demo}"
}

# What the contract tests run, from PyPI by pip's own configuration, in a folder that no other Python sees.
ensure_contract_tools() {
  [ -e "$CONTRACT_DIR/complete" ] && return 0
  need_root "installing $CONTRACT_DIR"
  say "installing schemathesis $(sed -n 's/^schemathesis==//p' "$CONTRACT_LIST") from PyPI into $CONTRACT_DIR"
  rm -rf "$CONTRACT_DIR"
  mkdir -p "$(dirname "$CONTRACT_DIR")"
  python3 -m venv "$CONTRACT_DIR" || die "python3 -m venv failed: is python3-venv installed?"
  "$CONTRACT_DIR/bin/pip" install -q --disable-pip-version-check --no-input -r "$CONTRACT_LIST" ||
    die "pip could not install what $CONTRACT_LIST names: is PyPI, or the index of pip's configuration, within reach?"
  # Last, so that one that was interrupted begins again.
  touch "$CONTRACT_DIR/complete"
}

systemd_runs() { [ -d /run/systemd/system ]; }

cgroups_mounted() { awk '$3 == "cgroup" || $3 == "cgroup2" { found = 1 } END { exit !found }' /proc/self/mounts; }

# Without an init system nobody mounts the control groups, and Docker cannot start a container without them.
mount_cgroups() {
  local name _rest enabled
  cgroups_mounted && return 0
  say "mounting control groups on /sys/fs/cgroup: no init system did"
  mkdir -p /sys/fs/cgroup
  if mount -t cgroup2 cgroup2 /sys/fs/cgroup 2>/dev/null; then
    if grep -qw memory /sys/fs/cgroup/cgroup.controllers && grep -qw pids /sys/fs/cgroup/cgroup.controllers; then
      return 0
    fi
    # This kernel offers its controllers in the first version only.
    umount /sys/fs/cgroup
  fi
  mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup
  while read -r name _rest _rest enabled; do
    case $name in '#'*) continue ;; esac
    [ "$enabled" = 1 ] || continue
    mkdir -p "/sys/fs/cgroup/$name"
    mount -t cgroup -o "$name" cgroup "/sys/fs/cgroup/$name" 2>/dev/null || rmdir "/sys/fs/cgroup/$name"
  done </proc/cgroups
  cgroups_mounted || die "this kernel offers no control groups here (a container without privileges?): Docker cannot run"
}

# Debian's iptables speaks nf_tables; a kernel without it needs the older interface.
choose_iptables() {
  iptables -w -n -L >/dev/null 2>&1 && return 0
  if have iptables-legacy && iptables-legacy -w -n -L >/dev/null 2>&1; then
    say "this kernel has no nf_tables: switching iptables to iptables-legacy"
    update-alternatives --set iptables /usr/sbin/iptables-legacy >/dev/null
    update-alternatives --set ip6tables /usr/sbin/ip6tables-legacy >/dev/null 2>&1 || true
  fi
}

ensure_docker() {
  local version
  if version=$(docker_answers); then
    say "using the Docker Engine $version that runs on $DOCKER_SOCKET"
    return 0
  fi
  if [ "$(id -u)" != 0 ] && [ -S "$DOCKER_SOCKET" ]; then
    die "Docker's socket $DOCKER_SOCKET is there, but this user may not use it: join the group docker, or run as root"
  fi
  need_root "starting Docker"
  PATH="$PATH:/usr/sbin:/sbin"
  if systemd_runs; then
    say "starting Docker (systemctl start docker)"
    systemctl start docker || die "systemctl start docker failed: see journalctl -u docker"
  else
    mount_cgroups
    choose_iptables
    mkdir -p "$SETUP_DIR"
    # A pid file that outlived its process (kill -9, a restored disk) keeps dockerd from starting.
    if [ -e /var/run/docker.pid ] && ! process_is "$(cat /var/run/docker.pid)" dockerd; then rm -f /var/run/docker.pid; fi
    say "starting dockerd by hand, no init system runs here; its log is $DOCKERD_LOG"
    start_daemon "$DOCKERD_PID" "$DOCKERD_LOG" dockerd -H "$DOCKER_HOST"
  fi
  if ! wait_until 60 "Docker to answer on $DOCKER_SOCKET" docker_answers; then
    [ -e "$DOCKERD_LOG" ] && tail -n 15 "$DOCKERD_LOG" >&2
    die "Docker did not start"
  fi
  say "Docker Engine $(docker_answers) runs"
}

stop_docker() {
  local pid
  if ! pid=$(pid_of "$DOCKERD_PID" dockerd); then
    say "Docker is left as it is: this set-up did not start it"
    return 0
  fi
  if [ -n "$(docker ps -q 2>/dev/null)" ]; then
    say "dockerd (pid $pid) is left running: it still has containers; 'kill $pid' stops it"
    return 0
  fi
  if [ -n "$(ls -A /var/lib/dockerforge-testbed 2>/dev/null)" ]; then
    say "dockerd (pid $pid) is left running: a test bed is up"
    return 0
  fi
  say "stopping the dockerd (pid $pid) that the set-up started"
  stop_process "$pid" 30
  rm -f "$DOCKERD_PID" "$DOCKERD_LOG"
  rmdir "$SETUP_DIR" 2>/dev/null || true
}

case "${1:-}" in
  demo | test)
    MAKE_GOAL=$1
    choose_packages "$1"
    install_packages
    ensure_docker_client
    ensure_docker
    ensure_rust
    if [ "$1" = test ]; then ensure_contract_tools; fi
    ;;
  templates)
    choose_packages templates
    install_packages
    ensure_docker_client
    ensure_docker
    ;;
  stop-docker) stop_docker ;;
  *)
    sed -n '2,13s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
