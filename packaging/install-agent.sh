#!/usr/bin/env bash
# Installs the Dockerforge agent as a systemd service on this host, or removes it.
#
#   install-agent.sh --coordinator https://HOST:7443 --token TOKEN [--binary PATH-OR-URL [--sha256 HEX]]
#   install-agent.sh --coordinator https://HOST:7443 --token-file FILE …      the token not on the command line
#   install-agent.sh … --install-docker      installs docker.io (Debian, Ubuntu) where there is no Docker
#   install-agent.sh --uninstall [--purge]      --purge also removes the host's identity and journal
#
# Without --binary, the dockerforge-agent beside this script or on the PATH is taken. A binary from a URL needs its
# --sha256. Containers and images are left alone either way: removing those is the coordinator's business.
# Needs root, systemd, and Docker; can be repeated (an enrolled host stays who it is).
set -euo pipefail

HERE=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
PROGRAM=/usr/bin/dockerforge-agent
UNIT=dockerforge-agent.service
UNIT_FILE=/etc/systemd/system/$UNIT
CONFIG=/etc/dockerforge/agent.toml
JOIN=/etc/dockerforge/join.env
STATE=/var/lib/dockerforge-agent
ACCOUNT=dockerforge-agent

say() { printf '[agent] %s\n' "$*" >&2; }
die() {
  printf '[agent] error: %s\n' "$*" >&2
  exit 1
}
manual() {
  awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "${BASH_SOURCE[0]}" >&2
  exit 2
}

COORDINATOR='' TOKEN='' TOKEN_FILE='' BINARY='' SHA256='' INSTALL_DOCKER=no UNINSTALL=no PURGE=no
while [ "$#" -gt 0 ]; do
  case $1 in
    --coordinator | --token | --token-file | --binary | --sha256)
      [ "$#" -ge 2 ] || die "$1 takes a value"
      case $1 in
        --coordinator) COORDINATOR=$2 ;;
        --token) TOKEN=$2 ;;
        --token-file) TOKEN_FILE=$2 ;;
        --binary) BINARY=$2 ;;
        --sha256) SHA256=$2 ;;
      esac
      shift 2
      ;;
    --install-docker)
      INSTALL_DOCKER=yes
      shift
      ;;
    --uninstall)
      UNINSTALL=yes
      shift
      ;;
    --purge)
      PURGE=yes
      shift
      ;;
    *) manual ;;
  esac
done

WORK=$(mktemp -d)
trap 'rm -rf -- "$WORK"' EXIT

check_machine() {
  [ "$(id -u)" = 0 ] || die "run this as root"
  [ -d /run/systemd/system ] ||
    die "no systemd runs here. Run the agent under what supervises services on this host:
        dockerforge-agent run --coordinator $COORDINATOR --token TOKEN --state-dir $STATE"
}

uninstall() {
  check_machine
  systemctl disable --now "$UNIT" 2>/dev/null || true
  rm -f "$UNIT_FILE" "$PROGRAM" "$JOIN"
  systemctl daemon-reload
  if [ "$PURGE" = yes ]; then
    rm -rf -- "$STATE" "$CONFIG"
    rmdir /etc/dockerforge 2>/dev/null || true
    if id -u "$ACCOUNT" >/dev/null 2>&1; then userdel "$ACCOUNT"; fi
    say "removed, with this host's identity; delete the host at the coordinator too"
  else
    say "removed; its identity stays in $STATE (--purge removes that too)"
  fi
}

# Puts the program's path into BINARY, from wherever it is to come.
find_binary() {
  case $BINARY in
    https://*)
      [ -n "$SHA256" ] || die "a binary from a URL needs its --sha256"
      say "fetching $BINARY"
      curl --proto '=https' --tlsv1.2 -fsSL --max-time 300 -o "$WORK/agent" "$BINARY" || die "could not fetch $BINARY"
      BINARY=$WORK/agent
      ;;
    http://*) die "a program that will be root's equal is not fetched over plain HTTP" ;;
    '')
      BINARY=$HERE/dockerforge-agent
      [ -f "$BINARY" ] || BINARY=$(command -v dockerforge-agent) || die "no dockerforge-agent found: name it with --binary"
      ;;
  esac
  [ -f "$BINARY" ] || die "$BINARY is not a file"
  if [ -n "$SHA256" ]; then
    printf '%s  %s\n' "$SHA256" "$BINARY" | sha256sum --check --status || die "$BINARY has another SHA-256 than $SHA256"
  fi
}

