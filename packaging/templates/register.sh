#!/usr/bin/env bash
# Registers the templates of this folder with a coordinator: each one new, or as the next version of the one that is there.
# Prints a line for each: its name, id and version.
#
#   register.sh [--public] [--chef] [NAME…]      NAME: a folder beside this script; all of them where none is named
#
#   --public   every user may use them; for administrators
#   --chef     those for chef-solo, named NAME-chef, on a base image of yours that has it: DOCKERFORGE_CHEF_BASE=NAME:TAG
#
# Environment: DOCKERFORGE_URL (default http://127.0.0.1:7080), DOCKERFORGE_KEY_FILE, as for the command line.
set -euo pipefail
HERE=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
API=${DOCKERFORGE_URL:-http://127.0.0.1:7080}/v1

die() {
  printf 'register: %s\n' "$*" >&2
  exit 1
}

# call METHOD PATH [CURL-ARGUMENT…]: prints the answer's body; what is no success ends the script with it.
call() {
  local method=$1 path=$2 answer
  shift 2
  # The key comes from a pipe: command lines are for everybody to read.
  answer=$(curl -sS -w '\n%{http_code}' -X "$method" "$@" \
    -K <(printf 'header = "Authorization: Bearer %s"\n' "$(cat -- "$DOCKERFORGE_KEY_FILE")") "$API$path") || exit 1
  case ${answer##*$'\n'} in
    2??) printf '%s\n' "${answer%$'\n'*}" ;;
    *) die "$method $path: ${answer%$'\n'*}" ;;
  esac
}

register() {
  local folder=$HERE/$1 body name id parts=() part made
  # template-chef.json says only what is different.
  body=$(jq -s --argjson public "$PUBLIC" 'add + {public: $public}' "$folder/template.json" "$folder/$DOCUMENT")
  if [ -n "$BASE" ]; then body=$(jq --arg base "$BASE" '.base = $base' <<<"$body"); fi
  name=$(jq -r .name <<<"$body")
  # Ours alone: of a public one that somebody else has under this name there can be no new version.
  id=$(call GET "/templates?name=$name&limit=200" |
    jq -r --argjson public "$PUBLIC" '[.items[] | select(.public == $public)][0].id // empty')
  if [ -n "$id" ]; then
    call PUT "/templates/$id" -H 'Content-Type: application/json' --data-binary @- <<<"$body" >/dev/null
  else
    id=$(call POST /templates -H 'Content-Type: application/json' --data-binary @- <<<"$body" | jq -r .id)
  fi
  for part in files roles cookbooks; do
    if [ -d "$folder/$part" ]; then parts+=("$part"); fi
  done
  made=$(tar --sort=name --owner=0 --group=0 --numeric-owner --exclude=__pycache__ -C "$folder" -cz "${parts[@]}" |
    call PUT "/templates/$id/archive" -H 'Content-Type: application/gzip' --data-binary @-)
  jq -r '[.name, .id, "version \(.version)"] | join("  ")' <<<"$made"
}

PUBLIC=false DOCUMENT=template.json BASE=
while [ $# -gt 0 ]; do
  case $1 in
    --public) PUBLIC=true ;;
    --chef)
      DOCUMENT="template-chef.json"
      BASE=${DOCKERFORGE_CHEF_BASE:-}
      ;;
    -*)
      sed -n '2,10s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
      exit 2
      ;;
    *) break ;;
  esac
  shift
done
[ -r "${DOCKERFORGE_KEY_FILE:-}" ] || die "DOCKERFORGE_KEY_FILE names no file with a key"
if [ $# = 0 ]; then
  for document in "$HERE"/*/"$DOCUMENT"; do set -- "$@" "$(basename "$(dirname "$document")")"; done
fi
for template in "$@"; do
  [ -f "$HERE/$template/$DOCUMENT" ] || die "there is no template '$template' here"
  register "$template"
done
