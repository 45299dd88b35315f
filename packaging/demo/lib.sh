# shellcheck shell=bash
# What demo.sh and demo-down.sh share: where the demo lives, and how it talks to the REST API while showing what it says.

# shellcheck source=packaging/setup/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../setup/lib.sh"

DEMO_DIR=${DEMO_DIR:-$CHECKOUT/target/demo}
API_PORT=${DEMO_API_PORT:-7080}
AGENT_PORT=${DEMO_AGENT_PORT:-7443}
BLOG_PORT=${DEMO_BLOG_PORT:-8080}
# What the templates that ship are based on.
BASE=base.dockerforge.invalid/debian:12
# Names below localhost are this machine, to browsers and to curl (RFC 6761).
BLOG=http://blog.localhost:$BLOG_PORT
API=http://127.0.0.1:$API_PORT
BIN=${CARGO_TARGET_DIR:-$CHECKOUT/target}/debug
COORDINATOR_PID=$DEMO_DIR/coordinator.pid
AGENT_PID=$DEMO_DIR/agent.pid
# Only a folder that has this is the demo's to remove: DEMO_DIR may have been set to anything.
DEMO_MARK=$DEMO_DIR/.dockerforge-demo
# There where the demo made the base image: one that was there before stays.
BASE_MARK=$DEMO_DIR/made-the-base-image
export DEMO_MARK BASE BASE_MARK AGENT_PORT BLOG_PORT BLOG API BIN COORDINATOR_PID AGENT_PID

# The key that requests are made with; `request` sends it and never shows it.
KEY=
# What the last request was answered.
STATUS='' BODY='' LOCATION=''

# shellcheck disable=SC2034 # not every script uses every colour
if [ -t 1 ]; then
  JQ=(jq -C)
  BOLD=$'\e[1m' DIM=$'\e[2m' GREEN=$'\e[32m' CYAN=$'\e[36m' PLAIN=$'\e[0m'
else
  JQ=(jq -M)
  # shellcheck disable=SC2034
  BOLD='' DIM='' GREEN='' CYAN='' PLAIN=''
fi

STEP=0
step() {
  STEP=$((STEP + 1))
  printf '\n%s%d. %s%s\n' "$BOLD" "$STEP" "$*" "$PLAIN"
}
note() { printf '   %s\n' "$*"; }
shown() { printf '%s   $ %s%s\n' "$CYAN" "$*" "$PLAIN"; }

# A secret in a terminal is a secret in a screenshot: keys and passwords are shown by their beginning.
masked() {
  jq -c 'walk(if type == "object" then
    with_entries(if (.key | IN("key", "password")) and (.value | type) == "string" then .value |= .[:8] + "…" else . end)
  else . end)'
}

indented() { sed 's/^/     /'; }

# request METHOD PATH [JSON]: sends it, shows both sides, and leaves the answer in STATUS, BODY and LOCATION. Where SHOW is
# set, it is the jq filter that takes what is shown out of the answer's body.
request() {
  local method=$1 path=$2 body=${3:-} arguments=()
  printf '   %s> %s %s%s\n' "$CYAN" "$method" "$path" "$PLAIN"
  if [ -n "$body" ]; then
    masked <<<"$body" | "${JQ[@]}" . | indented
    arguments=(-H 'Content-Type: application/json' --data-binary "$body")
  fi
  exchange -X "$method" "${arguments[@]}" "$API$path"
  show_answer
}

# exchange CURL-ARGUMENTS…: one HTTP request, with the key, nothing shown.
exchange() {
  local headers body
  headers=$DEMO_DIR/answer.headers
  body=$DEMO_DIR/answer.body
  # The key goes by a file descriptor: on the command line every user of this machine could read it.
  STATUS=$(curl -sS --max-time 120 -o "$body" -D "$headers" -w '%{http_code}' \
    -K <([ -z "$KEY" ] || printf 'header = "Authorization: Bearer %s"\n' "$KEY") "$@") || die "no answer from $API"
  BODY=$(cat "$body")
  LOCATION=$(sed -n 's/^[Ll]ocation: *\([^\r]*\)\r*$/\1/p' "$headers" | tail -n 1)
  rm -f "$headers" "$body"
}

show_answer() {
  printf '   %s< %s%s%s\n' "$GREEN" "$STATUS" "${LOCATION:+, Location: $LOCATION}" "$PLAIN"
  if [ -n "$BODY" ]; then
    if jq -e . >/dev/null 2>&1 <<<"$BODY"; then masked | "${JQ[@]}" "${SHOW:-.}"; else cat; fi <<<"$BODY" | indented
  fi
}

# expect STATUS…: the last answer had one of these.
expect() {
  local wanted
  for wanted in "$@"; do
    if [ "$STATUS" = "$wanted" ]; then return 0; fi
  done
  die "expected $*, got $STATUS; the coordinator's log is $DEMO_DIR/coordinator.log"
}

field() { jq -r "$1" <<<"$BODY"; }
