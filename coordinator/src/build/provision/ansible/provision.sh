#!/bin/sh
# Runs the roles of the run list on a local connection. The attributes are extra variables: they win over a role's own.
set -eu
# No settings but these. It has to be a file, and called so.
: >"$DOCKERFORGE_WORK/ansible.cfg"
export ANSIBLE_CONFIG="$DOCKERFORGE_WORK/ansible.cfg"
export ANSIBLE_NOCOLOR=1 ANSIBLE_LOCALHOST_WARNING=False ANSIBLE_RETRY_FILES_ENABLED=False
export ANSIBLE_ROLES_PATH="$DOCKERFORGE_HOME/archive/roles:$DOCKERFORGE_HOME/archive"
export ANSIBLE_CALLBACK_PLUGINS="$DOCKERFORGE_HOME/callback_plugins" ANSIBLE_CALLBACKS_ENABLED=dockerforge
export ANSIBLE_LOCAL_TEMP="$DOCKERFORGE_WORK/local" ANSIBLE_REMOTE_TEMP="$DOCKERFORGE_WORK/remote"
export ANSIBLE_INVENTORY_UNPARSED_WARNING=False HOME="${HOME:-/root}"
exec ansible-playbook -i localhost, -c local -e "@$DOCKERFORGE_NODE" "$DOCKERFORGE_HOME/playbook.yml"
