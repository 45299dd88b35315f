#!/usr/bin/env bash
# Removes every trace of `make demo`: the agent and the coordinator, what they made in Docker (only objects with the
# demo cluster's label), the base image if the demo made it, and the demo's folder. Can be repeated; says what it leaves.
#
#   demo-down.sh [--keep-docker]     --keep-docker: do not stop a Docker that the set-up started
set -euo pipefail
HERE=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
SAY_AS=demo-down
# shellcheck source=packaging/demo/lib.sh
. "$HERE/lib.sh"

stop() {
  local pid
  if pid=$(pid_of "$2" "$3"); then
    say "stopping the $1 (pid $pid)"
    stop_process "$pid" 15
  fi
  rm -f "$2"
}

# Agents that were started by hand on the demo's identity, as the demo suggests to try: known by their program and by
# the demo's own folder on their command line.
stop_other_agents() {
  local pid
  while read -r pid; do
    case $(readlink "/proc/$pid/exe" 2>/dev/null) in
      */dockerforge-agent | */dockerforge-agent' (deleted)')
        say "stopping an agent that was started by hand (pid $pid)"
        stop_process "$pid" 15
        ;;
    esac
  done < <(grep -lsaF -- "$DEMO_DIR/agent" /proc/[0-9]*/cmdline | cut -d/ -f3)
}

# The cluster that the demo was: the agent knows it, and the objects in Docker carry it.
cluster() { jq -er '.cluster' "$DEMO_DIR/agent/identity.json" 2>/dev/null; }

# remove KIND LIST-COMMAND…: removes what the command lists, if anything.
remove() {
  local kind=$1 found
  shift
  mapfile -t found < <("$@" 2>/dev/null | sort -u)
  [ "${#found[@]}" -gt 0 ] || return 0
  say "removing ${#found[@]} $kind(s)"
  case $kind in
    container) docker container rm -f -v "${found[@]}" >/dev/null ;;
    image) docker image rm -f "${found[@]}" >/dev/null ;;
    network) docker network rm "${found[@]}" >/dev/null ;;
    volume) docker volume rm -f "${found[@]}" >/dev/null ;;
  esac || say "not every $kind could be removed"
}

if [ -e "$DEMO_MARK" ]; then
  stop agent "$AGENT_PID" "$DEMO_DIR/agent"
  stop_other_agents
  stop coordinator "$COORDINATOR_PID" "$DEMO_DIR/coordinator"
fi
if docker_answers >/dev/null; then
  if id=$(cluster); then
    label=label=dev.dockerforge.cluster=$id
    remove container docker container ls -aq --filter "$label"
    # Without -a: what an image was built from goes with it.
    remove image docker image ls -q --filter "$label"
    remove network docker network ls -q --filter "$label"
    remove volume docker volume ls -q --filter "$label"
  fi
  # By its name: other names of the same image are not ours.
  if [ -e "$BASE_MARK" ]; then remove image docker image ls --format '{{.Repository}}:{{.Tag}}' "$BASE"; fi
fi
if [ -e "$DEMO_MARK" ]; then
  say "removing $DEMO_DIR"
  rm -rf -- "$DEMO_DIR"
fi
if [ "${1:-}" != --keep-docker ]; then
  "$CHECKOUT/packaging/setup/setup.sh" stop-docker
  say "done; the compiled programs in target/ and Debian's packages stay"
fi
