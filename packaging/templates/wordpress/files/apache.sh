#!/bin/sh
# Starts Apache as the container's first process. Not by apache2ctl, which would be that process itself and pass no signal on.
set -e
# Debian's own, which takes unset variables for empty.
# shellcheck source=/dev/null
. /etc/apache2/envvars
mkdir -p "$APACHE_RUN_DIR" "$APACHE_LOCK_DIR"
# Of a container that was killed; the number in it is the one that this process has now.
rm -f "$APACHE_PID_FILE"
exec apache2 -D FOREGROUND
