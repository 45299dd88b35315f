#!/bin/sh
# Runs the scripts of the run list in their order: NAME.sh or NAME/default.sh for a name, NAME/PART.sh for a part of it. A
# script reads the node at $DOCKERFORGE_NODE, and says what it changed with `changed WHAT`, which is on its PATH.
set -eu
export PATH="$DOCKERFORGE_HOME/bin:$PATH"

failed() {
  printf '{"resource": "%s", "status": "failed", "detail": "%s"}\n' "$1" "$2" >>"$DOCKERFORGE_OUTCOME"
}

while read -r name part; do
  item=$name${part:+::$part}
  script=$DOCKERFORGE_HOME/archive/$name/${part:-default}.sh
  if [ -z "$part" ] && [ -f "$DOCKERFORGE_HOME/archive/$name.sh" ]; then script=$DOCKERFORGE_HOME/archive/$name.sh; fi
  if ! [ -f "$script" ]; then
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
