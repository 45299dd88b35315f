# shellcheck shell=bash
# Jobs as they run, for the demo: their logs as server-sent events, and their end. Sourced after lib.sh.

# Prints the whole lines of PENDING and keeps the rest: a piece of a log may end in the middle of a line.
# What apt-get says of each of some hundred packages is only counted, and the classic builder's numbers are left out.
print_lines() {
  local line
  while [[ $PENDING == *$'\n'* ]]; do
    line=${PENDING%%$'\n'*}
    PENDING=${PENDING#*$'\n'}
    # Docker's builder reddens what programs write to standard error.
    line=${line//$'\e[91m'/}
    line=${line//$'\e[0m'/}
    case $line in
      '' | $'\r' | ' ---> '* | 'Removing intermediate container '*) ;;
      Get:* | Hit:* | Selecting\ * | Preparing\ * | Unpacking\ * | Setting\ up\ * | Processing\ * | '(Reading '* | \
        'invoke-rc.d:'* | update-alternatives:* | debconf:* | '  '[a-z]*) SKIPPED=$((SKIPPED + 1)) ;;
      *) printf '     %s| %s%s\n' "$DIM" "${line:0:180}" "$PLAIN" ;;
    esac
  done
}

# Server-sent events as they come (the WHATWG's text/event-stream): an event is its fields and an empty line, and its
# data lines are joined by newlines. The text of a log event is a JSON string.
show_events() {
  local line event='' data='' first=yes PENDING='' SKIPPED=0
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
  if [ "$SKIPPED" -gt 0 ]; then note "($SKIPPED lines about packages are not shown here)"; fi
}

stream_log() {
  curl -sSN --max-time 1200 -H 'Accept: text/event-stream' -K <(printf 'header = "Authorization: Bearer %s"\n' "$KEY") \
    "$API$1" | show_events || true # the end of the events ends the pipe before curl
}

job_ended() {
  exchange "$API$1"
  case $(field '.state // empty') in succeeded | failed | cancelled) return 0 ;; *) return 1 ;; esac
}

# follow JOB-PATH WHAT: shows the job's log while it is written, polls as a client would, then shows the answer that leads
# to what the job made.
follow() {
  local job=$1
  printf '   %s> GET %s/log%s\n' "$CYAN" "$job" "$PLAIN"
  note "  Accept: text/event-stream"
  stream_log "$job/log"
  wait_until 1200 "$2" job_ended "$job" || die "$2 did not end in time; see GET $job"
  request GET "$job"
  # 200 where it made nothing new.
  expect 303 200
}
