# shellcheck shell=bash
# What every script of packaging/ and tests/testbed/ shares: saying, failing, waiting with a deadline, processes known
# by their pid. Sourced, never run; the sourcing script has set `set -euo pipefail`.

# The root of the checkout, whatever directory the caller is in.
CHECKOUT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd -P)
export CHECKOUT

# The Docker that is worked with, always named: a DOCKER_HOST or a context in the caller's environment must not decide.
DOCKER_SOCKET=${DOCKERFORGE_DOCKER_SOCKET:-/var/run/docker.sock}
export DOCKER_SOCKET
export DOCKER_HOST="unix://$DOCKER_SOCKET"
unset DOCKER_CONTEXT DOCKER_TLS_VERIFY DOCKER_CERT_PATH

# Where the set-up notes the daemons that it started by hand, so that they can be stopped again.
SETUP_DIR=/run/dockerforge-setup
export SETUP_DIR

# Where the set-up puts what the contract tests run: a folder for each list of it, which checkouts with the same list share.
CONTRACT_LIST=$CHECKOUT/tests/contract/requirements.txt
CONTRACT_DIR=/var/lib/dockerforge-contract/$(cksum "$CONTRACT_LIST" 2>/dev/null | awk '{ printf "%08x", $1 }')
export CONTRACT_LIST
export CONTRACT_DIR

# One line about what is being done, on standard error: standard output is for what other programs read.
say() { printf '[%s] %s\n' "${SAY_AS:-setup}" "$*" >&2; }

die() {
  printf '[%s] error: %s\n' "${SAY_AS:-setup}" "$*" >&2
  exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

need_root() { [ "$(id -u)" = 0 ] || die "$1 needs root; run it as root (sudo make …)"; }

# wait_until SECONDS WHAT COMMAND…: polls until the command succeeds; on the deadline says what was waited for and fails.
wait_until() {
  local seconds=$1 what=$2 deadline
  shift 2
  deadline=$((SECONDS + seconds))
  until "$@" >/dev/null 2>&1; do
    if [ "$SECONDS" -ge "$deadline" ]; then
      say "waited $seconds s for $what in vain"
      return 1
    fi
    sleep 0.1
  done
}

# process_runs PID: it exists and is no zombie (where nobody reaps, a dead process keeps its number).
process_runs() {
  local state
  [ -n "${1:-}" ] || return 1
  state=$(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$1/status" 2>/dev/null) || return 1
  [ -n "$state" ] && [ "$state" != Z ] && [ "$state" != X ]
}

process_gone() { ! process_runs "$1"; }

# process_is PID TEXT: the process with that number still is the one that we started (numbers are reused): its command
# line contains TEXT.
process_is() {
  # It may end between the two looks; the shell's own complaint about that is of no interest.
  process_runs "${1:-}" && { tr '\0' ' ' <"/proc/$1/cmdline"; } 2>/dev/null | grep -qF -- "$2"
}

# pid_of FILE TEXT: prints the pid in the file where it is alive and its command line contains TEXT.
pid_of() {
  local pid
  pid=$(cat "$1" 2>/dev/null) || return 1
  process_is "$pid" "$2" && printf '%s\n' "$pid"
}

# start_daemon PIDFILE LOG COMMAND…: runs it in a session of its own, detached from this terminal and its descriptors.
start_daemon() {
  local pidfile=$1 log=$2
  shift 2
  # A background child is no group leader, so setsid and nohup exec in place and $! is the daemon itself.
  setsid nohup "$@" >>"$log" 2>&1 </dev/null 9>&- &
  printf '%s\n' "$!" >"$pidfile"
}

# stop_process PID SECONDS: asks, waits, and kills where asking did not help.
stop_process() {
  local pid=$1 seconds=$2
  kill -TERM "$pid" 2>/dev/null || return 0
  if ! wait_until "$seconds" "process $pid to end" process_gone "$pid"; then
    say "process $pid did not end in $seconds s: killing it"
    kill -KILL "$pid" 2>/dev/null || true
    wait_until 10 "process $pid to be gone" process_gone "$pid"
  fi
}

port_is_free() { ! ss -Hltn "sport = :$1" 2>/dev/null | grep -q .; }

# Who listens on a TCP port, for a message.
port_owner() { ss -Hltnp "sport = :$1" 2>/dev/null | sed -n 's/.*users:((\(.*\)))/\1/p' | head -n 1; }

# A TCP port that nobody listens on right now, below the kernel's range for outgoing connections.
free_port() {
  local port _
  for _ in $(seq 1 200); do
    port=$((20000 + RANDOM % 12000))
    if port_is_free "$port"; then
      printf '%s\n' "$port"
      return 0
    fi
  done
  die "no free TCP port found between 20000 and 32000"
}

docker_answers() { docker version --format '{{.Server.Version}}' 2>/dev/null; }
