#!/bin/sh
# Converges what this runs in towards its node: while the image is built (`converge build`), or in the container, where the
# node comes on standard input with its secrets (`converge run`). Secrets are only ever in memory: /dev/shm is no layer.
set -eu
umask 077
DOCKERFORGE_PHASE=$1
DOCKERFORGE_HOME=/opt/dockerforge
# By its job's name: what is left of one that was killed is found by that.
DOCKERFORGE_WORK=$(mktemp -d "/dev/shm/dockerforge.${DOCKERFORGE_EXEC:-image}.XXXXXX")
trap 'rm -rf -- "$DOCKERFORGE_WORK"' EXIT
trap 'exit 143' TERM INT HUP
DOCKERFORGE_NODE=$DOCKERFORGE_WORK/node.json
DOCKERFORGE_OUTCOME=$DOCKERFORGE_WORK/outcome
case $DOCKERFORGE_PHASE in
  build) cp "$DOCKERFORGE_HOME/node.json" "$DOCKERFORGE_NODE" ;;
  # As much as was announced: whoever sends it may not close the pipe.
  run) head -c "$DOCKERFORGE_NODE_SIZE" >"$DOCKERFORGE_NODE" ;;
  *)
    echo "usage: converge build|run" >&2
    exit 64
    ;;
esac
: >"$DOCKERFORGE_OUTCOME"
# What is secret has its mode by now; what is laid down is as programs expect it.
umask 022
export DOCKERFORGE_PHASE DOCKERFORGE_HOME DOCKERFORGE_WORK DOCKERFORGE_NODE DOCKERFORGE_OUTCOME
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
code=0
sh "$DOCKERFORGE_HOME/provision.sh" || code=$?
# One line a resource that changed or failed, behind a mark that no program prints by chance.
sed 's/^/dockerforge-outcome: /' "$DOCKERFORGE_OUTCOME"
exit "$code"
