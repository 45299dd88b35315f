#!/usr/bin/env bash
# The main job for somebody who watches: a host dials in, MariaDB is configured, built and launched on it, gets a database
# while it runs, and a WordPress that is linked to it answers over HTTP. Every request is shown as it is sent. `make demo`
# runs this after the set-up; `make demo-down` removes every trace.
#
# Environment: DEMO_DIR (default target/demo), DEMO_API_PORT (7080), DEMO_AGENT_PORT (7443), DEMO_BLOG_PORT (8080).
set -euo pipefail
HERE=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
SAY_AS=demo
# shellcheck source=packaging/demo/lib.sh
. "$HERE/lib.sh"
# shellcheck source=packaging/demo/stream.sh
. "$HERE/stream.sh"
# shellcheck source=packaging/demo/story.sh
. "$HERE/story.sh"
PATH="$PATH:$HOME/.cargo/bin:/usr/sbin:/sbin"

need_port() {
  port_is_free "$1" ||
    die "port $1, $2, is taken by $(port_owner "$1"). Stop that, or choose another: $3=PORT make demo"
}

prepare() {
  if [ -e "$DEMO_MARK" ]; then
    note "A demo is there already: it is taken down first."
    "$HERE/demo-down.sh" --keep-docker
  elif [ -n "$(ls -A "$DEMO_DIR" 2>/dev/null)" ]; then
    die "$DEMO_DIR is not empty, and no demo made it: choose another folder with DEMO_DIR"
  fi
  need_port "$API_PORT" "where the REST API would listen" DEMO_API_PORT
  need_port "$AGENT_PORT" "where agents would dial in" DEMO_AGENT_PORT
  need_port "$BLOG_PORT" "where the blog would answer" DEMO_BLOG_PORT
  mkdir -p "$DEMO_DIR"
  # The administrator's key will be in it.
  chmod 0700 "$DEMO_DIR"
  touch "$DEMO_MARK"
}

build() {
  step "Compile the coordinator and the agent"
  note "A debug build: some 4 minutes the first time on two idle cores, where a release build takes three times that."
  shown "cargo build --bins"
  (cd -- "$CHECKOUT" && cargo build --locked -p dockerforge-coordinator -p dockerforge-agent --bins)
}

make_base() {
  step "Make the base image that the templates name: plain Debian 12, from Debian's own packages"
  shown "packaging/setup/debian-image.sh $BASE"
  if docker image inspect "$BASE" >/dev/null 2>&1; then
    note "It is there already."
    return 0
  fi
  touch "$BASE_MARK"
  "$CHECKOUT/packaging/setup/debian-image.sh" "$BASE"
}

coordinator_ready() { curl -fsS -o /dev/null --max-time 2 "$API/readyz"; }

start_coordinator() {
  step "Start the coordinator, with its embedded database"
  local command=("$BIN/dockerforge" serve --data-dir "$DEMO_DIR/coordinator" --api-listen "127.0.0.1:$API_PORT"
    --agent-listen "127.0.0.1:$AGENT_PORT" --agent-url "https://127.0.0.1:$AGENT_PORT" --ops-listen off)
  shown "${command[*]}"
  start_daemon "$COORDINATOR_PID" "$DEMO_DIR/coordinator.log" "${command[@]}"
  if ! wait_until 30 "the coordinator to be ready" coordinator_ready; then
    tail -n 20 "$DEMO_DIR/coordinator.log" >&2
    die "the coordinator did not start"
  fi
  note "The first start made an administrator; the key is in $DEMO_DIR/coordinator/admin.key (mode 0600), and in no log."
  KEY=$(cat "$DEMO_DIR/coordinator/admin.key")
}

register_templates() {
  step "Register the templates that ship, for every user"
  shown "packaging/templates/register.sh --public"
  DOCKERFORGE_URL=$API DOCKERFORGE_KEY_FILE=$DEMO_DIR/coordinator/admin.key \
    "$CHECKOUT/packaging/templates/register.sh" --public | indented
}

create_user() {
  step "Create a user: one per client, who owns everything that follows"
  request POST /v1/users '{"name": "demo"}'
  expect 201
  KEY=$(field .key)
  (umask 077 && printf '%s' "$KEY" >"$DEMO_DIR/demo.key")
  note "From here on the requests are made with this user's key."
}

