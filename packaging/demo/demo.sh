#!/usr/bin/env bash
# The main job for somebody who watches: a host dials in, an image is built on it with its log streaming, a container
# answers over HTTP. Every request is shown as it is sent. `make demo` runs this after the set-up; `make demo-down`
# removes every trace.
#
# Environment: DEMO_DIR (default target/demo), DEMO_API_PORT (7080), DEMO_AGENT_PORT (7443).
set -euo pipefail
HERE=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
SAY_AS=demo
# shellcheck source=packaging/demo/lib.sh
. "$HERE/lib.sh"
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
  "$CHECKOUT/packaging/setup/base-image.sh" "$DEMO_BASE"
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

# The build context: a real Dockerfile with steps slow enough to be seen streaming.
write_context() {
  mkdir -p "$DEMO_DIR/site/www"
  cat >"$DEMO_DIR/site/Dockerfile" <<DOCKERFILE
FROM $DEMO_BASE
ARG OWNER=nobody
COPY www /www
RUN for n in 1 2 3 4 5 6; do echo "converging the site: \$n of 6"; sleep 0.5; done
RUN echo "built for \$OWNER on \$(date -u +%FT%TZ), \$(uname -m)" | tee /www/built.txt
RUN sed -i "s|@BUILT@|\$(cat /www/built.txt)|" /www/index.html && ls -l /www
CMD ["httpd", "-f", "-p", "8080", "-h", "/www"]
DOCKERFILE
  cat >"$DEMO_DIR/site/www/index.html" <<'PAGE'
<!doctype html>
<title>It works</title>
<h1>A container that Dockerforge built and started</h1>
<p>@BUILT@</p>
PAGE
}

# Prints the whole lines of PENDING and keeps the rest: a piece of a log may end in the middle of a line.
print_lines() {
  while [[ $PENDING == *$'\n'* ]]; do
    printf '     %s| %s%s\n' "$DIM" "${PENDING%%$'\n'*}" "$PLAIN"
    PENDING=${PENDING#*$'\n'}
  done
}

# Server-sent events as they come (the WHATWG's text/event-stream): an event is its fields and an empty line, and its
# data lines are joined by newlines. The text of a log event is a JSON string.
show_events() {
  local line event='' data='' first=yes PENDING=''
  while IFS= read -r line; do
    line=${line%$'\r'}
    case $line in
      event:*) event=${line#event:} && event=${event# } ;;
      data:*)
        line=${line#data:}
        [ "$first" = yes ] || data+=$'\n'
        data+=${line# }
        first=no
        ;;
      '')
        if [ "$event" = end ]; then break; fi
        if [ "$event" = log ]; then
          # The x keeps the line ends that $() would take off.
          data=$(jq -j . <<<"$data" && printf x)
          PENDING+=${data%x}
          print_lines
        fi
        event='' data='' first=yes
        ;;
    esac
  done
  if [ -n "$PENDING" ]; then
    PENDING+=$'\n'
    print_lines
  fi
}

stream_log() {
  curl -sSN --max-time 120 -H 'Accept: text/event-stream' -K <(printf 'header = "Authorization: Bearer %s"\n' "$KEY") \
    "$API$1" | show_events || true # the end of the events ends the pipe before curl
}

job_ended() {
  exchange "$API$1"
  case $(field '.state // empty') in succeeded | failed | cancelled) return 0 ;; *) return 1 ;; esac
}

# follow JOB-PATH WHAT: polls as a client would, then shows the 303 that leads to what the job made.
follow() {
  local job=$1
  wait_until 90 "$2" job_ended "$job" || die "$2 did not end in time; see GET $job"
  request GET "$job"
  expect 303
}

