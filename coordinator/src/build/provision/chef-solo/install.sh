#!/bin/sh
# Chef is in no Debian release: the base image brings it. Which it is stands in the build's log.
set -eu
command -v chef-solo >/dev/null && exec chef-solo --version
echo "the base image has no chef-solo: take one that has it, with chef-solo on its PATH" >&2
exit 1
