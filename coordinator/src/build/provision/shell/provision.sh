#!/bin/sh
# Runs the scripts of the run list in their order: of each entry, which stands before them, the first that is there. A
# script reads the node at $DOCKERFORGE_NODE, and says what it changed with `changed WHAT`, which is on its PATH.
set -eu
export PATH="$DOCKERFORGE_HOME/bin:$PATH"

failed() {
  printf '{"resource": "%s", "status": "failed", "detail": "%s"}\n' "$1" "$2" >>"$DOCKERFORGE_OUTCOME"
}

while read -r item scripts; do
  script=
  for path in $scripts; do
    if [ -f "$DOCKERFORGE_HOME/archive/$path" ]; then
      script=$DOCKERFORGE_HOME/archive/$path
      break
    fi
  done
  if [ -z "$script" ]; then
    echo "the run list names $item, and the archive has no such script" >&2
    failed "$item" "the archive has no such script"
    exit 1
  fi
  echo "== $item"
  code=0
  sh -eu "$script" </dev/null || code=$?
  if [ "$code" != 0 ]; then
    failed "$item" "exit code $code"
    exit "$code"
  fi
done <"$DOCKERFORGE_HOME/run-list"