# A process that ended needs no waiting for.
agent_ended() { ! pid_of "$AGENT_PID" "$DEMO_DIR/agent"; }

host_is() {
  exchange "$API/v1/hosts/$HOST"
  [ "$STATUS" = 200 ] && [ "$(field .state)" = "$1" ] && [ "$(field '.docker.version // empty')" != "" ]
}

enrol_host() {
  local command arguments
  step "Register a host: the answer holds a single-use token and the one command to run there"
  request POST /v1/hosts '{"name": "here"}'
  expect 201
  HOST=$(field .id)
  command=$(field .join.command)
  step "Run that command on the host - this machine"
  note "The agent makes its key here, proves the token, gets a certificate, and dials back over mutual TLS."
  note "It listens on nothing."
  read -ra arguments <<<"$command"
  [ "$(basename "${arguments[0]}")" = dockerforge-agent ] || die "this command is not an agent's: $command"
  arguments=("$BIN/dockerforge-agent" "${arguments[@]:1}" --state-dir "$DEMO_DIR/agent" --docker "$DOCKER_HOST")
  shown "${arguments[*]}"
  start_daemon "$AGENT_PID" "$DEMO_DIR/agent.log" "${arguments[@]}"
  wait_until 30 "the host to be online" eval 'host_is online || agent_ended' || true
  if ! host_is online; then
    tail -n 20 "$DEMO_DIR/agent.log" >&2
    die "the host did not come online"
  fi
  request GET "/v1/hosts/$HOST"
  expect 200
}

use_command_line() {
  local cli=("$BIN/dockerforge" --url "$API" --key-file "$DEMO_DIR/demo.key") command
  step "The same for a person, with the command line"
  for command in "host ls" "container ls" "job ls"; do
    shown "dockerforge $command"
    # shellcheck disable=SC2086 # its words
    "${cli[@]}" $command | indented
  done
}

closing() {
  cat <<TEXT

${BOLD}The blog: $BLOG/${PLAIN}
  Its editor is 'editor', the password is in $DEMO_DIR/blog-editor.password: $BLOG/wp-login.php
  On another machine: ssh -L $BLOG_PORT:127.0.0.1:$BLOG_PORT THIS-MACHINE, and the same address there.

Everything is up, and stays up: the coordinator ($API), the agent, two containers. It took $((SECONDS / 60)) min $((SECONDS % 60)) s.

Try next:
  export DOCKERFORGE_URL=$API DOCKERFORGE_KEY_FILE=$DEMO_DIR/demo.key PATH=\$PATH:$BIN
  dockerforge container exec databases --wait -- mariadb -e 'SHOW DATABASES'
  dockerforge container logs blog --follow
  dockerforge container restart databases --wait    # the blog comes back with it
  dockerforge image build --help            # build from a folder of yours
  curl -s -H "Authorization: Bearer \$(cat $DEMO_DIR/demo.key)" $API/v1/configurations | jq
  curl -s $API/openapi.json | jq .paths     # the whole REST contract; to read in a browser: $API/docs

  kill -9 \$(cat $AGENT_PID)                # 15 s later the host is unreachable; its containers go on
  dockerforge-agent run --coordinator https://127.0.0.1:$AGENT_PORT --state-dir $DEMO_DIR/agent     # back, and no token is needed

Logs: $DEMO_DIR/coordinator.log and agent.log.
make demo-down removes every trace.
TEXT
}

failed() {
  local code=$?
  [ "$code" -eq 0 ] || say "the demo stopped. What was started is left up to look at; 'make demo-down' removes it"
  exit "$code"
}

trap failed EXIT
printf '%sDockerforge: a host dials in, databases are launched on it, and a blog that is linked to them answers.%s\n' "$BOLD" "$PLAIN"
note "Two images are made of some 550 MB each, of Debian's packages: 5 to 10 minutes."
prepare
build
make_base
start_coordinator
register_templates
create_user
enrol_host
launch_databases
add_database
launch_blog
fetch_blog
use_command_line
closing
