#!/bin/sh
# Chef is in no Debian release: the base image brings it.
set -eu
command -v chef-solo >/dev/null && exit 0
echo "the base image has no chef-solo: take one that has it, with chef-solo on its PATH" >&2
exit 1