build_image() {
  local query="name=site&host=$HOST&build_arg=OWNER=demo"
  step "Build an image on the host: the context goes in the request, the answer is 202 and a job"
  write_context
  indented <"$DEMO_DIR/site/Dockerfile"
  shown "tar -cz -C site . | curl --data-binary @- …"
  printf '   %s> POST /v1/images?%s%s\n' "$CYAN" "$query" "$PLAIN"
  note "  Content-Type: application/gzip"
  tar -cz -C "$DEMO_DIR/site" . >"$DEMO_DIR/site.tar.gz"
  exchange -X POST -H 'Content-Type: application/gzip' --data-binary "@$DEMO_DIR/site.tar.gz" "$API/v1/images?$query"
  show_answer
  expect 202
  local job=$LOCATION
  step "Watch the build while it runs: its log as server-sent events"
  printf '   %s> GET %s/log%s\n' "$CYAN" "$job" "$PLAIN"
  note "  Accept: text/event-stream"
  stream_log "$job/log"
  step "Ask for the job: it succeeded, so the answer is 303 See Other, and leads to the image"
  follow "$job" "the build"
  request GET "$LOCATION"
  expect 200
  IMAGE=$(field .id)
}

# Fetches the page of the container at PATH on the port that Docker gave it.
page_answers() {
  exchange "$API$1"
  [ "$STATUS" = 200 ] || return 1
  PORT=$(field 'first(.observed.ports[]? | select(.container == 8080) | .host) // empty')
  [ -n "$PORT" ] && PAGE=$(curl -fsS --max-time 2 "http://127.0.0.1:$PORT/")
}

run_container() {
  step "Start a container from it, publishing port 8080 on whichever port is free"
  request POST /v1/containers "$(jq -n --arg image "$IMAGE" --arg host "$HOST" \
    '{name: "site", image: $image, host: $host, ports: [{container: 8080}], restart: "unless-stopped",
      resources: {cpus: 0.5, memory: 67108864, pids: 50}}')"
  expect 202
  follow "$LOCATION" "the container's creation"
  CONTAINER=$LOCATION
  wait_until 20 "the page" page_answers "$CONTAINER" || die "the container's page did not answer: see GET $CONTAINER"
  request GET "$CONTAINER"
  expect 200
  step "Fetch the page that the new container serves"
  shown "curl http://127.0.0.1:$PORT/"
  indented <<<"$PAGE"
}

second_has_port() {
  exchange "$API/v1/containers?name=second"
  [ -n "$(field '.items[0].observed.ports[0].host // empty')" ]
}

use_command_line() {
  step "The same for a person, with the command line: a second container, waited for"
  local cli=("$BIN/dockerforge" --url "$API" --key-file "$DEMO_DIR/demo.key")
  shown "dockerforge container create second --image site --host here -p 8080 --wait"
  "${cli[@]}" container create second --image site --host here -p 8080 --wait 2>&1 | indented
  # What Docker chose is observed, and arrives a moment after the job's end.
  wait_until 10 "the second container's port" second_has_port || true
  shown "dockerforge container ls"
  "${cli[@]}" container ls | indented
}

closing() {
  cat <<TEXT

${BOLD}Everything is up, and stays up:${PLAIN} the coordinator ($API), the agent, two containers.

Try next:
  export DOCKERFORGE_URL=$API DOCKERFORGE_KEY_FILE=$DEMO_DIR/demo.key PATH=\$PATH:$BIN
  dockerforge host ls                       # the host, its heartbeat, its Docker
  dockerforge job ls                        # what was done, and how it went
  dockerforge container rm second --wait
  dockerforge image build --help            # build from a folder of yours
  curl -s -H "Authorization: Bearer \$(cat $DEMO_DIR/demo.key)" $API/v1/containers | jq
  curl -s $API/openapi.json | jq .paths     # the whole REST contract; to read in a browser: $API/docs
  curl http://127.0.0.1:$PORT/

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
printf '%sDockerforge: a host dials in, an image is built on it, a container answers.%s\n' "$BOLD" "$PLAIN"
prepare
build
start_coordinator
create_user
enrol_host
build_image
run_container
use_command_line
closing
