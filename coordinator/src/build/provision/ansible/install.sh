#!/bin/sh
# Makes sure that Ansible is in the image: from Debian's packages where the base image has none.
set -eu
command -v ansible-playbook >/dev/null && exit 0
if ! command -v apt-get >/dev/null; then
  echo "the base image has neither ansible-playbook nor apt-get to install it with" >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -q -y --no-install-recommends ansible-core python3-apt
rm -rf /var/lib/apt/lists/*
