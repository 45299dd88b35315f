# shellcheck shell=bash
# What the parts of the test bed share: where its state is and how one checkout's bed is told from another's.
# Sourced by the scripts beside it after `set -euo pipefail`.

# shellcheck source=packaging/setup/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../../packaging/setup/lib.sh"

# Two checkouts on one machine must not meet: everything is named after the checkout's path.
TESTBED_KEY=$(printf '%s' "${DOCKERFORGE_TESTBED:-$CHECKOUT}" | cksum | awk '{ printf "%04x", $1 % 65536 }')
TESTBED_ROOT=/var/lib/dockerforge-testbed
# Not under target/: a socket's path is at most 107 bytes, and the user postgres cannot enter a checkout under /root.
TESTBED_DIR=$TESTBED_ROOT/$TESTBED_KEY
TEST_IMAGE=dockerforge-test/busybox:1
export TESTBED_KEY TESTBED_ROOT TESTBED_DIR TEST_IMAGE

testbed_dir() {
  need_root "the test bed"
  # The others may pass through, to folders of their own, and list nothing.
  mkdir -p "$TESTBED_DIR"
  chmod 0711 "$TESTBED_ROOT" "$TESTBED_DIR"
}

# One change of a part at a time. Descriptor 9 is closed for every daemon, or the lock would live as long as it.
testbed_lock() {
  testbed_dir
  exec 9>"$TESTBED_DIR/$1.lock"
  flock -w 120 9 || die "another $1 of this test bed is at work for more than 2 minutes"
}

# Leaves no folder behind once the last part is down.
testbed_forget() {
  rm -f "$TESTBED_DIR/$1.lock"
  rmdir "$TESTBED_DIR" "$TESTBED_ROOT" 2>/dev/null || true
}

# Whether the test bed of another checkout on this machine is up.
another_is_up() {
  find "$TESTBED_ROOT" -mindepth 1 -maxdepth 1 ! -name "$TESTBED_KEY" 2>/dev/null | grep -q .
}

# value KEY LINES: what stands after KEY= in the lines that a part printed.
value() { sed -n "s/^$1=//p" <<<"$2"; }

# usage FILE LINES: the comment at a script's head is its manual.
usage() {
  awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$1" >&2
  exit 2
}