# A machine that is only just up may still be busy with its own updates: apt waits for those.
install_docker() {
  local apt=(apt-get -q -y -o DPkg::Lock::Timeout=300)
  if command -v dockerd >/dev/null || getent group docker >/dev/null; then return 0; fi
  command -v apt-get >/dev/null || die "there is no Docker, and no apt-get to install it with: install Docker first"
  say "installing Docker (docker.io)"
  export DEBIAN_FRONTEND=noninteractive
  "${apt[@]}" update || die "apt-get update failed"
  "${apt[@]}" install --no-install-recommends docker.io || die "docker.io could not be installed"
  systemctl enable --quiet --now docker || die "Docker does not start"
}

enrolled() { [ -s "$STATE/identity.json" ]; }
settled() { enrolled || systemctl is-failed --quiet "$UNIT"; }

install_agent() {
  local unit=$HERE/systemd/$UNIT deadline
  case $COORDINATOR in https://?*) ;; *) die "--coordinator is to be https://HOST:PORT, the coordinator's agent port" ;; esac
  check_machine
  if [ -n "$TOKEN_FILE" ]; then TOKEN=$(cat -- "$TOKEN_FILE"); fi
  enrolled || [ -n "$TOKEN" ] || die "a host that is not enrolled yet needs a --token: POST /hosts gives one"
  [ -f "$unit" ] || die "$unit is missing: run this script from where it was unpacked"
  if [ "$INSTALL_DOCKER" = yes ]; then install_docker; fi
  getent group docker >/dev/null || die "there is no group docker: install Docker first (apt-get install docker.io)"
  find_binary

  if ! id -u "$ACCOUNT" >/dev/null 2>&1; then
    say "making the system account $ACCOUNT"
    useradd --system --user-group --no-create-home --home-dir "$STATE" --shell /usr/sbin/nologin "$ACCOUNT"
  fi
  say "installing $PROGRAM, $UNIT_FILE and $CONFIG"
  if [ ! "$BINARY" -ef "$PROGRAM" ]; then
    # Tried where it will be: much of what a binary is unpacked in is mounted noexec.
    install -m 0755 -- "$BINARY" "$PROGRAM.new"
    "$PROGRAM.new" --version >/dev/null || {
      rm -f "$PROGRAM.new"
      die "this agent does not run on this machine: is it made for $(uname -m), and for a system as old as this?"
    }
  fi
  systemctl stop "$UNIT" 2>/dev/null || true
  [ ! -e "$PROGRAM.new" ] || mv -f "$PROGRAM.new" "$PROGRAM"
  install -m 0644 -- "$unit" "$UNIT_FILE"
  install -d -m 0755 /etc/dockerforge
  install -d -m 0700 -o "$ACCOUNT" -g "$ACCOUNT" "$STATE"
  if [ ! -e "$CONFIG" ]; then
    printf 'coordinator = "%s"\n' "$COORDINATOR" >"$CONFIG"
    chmod 0644 "$CONFIG"
  else
    say "$CONFIG is there already and is kept as it is"
  fi
  # The token is a secret until it is used: not in the unit, not on a command line that ps shows. systemd reads the file.
  if [ -n "$TOKEN" ]; then
    (umask 077 && printf 'DOCKERFORGE_AGENT_TOKEN=%s\n' "$TOKEN" >"$JOIN")
  fi

  systemctl daemon-reload
  systemctl enable --quiet "$UNIT"
  systemctl restart "$UNIT"
  deadline=$((SECONDS + 60))
  until settled; do
    [ "$SECONDS" -lt "$deadline" ] || break
    sleep 0.2
  done
  if ! enrolled; then
    rm -f "$JOIN"
    systemctl disable --quiet --now "$UNIT" || true
    journalctl -u "$UNIT" -n 10 --no-pager >&2 || true
    die "the host did not enrol; the reason is above"
  fi
  # Used up.
  rm -f "$JOIN"
  say "this host is enrolled; the agent runs as $UNIT"
}

if [ "$UNINSTALL" = yes ]; then uninstall; else
  [ -n "$COORDINATOR" ] || manual
  install_agent
fi
