#!/bin/sh
# Notes that a script changed something: `changed WHAT`.
set -eu
what=$(printf '%s' "$*" | tr -d '\000-\037' | sed 's/[\\"]/\\&/g')
printf '{"resource": "%s", "status": "changed", "detail": ""}\n' "$what" >>"$DOCKERFORGE_OUTCOME"
